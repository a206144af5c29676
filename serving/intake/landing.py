"""Lands events as Parquet, which ``cartwheel prepare`` reads as it reads any table: the source of the next training.

A file is written aside and renamed, and only then are its events taken out of the journal. Its name says how far it goes, so that a
process that was killed between the two takes nothing twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cartwheel.core.errors import MissingDependencyError
from cartwheel.core.files import atomic_path
from serving.store.event import FIELDS, Tracked
from serving.store.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

ROWS: Final = 500_000
"""The most events of one file."""
_NAME: Final = re.compile(r"events-(?P<last>\d{20})\.parquet")
_NUMBERS: Final = ("price", "quantity")


def land(store: Store, folder: Path, rows: int = ROWS) -> list[Path]:
    """Write all that is in the journal to files of at most ``rows`` events.

    Args:
        store: whose journal; one process lands it at a time.
        folder: made where it is not there. Remove no file of it before its events are in an export, nor the newest ever.
        rows: of one file.

    Returns:
        The files written, oldest first; none where there was nothing.

    Raises:
        MissingDependencyError: if PyArrow is not installed.
        ServerError: if the store does not answer.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingDependencyError("Parquet needs the package pyarrow.", "Install `cartwheel[learning]`.") from error
    folder.mkdir(parents=True, exist_ok=True)
    there = [found["last"] for path in folder.iterdir() if (found := _NAME.fullmatch(path.name))]
    if there:
        store.landed(max(there))
    written = []
    while journal := store.journal(rows):
        last = journal[-1][0]
        path = folder / f"events-{last}.parquet"
        with atomic_path(path) as aside:
            pq.write_table(_table([event for _, event in journal]), aside)
        store.landed(last)
        written.append(path)
    return written


def _table(events: Sequence[Tracked]) -> pa.Table:
    import pyarrow as pa

    columns = {name: [getattr(event, name) for event in events] for name in FIELDS if name != "time_us"}
    arrays = {name: pa.array(values, pa.float64() if name in _NUMBERS else pa.string()) for name, values in columns.items()}
    stamps = pa.array([event.time_us for event in events], pa.timestamp("us", tz="UTC"))
    return pa.table({**arrays, "timestamp": stamps})
