"""How a run goes on: where its log is split, on how much of it is learnt, and which stages do otherwise than in a first run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from rich.console import Console

from cartwheel.config import RunSettings
from cartwheel.core.errors import DataError
from cartwheel.core.files import write_json
from cartwheel.core.run_layout import RELATIVE, RunLayout
from cartwheel.core.tables import read_json
from cartwheel.pipeline.continuing.arrivals import Arrivals, append, arrivals_from
from cartwheel.pipeline.continuing.base import Base
from cartwheel.pipeline.stages import STAGES, Stage
from cartwheel.pipeline.work import warn

EPOCHS: Final = 0.35
"""Share of the epochs of a first run: the weights have learnt most of it already."""
OLD: Final = 1.0
"""How many examples that the base has learnt from are learnt from again, for each new one, so that what is rare is not forgotten."""
LEAST: Final = 0.25
"""Share of all training examples that are learnt from at least."""
_LEFT_OUT: Final = ("task_evaluation",)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


def going_on(settings: RunSettings, base: Base, run: Path) -> RunSettings:
    """Return the settings of a run that goes on from another: its ids, weights and served learners.

    Args:
        settings: the configuration.
        base: the run that goes on.
        run: the new run directory.
    """
    old = RunLayout(base.run)
    changed: dict[str, Any] = {"run": run, "features": settings.features.model_copy(update={"keep_ids_of": base.run})}
    for name in ("two_tower", "ranking", "cart"):
        section = getattr(settings, name)
        few = max(1, round(EPOCHS * section.epochs))
        trained = old.model(name).weights.is_file()
        changed[name] = section.model_copy(update={"start_from": base.run, "epochs": few} if trained else {})
    served = {name: read_json(old.task(name).leaderboard).get("served") for name in settings.tasks}
    changed["tasks"] = {
        name: task.model_copy(update={"learners": (served[name],)}) if served[name] else task
        for name, task in settings.tasks.items()
    }
    return settings.model_copy(update=changed)


def split_anew(settings: RunSettings, base: Base) -> RunSettings:
    """Return the settings with the split of a log that is longer by now, and with what of it is learnt from.

    The newest days, ``prepare.test_share`` of the events and none that the base knows, judge; ``valid_share`` before them validate.

    Raises:
        DataError: if nothing happened after the end of the base's log.
    """
    times = _times(RunLayout(settings.run).events)
    old = RunLayout(base.run)
    ended = int(read_json(old.state)["last_event_us"]) + 1
    if times[-1] < ended:
        raise DataError(
            f"The new events are all from before {_instant(ended).isoformat()}, where the log of {base.run} ends; none is there to judge"
            " by.",
            "Continue when later events are there.",
        )
    shares, count = settings.prepare, len(times)
    begin_test = max(ended, int(times[min(int(count * (1 - shares.test_share)), count - 1)]))
    before = int(np.searchsorted(times, begin_test))
    begin_valid = int(times[max(before - max(int(count * shares.valid_share), 1), 0)])
    learnt = round((datetime.fromisoformat(read_json(old.examples_report)["t_valid"]) - _EPOCH) / timedelta(microseconds=1))
    begin_valid = max(begin_valid, learnt)
    trains = int(np.searchsorted(times, begin_valid))
    new = trains - int(np.searchsorted(times, learnt))
    most = max(int((1 + OLD) * new), int(LEAST * trains), 1)
    prepare = shares.model_copy(
        update={
            "valid_from": _instant(begin_valid),
            "test_from": _instant(begin_test),
            "windows": 0,
            "max_train_examples": min(most, shares.max_train_examples),
        }
    )
    return settings.model_copy(update={"prepare": prepare})


def stages_of(settings: RunSettings, base: Base, arrivals: Arrivals) -> tuple[Stage, ...]:
    """Return the stages of a run that goes on: the log is appended to, what validation chose is kept, and what is served is the rival.

    Args:
        settings: the configuration.
        base: the run that goes on.
        arrivals: what is new since.
    """
    outside = arrivals_from(settings, base.run, arrivals)
    own: dict[str, Any] = {
        "events": {"work": partial(_events, base=base.run, arrivals=arrivals), "outside": lambda _: outside},
        "item_to_item": {"work": partial(_item_to_item, base=base.run)},
        "ranker": {"work": partial(_ranker, base=base.run)},
        "ranking": {"work": partial(_ranking, base=base.run)},
        "evaluate": {"work": partial(_compare, base=base.run, features=settings.features), "outputs": (RELATIVE.comparison,)},
        "export": {"work": _export},
    }
    return tuple(replace(stage, **own.get(stage.name, {})) for stage in STAGES if stage.name not in _LEFT_OUT)


def _events(run: Path, settings: RunSettings, base: Path, arrivals: Arrivals) -> None:
    shutil.rmtree(RunLayout(run).events_folder, ignore_errors=True)
    new, late = append(run, settings, base, arrivals)
    told = f", {late:,} of them from before the end of the log" if late else ""
    Console(stderr=True).print(f"{new:,} events are new{told}", highlight=False)


def _item_to_item(run: Path, settings: RunSettings, base: Path) -> None:
    from models.retrieval.choose_neighbours import relearn_item_to_item

    blend = relearn_item_to_item(run, base, settings.item_to_item, settings.seed)
    Console(stderr=True).print(f"retrieval as in the earlier run: {blend.sentence}", highlight=False)


def _ranker(run: Path, settings: RunSettings, base: Path) -> None:
    """Take over the trees; they read how a candidate stands, which means the same in a log that has grown."""
    del settings
    target = RunLayout(run).model("ranker").path
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(RunLayout(base).model("ranker").path, target)


def _ranking(run: Path, settings: RunSettings, base: Path) -> None:
    """Train the DLRM on, and join its score as validation of the earlier run chose."""
    from models.families.dlrm.train import train_dlrm
    from models.retrieval.fusion import read_fusion, write_fusion
    from models.training.warm_start import require_earlier

    if settings.ranking.start_from is not None:
        require_earlier(RunLayout(run), RunLayout(settings.ranking.start_from))
    fusion = read_fusion(RunLayout(base).model("ranking").path)
    train_dlrm(run, "ranking", settings.ranking, settings.seed, lambda folder: write_fusion(folder, fusion))


def _compare(run: Path, settings: RunSettings, base: Path, features: Any) -> None:
    from evaluation.successor import compare_with_served

    found = compare_with_served(run, base, run / ".served", settings.evaluate, features, settings.seed)
    write_json(RunLayout(run).comparison, found.content())
    if not found.is_not_worse:
        warn([found.sentence])


def _export(run: Path, settings: RunSettings) -> None:
    """Write the model repository; it is filed among the versions of the run that holds it once it may be served."""
    from serving.export.repository import write_repository

    write_repository(run, settings.export, settings.evaluate.candidates)


def _times(events: Path) -> np.ndarray[Any, Any]:
    return np.sort(pl.read_parquet(events, columns=["timestamp"], glob=False)["timestamp"].dt.epoch("us").to_numpy())


def _instant(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
