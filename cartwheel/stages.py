"""The stages of a run: what each reads, writes and depends on, and the one loop that runs or skips them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from cartwheel.config import RunSettings
from cartwheel.errors import MissingDependencyError, RunError
from cartwheel.run_directory import RunDirectory, StageRecord, stage_key, stopwatch
from cartwheel.work import (
    check_parameters,
    evaluate,
    events,
    examples,
    export,
    features,
    item_to_item,
    ranking,
    retrieval,
    source_files,
    train_cart,
)
from models.retriever import FACTOR_MODELS, TWO_TOWER

_TRAINING_PACKAGES: Final = (
    "polars",
    "nvtabular",
    "merlin.models",
    "tensorflow",
    "onnx",
    "tf2onnx",
    "sklearn",
    "pyarrow",
    "matplotlib",
)


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        name: how the manifest calls it.
        command: the ``cartwheel`` command that runs it.
        sections: the sections of the configuration that it depends on (``seed`` always counts).
        upstream: the stages whose files it reads.
        outputs: the files and folders that it writes, relative to the run directory.
        work: does it.
    """

    name: str
    command: str
    sections: tuple[str, ...]
    upstream: tuple[str, ...]
    outputs: tuple[str, ...]
    work: Callable[[Path, RunSettings], None]


STAGES: Final = (
    Stage("events", "prepare", ("source", "events"), (), ("events", "simulation"), events),
    Stage("examples", "prepare", ("prepare",), ("events",), ("examples", "snapshot"), examples),
    Stage("features", "prepare", ("features",), ("examples",), ("workflow", "features"), features),
    Stage(
        "retrieval",
        "train",
        ("retrieval", "two_tower"),
        ("events", "examples", "features"),
        tuple(f"models/{name}" for name in (TWO_TOWER, *FACTOR_MODELS)),
        retrieval,
    ),
    Stage(
        "item_to_item",
        "train",
        ("item_to_item", "evaluate"),
        ("events", "examples", "features", "retrieval"),
        ("models/item_to_item",),
        item_to_item,
    ),
    Stage("ranking", "train", ("ranking", "evaluate"), ("features", "item_to_item"), ("models/ranking",), ranking),
    Stage("cart", "train", ("cart",), ("features",), ("models/cart",), train_cart),
    Stage(
        "evaluate",
        "evaluate",
        ("evaluate",),
        ("events", "retrieval", "item_to_item", "ranking", "cart"),
        ("evaluation",),
        evaluate,
    ),
    Stage("export", "export", ("export", "evaluate"), ("item_to_item", "ranking", "cart"), ("repository",), export),
)

COMMANDS: Final = tuple(dict.fromkeys(stage.command for stage in STAGES))


def run_stages(settings: RunSettings, commands: Sequence[str], console: Console) -> None:
    """Run the stages of ``commands`` in order, skipping those that are done and unchanged.

    Args:
        settings: the configuration; ``settings.run`` is the run directory.
        commands: names out of ``COMMANDS``.
        console: where to say what is done, skipped and how long it took.

    Raises:
        RunError: if a stage that is not asked for, but is needed, has not been run with these settings.
        MissingDependencyError: if the extra ``train`` is not installed.
        ConfigError: if a parameter of the retrieval model is not known or not accepted.
        CartwheelError: whatever a stage finds wrong.
    """
    require_training_packages()
    check_parameters(settings)
    run = RunDirectory(settings.run)
    with run.lock():
        keys = stage_keys(settings, None if "prepare" in commands else run.manifest().stages.get("events"))
        for stage in STAGES:
            if run.is_done(stage.name, keys[stage.name]):
                if stage.command in commands:
                    console.print(f"[dim]{stage.name}: done already, skipped[/dim]")
            elif stage.command in commands:
                _run_one(stage, settings, run, keys[stage.name], console)
            elif any(stage.name in _needed_by(other) for other in STAGES if other.command in commands):
                raise RunError(
                    f"The stage {stage.name!r} has not been run in {run.path} with this configuration.",
                    f"Run `cartwheel {stage.command}` with it first, or `cartwheel run` for all stages.",
                )


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
    keys = stage_keys(settings, records.get("events"))
    for stage in (stage for stage in STAGES if stage.name in stages):
        record = records.get(stage.name)
        if record is not None:
            needed = {name: file for name, file in record.files.items() if not name.startswith(tuple(without))}
            record = record.model_copy(update={"files": needed})
        if record is None or record.key != keys[stage.name] or run.changed_files(record):
            raise RunError(
                f"The stage {stage.name!r} has not been run in {run.path} with this configuration.",
                f"Run `cartwheel {stage.command}` with it first.",
            )


def _run_one(stage: Stage, settings: RunSettings, run: RunDirectory, key: str, console: Console) -> None:
    console.print(f"[bold]{stage.name}[/bold]")
    with stopwatch() as seconds:
        stage.work(run.path, settings)
    run.finish(stage.name, key, _told(stage, settings), stage.outputs, seconds[0])
    console.print(f"[dim]{stage.name}: {seconds[0]:.1f} s[/dim]")


def stage_keys(settings: RunSettings, events: StageRecord | None = None) -> dict[str, str]:
    """Return the key of each stage under these settings, in the order of the stages.

    Args:
        settings: the configuration.
        events: what the manifest knows of the first stage, where it is not to be run: later stages read files of the run
            alone, so the source need not be there any more.
    """
    keys: dict[str, str] = {}
    for stage in STAGES:
        told = _told(stage, settings)
        if stage.name == "events" and events is not None and events.settings == told:
            keys[stage.name] = events.key
        else:
            outside = source_files(settings) if stage.name == "events" else []
            keys[stage.name] = stage_key(told, [keys[name] for name in stage.upstream], outside)
    return keys


def _told(stage: Stage, settings: RunSettings) -> Mapping[str, Any]:
    told = settings.model_dump(mode="json", include={"seed", *stage.sections})
    if "source" in told and told["source"]["path"] is not None:
        told["source"]["path"] = Path(told["source"]["path"]).name  # the manifest stays true when the folder is moved
    return told


def _needed_by(stage: Stage) -> set[str]:
    by_name = {other.name: other for other in STAGES}
    return set(stage.upstream).union(*(_needed_by(by_name[name]) for name in stage.upstream))


def require_training_packages() -> None:
    """Check that the extra ``train`` is there.

    Raises:
        MissingDependencyError: naming the packages that are not.
    """
    missing = [name for name in _TRAINING_PACKAGES if not _is_installed(name)]
    if missing:
        raise MissingDependencyError(
            f"Preparing and training need packages that are not installed: {', '.join(missing)}.",
            "In the checkout, install the extra with `pip install '.[train]'`.",
        )


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name.partition(".")[0]) is not None
    except ValueError:
        return False
