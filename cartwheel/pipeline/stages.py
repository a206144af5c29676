"""The stages of a run: what each reads, writes and depends on, and the one loop that runs or skips them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from cartwheel import __version__
from cartwheel.config import RunSettings
from cartwheel.core.errors import MissingDependencyError, RunError
from cartwheel.core.memory import give_back
from cartwheel.core.packages import INSTALL
from cartwheel.core.run_layout import RELATIVE
from cartwheel.pipeline.reads import fields_judged, fields_read, handed, values_of, without_paths
from cartwheel.pipeline.run_directory import RunDirectory, StageRecord, digest, stage_key, stopwatch
from cartwheel.pipeline.task_work import learners_from, metrics_from, task_evaluation, task_models, tasks, tasks_from
from cartwheel.pipeline.work import (
    check_parameters,
    evaluate,
    events,
    events_from,
    examples,
    export,
    families_from,
    features,
    ids_from,
    item_to_item,
    ranker,
    ranking,
    retrieval,
    tables,
    tables_from,
    train_cart,
    weights_from,
)
from models.retrieval.retriever import FACTOR_MODELS, TWO_TOWER

_TRAINING_PACKAGES: Final = (
    "polars",
    "nvtabular",
    "merlin.models",
    "tensorflow",
    "tf_keras",
    "onnx",
    "tf2onnx",
    "sklearn",
    "pyarrow",
    "matplotlib",
)
_QUICK: Final = 1.0
"""Seconds up to which a stage leaves nothing behind that is worth looking for: collecting cycles alone takes half a second."""
_NOT_KNOWN: Final = "not known"
"""What lies outside the run, where it is not looked at and the manifest does not know it: no stage is done with it."""


@dataclass(frozen=True)
class Stage:
    """One step of a run; which settings it reads, ``cartwheel.pipeline.reads`` declares.

    Attributes:
        name: how the manifest calls it.
        command: the ``cartwheel`` command that runs it.
        upstream: the stages whose files it reads.
        outputs: the files and folders that it writes, relative to the run directory.
        work: does it.
        outside: describes, as JSON values, the files from outside the run that it reads; None where it reads none.
    """

    name: str
    command: str
    upstream: tuple[str, ...]
    outputs: tuple[Path, ...]
    work: Callable[[Path, RunSettings], None]
    outside: Callable[[RunSettings], object] | None = None


STAGES: Final = (
    Stage("events", "prepare", (), (RELATIVE.events_folder, RELATIVE.simulation), events, events_from),
    Stage("tables", "prepare", ("events",), (RELATIVE.tables_folder,), tables, tables_from),
    Stage(
        "examples", "prepare", ("events", "tables"), (RELATIVE.examples_folder, RELATIVE.snapshot_folder), examples, families_from
    ),
    Stage("features", "prepare", ("examples",), (RELATIVE.workflow_folder, RELATIVE.features_folder), features, ids_from),
    Stage("tasks", "prepare", ("events", "tables"), (RELATIVE.tasks_folder,), tasks, tasks_from),
    Stage(
        "retrieval",
        "train",
        ("events", "examples", "features"),
        tuple(RELATIVE.model(name).path for name in (TWO_TOWER, *FACTOR_MODELS)),
        retrieval,
        weights_from("two_tower"),
    ),
    Stage("item_to_item", "train", ("events", "examples", "features", "retrieval"), (RELATIVE.item_to_item.path,), item_to_item),
    Stage("ranker", "train", ("events", "examples", "features", "item_to_item"), (RELATIVE.model("ranker").path,), ranker),
    Stage(
        "ranking",
        "train",
        ("features", "item_to_item", "ranker"),
        (RELATIVE.model("ranking").path,),
        ranking,
        weights_from("ranking"),
    ),
    Stage("cart", "train", ("features",), (RELATIVE.model("cart").path,), train_cart, weights_from("cart")),
    Stage("task_models", "train", ("tasks",), (RELATIVE.task_models_folder,), task_models, learners_from),
    Stage("task_evaluation", "evaluate", ("task_models",), (RELATIVE.task_evaluation_folder,), task_evaluation, metrics_from),
    Stage(
        "evaluate",
        "evaluate",
        ("events", "retrieval", "item_to_item", "ranker", "ranking", "cart"),
        (RELATIVE.evaluation_folder,),
        evaluate,
    ),
    Stage("export", "export", ("item_to_item", "ranker", "ranking", "cart", "task_models"), (RELATIVE.repository,), export),
)

COMMANDS: Final = tuple(dict.fromkeys(stage.command for stage in STAGES))


def run_stages(settings: RunSettings, commands: Sequence[str], console: Console, stages: Sequence[Stage] | None = None) -> None:
    """Run the stages of ``commands`` in order, skipping those that are done and unchanged.

    Args:
        settings: the configuration; ``settings.run`` is the run directory.
        commands: names out of ``COMMANDS``.
        console: where to say what is done, skipped and how long it took.
        stages: what a run consists of; None is ``STAGES``.

    Raises:
        RunError: if a stage that is not asked for, but is needed, has not been run with these settings.
        MissingDependencyError: if the extra ``train`` is not installed.
        ConfigError: if a parameter of the retrieval model is not known or not accepted.
        CartwheelError: whatever a stage finds wrong.
    """
    require_training_packages()
    check_parameters(settings)
    run, stages = RunDirectory(settings.run), STAGES if stages is None else stages
    with run.lock():
        wanted = wanted_records(settings, commands, run.manifest().stages, stages)
        for stage in stages:
            if run.is_done(stage.name, wanted[stage.name].key):
                if stage.command in commands:
                    console.print(f"[dim]{stage.name}: already done, skipped[/dim]")
            elif stage.command in commands:
                _run_one(stage, settings, run, wanted[stage.name], console)
            elif any(stage.name in _needed_by(other, stages) for other in stages if other.command in commands):
                raise _not_run(stage, run, ", or `cartwheel run` for all stages")


def require_done(settings: RunSettings, run: RunDirectory, stages: Sequence[str], without: Sequence[str] = ()) -> None:
    """Check that stages have been run with these settings, and that what they wrote is still there.

    Args:
        settings: the configuration.
        run: the run directory.
        stages: names of stages.
        without: how the names of files begin that need not be there, relative to the run directory.

    Raises:
        RunError: naming the first stage that is not done.
    """
    records = run.manifest().stages
    wanted = wanted_records(settings, (), records)
    for stage in (stage for stage in STAGES if stage.name in stages):
        record = records.get(stage.name)
        if record is not None:
            needed = {name: file for name, file in record.files.items() if not name.startswith(tuple(without))}
            record = record.model_copy(update={"files": needed})
        if record is None or record.key != wanted[stage.name].key or run.changed_files(record):
            raise _not_run(stage, run)


def _not_run(stage: Stage, run: RunDirectory, otherwise: str = "") -> RunError:
    maker = run.manifest().cartwheel
    if maker != __version__:
        return RunError(
            f"The run {run.path} was made by Cartwheel {maker}, and this is Cartwheel {__version__}, which computes other files.",
            "Make it again with `cartwheel run`, or use the version that made it.",
        )
    return RunError(
        f"The stage {stage.name!r} has not been run in {run.path} with this configuration.",
        f"Run `cartwheel {stage.command}` with it first{otherwise}.",
    )


def _run_one(stage: Stage, settings: RunSettings, run: RunDirectory, wanted: StageRecord, console: Console) -> None:
    console.print(f"[bold]{stage.name}[/bold]")
    with stopwatch() as seconds:
        stage.work(run.path, handed(settings, needs(stage, settings)))
    run.finish(stage.name, wanted, stage.outputs, seconds[0])
    if seconds[0] > _QUICK:
        give_back()
    console.print(f"[dim]{stage.name}: {seconds[0]:.1f} s[/dim]")


def needs(stage: Stage, settings: RunSettings) -> tuple[str, ...]:
    """Return the fields that a stage is handed: ``evaluate`` also writes down the hash of what it judged."""
    own = fields_read(stage.name, settings)
    return (*own, *fields_judged(settings)) if stage.name == "evaluate" else own


def wanted_records(
    settings: RunSettings, commands: Collection[str], records: Mapping[str, StageRecord], stages: Sequence[Stage] | None = None
) -> dict[str, StageRecord]:
    """Return how each stage would be recorded under these settings, still without files, in the order of the stages.

    Args:
        settings: the configuration.
        commands: those that are to be run. What their stages read from outside the run is looked at. For the others what the manifest
            knows of it counts, where they ran with these settings: later stages read files of the run alone, so a source or an earlier
            run need not be there any more.
        records: what the manifest knows of each stage.
        stages: what a run consists of; None is ``STAGES``.

    Raises:
        ConfigError, DataError, RunError: if what a stage reads from outside the run is not there.
    """
    wanted: dict[str, StageRecord] = {}
    for stage in STAGES if stages is None else stages:
        values = values_of(settings, fields_read(stage.name, settings))
        outside = ""
        if stage.outside is not None:
            record = records.get(stage.name)
            known = record.outside if record is not None and record.settings == values else _NOT_KNOWN
            outside = digest(stage.outside(settings)) if stage.command in commands else known
        key = stage_key(without_paths(values), [wanted[name].key for name in stage.upstream], outside)
        wanted[stage.name] = StageRecord(key=key, settings=values, outside=outside, seconds=0.0, files={})
    return wanted


def _needed_by(stage: Stage, stages: Sequence[Stage]) -> set[str]:
    by_name = {other.name: other for other in stages}
    return set(stage.upstream).union(*(_needed_by(by_name[name], stages) for name in stage.upstream))


def require_training_packages() -> None:
    """Check that the extra ``train`` is there.

    Raises:
        MissingDependencyError: naming the packages that are not.
    """
    missing = [name for name in _TRAINING_PACKAGES if not _is_installed(name)]
    if missing:
        raise MissingDependencyError(
            f"Preparing and training need packages that are not installed: {', '.join(missing)}.",
            INSTALL.format("train"),
        )


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name.partition(".")[0]) is not None
    except ValueError:
        return False
