"""A run of declared tasks about users, items and sessions whose columns are of the built-in families, over the events of a log."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
from synthetic_tasks import SyntheticTask

from cartwheel.core.run_layout import RunLayout
from serving.contract.tasks import TaskColumn, TaskForm
from workflows.events.event_log import EventLog, code_events
from workflows.events.sessions import session_rows, with_sessions
from workflows.features.column import Column, Kind
from workflows.features.family import Moments
from workflows.features.registry import make_families
from workflows.settings import PrepareSettings

GAP_MINUTES = 30
_DTYPES = defaultdict(lambda: "float32", {Kind.CALENDAR: "int64"})
TASKS = {
    "churn": ("user", ("user_activity", "buying_cycle", "calendar")),
    "demand": ("item", ("item_activity", "calendar")),
    "intent": ("session", ("session_activity", "session_items", "user_activity", "calendar")),
}
"""Task -> what it is about, and its families."""


def write_live_tasks(run: Path, events: pl.DataFrame) -> None:
    """Write a run that knows these events; of each task it stores the columns of nobody, so that every answer is of given columns."""
    for name, (entity, families) in TASKS.items():
        SyntheticTask(run, name, entity, columns=_columns(name), families=families).write()
    write_log(run, events)


def forms() -> list[TaskForm]:
    """What clients know of the tasks."""
    asked = {
        name: tuple(TaskColumn(column.name, column.title, _DTYPES[column.kind]) for column in _columns(name)) for name in TASKS
    }
    return [
        TaskForm(name, name, entity, "probability", asked[name], 0.5, 0.5, calibrated=False, families=families)
        for name, (entity, families) in TASKS.items()
    ]


def _columns(name: str) -> tuple[Column, ...]:
    return tuple(column for family in make_families(TASKS[name][1]) for column in family.columns)


def write_log(run: Path, events: pl.DataFrame) -> None:
    """Write the events, and the state where there is none."""
    layout = RunLayout(run)
    layout.events.parent.mkdir(parents=True, exist_ok=True)
    events.write_parquet(layout.events)
    if layout.state.exists():  # of a run that recommends as well
        return
    layout.state.parent.mkdir(parents=True)
    known = int(events["timestamp"].dt.epoch("us").max())  # type: ignore[arg-type]
    state = {
        "as_of_us": known + 1, "as_of": "", "session_gap_us": GAP_MINUTES * 60_000_000, "recent_items": 5, "leave_out": "nothing",
        "id_types": {"user_id": "string", "item_id": "string"}, "has_cart": False, "no_cart": "", "request_kinds": {},
        "interaction_types": [], "last_event_us": known,
    }  # fmt: skip
    layout.state.write_text(json.dumps(state))


def batch_columns(task: str, events: pl.DataFrame, entities: list[str], now: int) -> dict[str, list[float | None]]:
    """What ``prepare`` would give of a log with these events, asked now."""
    entity, names = TASKS[task]
    log = code_events(with_sessions(events, GAP_MINUTES), PrepareSettings().interaction_types)
    found = [_frame(log, entity, names, each, now) for each in entities]
    return pl.concat(found).to_dict(as_series=False)


def _frame(log: EventLog, entity: str, names: tuple[str, ...], which: str, now: int) -> pl.DataFrame:
    places = np.flatnonzero(((log.items if entity == "item" else log.users) == which).to_numpy())
    code = int(places[0]) if len(places) else -1
    own = code
    if entity == "session":
        earlier = np.flatnonzero((log.key == code) & (log.time < now))
        own = int(session_rows(log)[earlier[np.lexsort((log.row[earlier], log.time[earlier]))[-1]]])
    frames = []
    for family in make_families(names):
        code_of = own if family.name.startswith("session") else code
        frames.append(family.compute(log, Moments(np.array([code_of]), np.array([now]))))
    return pl.concat(frames, how="horizontal_extend")
