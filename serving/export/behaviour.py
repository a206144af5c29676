"""Writes the events of a run for the features of declared tasks that the gateway computes at the question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_table
from serving.contract.behaviour import Behaviour
from serving.contract.tasks import TaskForm
from serving.export.run_files import doubles, integers, microseconds, strings
from serving.export.snapshot import read_state
from serving.store.event import USER, VISIT
from workflows.features.live.past import RECORD, key_of, kind_code
from workflows.features.live.registry import LIVE

if TYPE_CHECKING:
    import pyarrow as pa


def write_behaviour(root: Path, run: RunLayout, tasks: Sequence[TaskForm]) -> None:
    """Write the files into the folder of a repository, where a task reads a family that has a request's face."""
    if not any(name in LIVE for task in tasks for name in task.families) or not (run.events.is_file() and run.state.is_file()):
        return
    columns = ["user_id", "session_id", "item_id", "event_type", "timestamp", "price", "quantity"]
    events = read_table(run.events, columns)
    made = np.empty(len(events), RECORD)
    user, visit = _keys(events["user_id"], USER), _keys(events["session_id"], VISIT)
    made["user"], made["session"] = np.where(user != 0, user, visit), _keys(events["session_id"])
    made["item"], made["time"] = _keys(events["item_id"]), microseconds(events["timestamp"])
    made["kind"] = _coded(events["event_type"], kind_code, np.uint8)
    for name in ("price", "quantity"):
        made[name] = doubles(events[name])
    Behaviour.made(made, read_state(run.path).session_gap_us).write(root)


def _keys(column: pa.ChunkedArray, before: str = "") -> npt.NDArray[np.uint64]:
    return _coded(column, lambda text: key_of(before + text) if text else 0, np.uint64)


def _coded(column: pa.ChunkedArray, code: Callable[[str], int], dtype: npt.DTypeLike) -> npt.NDArray[np.uint64]:
    """Return a code of each text, computed once for each distinct one; null is the empty text."""
    import pyarrow as pa

    coded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    table = np.array([*map(code, strings(pa.chunked_array([coded.dictionary]))), code("")], dtype)
    return table[integers(pa.chunked_array([coded.indices]), len(coded.dictionary))]
