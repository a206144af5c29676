"""The raw examples of declared tasks: entities, anchors, labels and features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from cartwheel.core.errors import ConfigError, DataError
from cartwheel.core.files import atomic_path, write_json
from cartwheel.core.progress import progress
from cartwheel.core.run_layout import RunLayout, TaskLayout
from workflows.audit.tasks import AHEAD, KEY, PlainEvents, audit_columns, audit_task
from workflows.events.event_log import DAY_US, EventLog, code_events, instants, read_events
from workflows.events.sessions import with_sessions
from workflows.features.column import LISTS, Column, Kind, Owner, check_distinct
from workflows.features.compute import compute_family
from workflows.features.family import FeatureFamily, Moments
from workflows.features.own import OwnFamily
from workflows.features.registry import FAMILIES, make_families
from workflows.prepare.row_tasks import rows_of
from workflows.prepare.task_checks import check_labels, check_moments, check_values, checked
from workflows.settings import PrepareSettings
from workflows.tasks.entities import OWNERS, check_owner, everyone, ids_of, moments_of
from workflows.tasks.future_events import FutureEvents
from workflows.tasks.past_windows import squared_changes
from workflows.tasks.settings import check_names
from workflows.tasks.split import SPLITS, SplitName, iso, split_log
from workflows.tasks.task import Answer, Entity, Labels, Task
from workflows.tasks.task_split import Asked, ask

KEYS: Final = ("entity", "anchor", "label")
"""Columns of the examples that are no features; a task about rows has no ``anchor``."""
SCALE: Final = "_scale"
"""Column of test examples: how much the entity changed from one window to the next before test, see ``squared_changes``."""


@dataclass
class TaskExamples:
    """The examples of a task and what is known of them.

    Attributes:
        columns: the features, in the order of the tables' columns.
        tables: split -> ``entity``, ``anchor`` (not of rows), ``label``, then the features.
        stored: ``entity`` and the features as of the end of the log; None for sessions and rows.
        spec: JSON values: how the examples were made.
    """

    columns: tuple[Column, ...]
    tables: dict[SplitName, pl.DataFrame]
    stored: pl.DataFrame | None
    spec: dict[str, Any]


@dataclass(frozen=True)
class TaskLog:
    """The events that tasks are asked of, read and coded once.

    Attributes:
        frame: canonical events, each with a session.
        log: the same as codes.
    """

    frame: pl.DataFrame
    log: EventLog

    @staticmethod
    def read(events: Path, prepare: PrepareSettings) -> TaskLog:
        """Read the checked events of a run.

        Raises:
            DataError: as ``read_events``.
        """
        frame = with_sessions(read_events(events), prepare.session_gap_minutes)
        return TaskLog(frame, code_events(frame, prepare.interaction_types))


@dataclass
class _Counts:
    """Rows that are no examples, by split and reason."""

    dropped: dict[str, dict[str, int]] = field(default_factory=dict)

    def drop(self, split: str, reason: str, rows: int) -> None:
        if rows:
            self.dropped.setdefault(split, {})[reason] = rows


def build_tasks(
    run: Path,
    tasks: Sequence[Task],
    prepare: PrepareSettings,
    seed: int,
    own: Iterable[FeatureFamily] = (),
    folder: Path | None = None,
) -> dict[str, TaskExamples]:
    """Build the examples of several tasks, each into ``RunLayout(run).task(name)``; equal input and seed give equal bytes.

    Args:
        run: the run directory, with its checked events where a task is asked of them.
        tasks: the tasks.
        prepare: split, session gap and interaction types.
        seed: the only source of randomness.
        own: families of the shop's own columns, given to each task that can see them.
        folder: of the configuration file, where the shop's modules lie.

    Returns:
        The examples by name, as they were written.

    Raises:
        ConfigError: a name is taken, or a family, event type or column is not there; what was written before stays.
        DataError: a split has no example, or a label has one value only.
        LeakageError: the audit failed.
    """
    check_names(task.name for task in tasks)
    families = tuple(own)
    made: dict[str, TaskExamples] = {}
    log: TaskLog | None = None
    with progress("prepare tasks", len(tasks)) as advance:
        for task in tasks:
            if log is None and task.entity is not Entity.ROW:
                log = TaskLog.read(RunLayout(run).events, prepare)
            made[task.name] = build_task(run, task, prepare, seed, families, folder, log)
            advance(note=task.name)
    return made


def build_task(
    run: Path,
    task: Task,
    prepare: PrepareSettings,
    seed: int,
    own: Iterable[FeatureFamily] = (),
    folder: Path | None = None,
    log: TaskLog | None = None,
) -> TaskExamples:
    """Build the examples of one task; arguments, files and errors as in ``build_tasks``. ``log`` spares reading the events again."""
    if task.entity is Entity.ROW:
        made = _row_examples(task, prepare, seed)
    else:
        made = examples_of(task, log or TaskLog.read(RunLayout(run).events, prepare), prepare, seed, tuple(own), folder)
    write_examples(RunLayout(run).task(task.name), made)
    return made


def write_examples(layout: TaskLayout, made: TaskExamples) -> None:
    """Write the examples of a task in place of its folder, whole or not at all."""
    with atomic_path(layout.folder) as folder:
        for name, table in made.tables.items():
            file = folder / layout.examples(name).relative_to(layout.folder)
            file.parent.mkdir(parents=True, exist_ok=True)
            table.write_parquet(file)
        if made.stored is not None:
            made.stored.write_parquet(folder / layout.stored.relative_to(layout.folder))
        write_json(folder / layout.spec.relative_to(layout.folder), made.spec)


def examples_of(
    task: Task, shop: TaskLog, prepare: PrepareSettings, seed: int, own: Sequence[FeatureFamily] = (), folder: Path | None = None
) -> TaskExamples:
    """Build the examples of a task about users, items or sessions in memory; arguments and errors as ``build_tasks``."""
    if task.anchors is None or task.label is None:
        raise ConfigError(
            f"[tasks.{task.name}]: a task about each {task.entity.value} needs anchors and a label.", "Give it both."
        )
    log = shop.log
    label = task.label
    checked(task, lambda: label.check(log))
    named = checked(task, lambda: tuple(family.for_label(label) for family in make_families(task.families, folder)))
    families = (*named, *(f for f in own if f.owner in OWNERS[task.entity]))
    for family in families:
        check_owner(family, task.entity, task.name)
    columns = check_distinct(tuple(column for family in families for column in family.columns), f"[tasks.{task.name}]")
    if not columns:
        raise ConfigError(f"[tasks.{task.name}]: it has no features.", 'Name families, such as features = ["user_activity"].')
    asked = ask(task, int(log.time.min()), split_log(log.time, prepare), prepare)
    counts = _Counts()
    tables = {name: _table(task, shop, families, asked, name, seed, counts) for name in SPLITS}
    check_labels(task.name, label.answer, tables)
    audited = audit_task(
        task.name, task.entity, label, families, tables, PlainEvents(shop.frame, prepare.interaction_types), seed
    )
    brought = tuple(column for family in families if family.name not in FAMILIES for column in family.columns)
    always = {name for family in families if isinstance(family, OwnFamily) for name in family.always_known}
    found = audit_columns(task.name, tables["train"], brought, always_known=always)
    kept, constant = _varying(columns, tables["train"])
    tables = {name: table.select(*_keys(table), *(column.name for column in kept)) for name, table in tables.items()}
    spec = common_spec(task, label.answer, kept, tables) | {
        "families": [family.name for family in families],
        "constant": list(constant),
        "horizon_days": label.window_us / DAY_US,
        "split": _split_spec(asked),
        "asked": {name: _span(table) for name, table in tables.items()},
        "dropped": counts.dropped,
        "audit": audited | found.counts,
        "warnings": [*([asked.warning] if asked.warning else []), *found.warnings],
    }
    return TaskExamples(kept, tables, _stored(task, log, families, kept), spec)


def common_spec(task: Task, answer: Answer, columns: Sequence[Column], tables: dict[SplitName, pl.DataFrame]) -> dict[str, Any]:
    """Return what the specs of all tasks have in common, as JSON values."""
    return {
        "name": task.name,
        "title": task.title,
        "entity": task.entity.value,
        "answer": answer.value,
        "columns": [column.to_json() for column in columns],
        "learners": list(task.learners),
        "metrics": list(task.metrics),
        "costs": {"false_positive": task.cost_of_false_positive, "false_negative": task.cost_of_false_negative},
        "treatment": {"cost": task.cost_of_treatment, "value": task.value_of_outcome},
        "rows": {name: len(table) for name, table in tables.items()},
        "base_rate": {name: float(np.mean(table["label"].to_numpy())) for name, table in tables.items()},
    }


def _table(
    task: Task, shop: TaskLog, families: Sequence[FeatureFamily], asked: Asked, name: SplitName, seed: int, counts: _Counts
) -> pl.DataFrame:
    anchors, label, log = task.anchors, task.label, shop.log
    assert anchors is not None
    assert label is not None
    at = checked(task, lambda: anchors.moments(log, *asked.spans[name]))
    check_moments(task, at, asked.spans[name])
    labels = checked(task, lambda: label.of(log, at))
    check_values(task, label.answer, at, labels)
    kept = _usable(labels, asked.split.end_of(name), name, counts)
    if not len(kept):
        raise DataError(
            f"[tasks.{task.name}]: the {name} split has no example: {_why_none(at, labels, asked, name)}.",
            "Give a longer log, ask of more (active_within_days, active_events), or set valid_from and test_from of the task.",
        )
    if len(kept) > task.max_examples:
        counts.drop(name, "beyond_max_examples", len(kept) - task.max_examples)
        rng = np.random.default_rng([seed, SPLITS.index(name)])
        kept = np.sort(rng.choice(kept, size=task.max_examples, replace=False))
    at = at.take(kept)
    columns = {
        "entity": ids_of(task.entity, log, at.entity),
        "anchor": instants(at.anchor),
        "label": pl.Series(labels.value[kept]),
    }
    if at.ahead is not None:
        columns[AHEAD] = pl.Series(at.ahead)
    if name == "test" and anchors.every_us is not None and isinstance(label, FutureEvents) and label.adds_up:
        columns[SCALE] = pl.Series(squared_changes(label, log, asked.split.t_test)[at.entity])
    if task.entity is Entity.SESSION:
        columns[KEY] = log.keys.gather(log.key[at.entity])
    return pl.DataFrame(columns).hstack(_features(task, log, families, at))


def _keys(table: pl.DataFrame) -> list[str]:
    return [*KEYS, *(name for name in (AHEAD, SCALE) if name in table.columns)]


def _features(task: Task, log: EventLog, families: Sequence[FeatureFamily], at: Moments) -> pl.DataFrame:
    frames = [
        compute_family(family, log, moments_of(family.owner, task.entity, log, at), f"[tasks.{task.name}]") for family in families
    ]
    return pl.DataFrame([series for frame in frames for series in frame])


def _usable(labels: Labels, border: int, name: SplitName, counts: _Counts) -> np.ndarray[Any, np.dtype[np.int64]]:
    late, nothing = labels.known_at > border, np.isnan(labels.value)
    counts.drop(name, "censored" if name == "test" else "truth_reaches_into_the_next_split", int(late.sum()))
    counts.drop(name, "nothing_to_predict", int((nothing & ~late).sum()))
    return np.flatnonzero(~late & ~nothing).astype(np.int64)


def _why_none(at: Moments, labels: Labels, asked: Asked, name: SplitName) -> str:
    start, stop = asked.spans[name]
    if not len(at):
        return f"nobody is asked about from {iso(start)} on and before {iso(stop)}"
    if np.isnan(labels.value).all():
        return f"none of {len(at)} has what is to be predicted"
    return f"the truth of {len(at)} is known only after {iso(asked.split.end_of(name))}, where the split ends"


def _stored(task: Task, log: EventLog, families: Sequence[FeatureFamily], kept: Sequence[Column]) -> pl.DataFrame | None:
    if task.entity not in (Entity.USER, Entity.ITEM):
        return None
    codes = everyone(task.entity, log)
    at = Moments(codes, np.full(len(codes), log.last + 1, dtype=np.int64))
    names = [column.name for column in kept]
    stored = pl.DataFrame({"entity": ids_of(task.entity, log, codes)}).hstack(_features(task, log, families, at).select(names))
    listed = [family.listed(log.last + 1) for family in families if isinstance(family, OwnFamily) and _lists(family, task)]
    new = pl.concat([pl.Series([], dtype=pl.String), *listed]).unique().sort()
    new = new.filter(~new.is_in(stored["entity"].implode()))
    return pl.concat([stored, _never_seen(task, log, families, new).select(stored.columns)]) if len(new) else stored


def _lists(family: FeatureFamily, task: Task) -> bool:
    return family.owner is {Entity.USER: Owner.SHOPPER, Entity.ITEM: Owner.ITEM}.get(task.entity)


def _never_seen(task: Task, log: EventLog, families: Sequence[FeatureFamily], ids: pl.Series) -> pl.DataFrame:
    """Describe the users or items that the shop's table lists and no event has, by their own columns; of all else they have nothing."""
    at = Moments(np.full(len(ids), -1, dtype=np.int64), np.full(len(ids), log.last + 1, dtype=np.int64))
    frames = [
        family.frame(ids, at.anchor)
        if isinstance(family, OwnFamily) and _lists(family, task)
        else compute_family(family, log, at, f"[tasks.{task.name}]")
        for family in families
    ]
    return pl.DataFrame([ids.alias("entity"), *(series for frame in frames for series in frame)])


def _varying(columns: Sequence[Column], train: pl.DataFrame) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """Part the columns that vary in training from those that have one value there, which nothing can be learnt from."""
    nested = {*LISTS, Kind.VECTOR}
    kept = tuple(column for column in columns if column.kind in nested or train[column.name].n_unique() > 1)
    if not kept:
        raise DataError("None of the features varies in training.", "Name other feature families.")
    return kept, tuple(column.name for column in columns if column not in kept)


def _split_spec(asked: Asked) -> dict[str, str]:
    split = asked.split
    return {"words": asked.words, "t_valid": iso(split.t_valid), "t_test": iso(split.t_test), "end": iso(split.end)}


def _span(table: pl.DataFrame) -> list[str]:
    anchors = table["anchor"].dt.epoch("us").to_numpy()
    return [iso(int(anchors.min())), iso(int(anchors.max()))]


def _row_examples(task: Task, prepare: PrepareSettings, seed: int) -> TaskExamples:
    rows = rows_of(task, prepare, seed)
    check_labels(task.name, rows.answer, rows.tables)
    found = audit_columns(task.name, pl.concat(rows.tables.values()), rows.columns, is_table=True)
    kept, constant = _varying(rows.columns, rows.tables["train"])
    about = ("entity", "label", *(["treated"] if rows.answer is Answer.EFFECT else []))
    tables = {name: table.select(*about, *(column.name for column in kept)) for name, table in rows.tables.items()}
    spec = common_spec(task, rows.answer, kept, tables) | {
        "families": [],
        "constant": list(constant),
        "horizon_days": 0.0,
        "split": rows.split,
        "dropped": rows.dropped,
        "audit": found.counts,
        "warnings": [*rows.warnings, *found.warnings],
    }
    return TaskExamples(kept, tables, None, spec)
