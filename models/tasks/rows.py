"""The encoded rows of a declared task, with entities and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core import tables
from cartwheel.core.errors import DataError
from cartwheel.core.run_layout import TaskLayout
from models.families.family import Floats
from models.training.tables import PADDING_ID, Table, read_table
from workflows.features.column import LISTS, Column, Kind

SCALE: Final = "_scale"
"""Column of a split that holds how much each row's entity changed from one window to the next."""


@dataclass(frozen=True)
class Rows:
    """Rows of one split.

    Attributes:
        table: encoded columns.
        label: [N] float64.
        entity: [N] str, who or what each row is about; rows of one entity are not independent.
        treated: [N] float64, 1 where a row was treated and 0 where not; None where the task has no treatment.
        scale: [N] float64, mean squared change of the entity from one window to the next before the test split; None where the split does
            not have it.
    """

    table: Table
    label: Floats
    entity: npt.NDArray[Any]
    treated: Floats | None = None
    scale: Floats | None = None

    def __len__(self) -> int:
        return len(self.label)


def read_rows(
    layout: TaskLayout, split: str, columns: Sequence[Column], sizes: Mapping[str, int], *, treated: bool = False
) -> Rows:
    """Read the encoded rows of a split.

    Args:
        layout: the task's files.
        split: ``train``, ``valid`` or ``test``.
        columns: what to read.
        sizes: column of ids -> number of ids.
        treated: whether to read which rows were treated.

    Raises:
        RunError: if a file is missing or lacks a column.
        DataError: if there is no row, or a value that is no encoded one.
    """
    folder = layout.features(split)
    vectors = [column for column in columns if column.kind is Kind.VECTOR]
    others = [column for column in columns if column.kind is not Kind.VECTOR]
    scaled = SCALE in tables.column_names(folder)
    about = tables.read_table(folder, ["entity", "label", *(["treated"] if treated else []), *([SCALE] if scaled else [])])
    if not about.num_rows:
        raise DataError(f"{folder} holds no row, where at least one is needed.", "Give the task a longer log, or move the split.")
    found = read_table(folder, [column.name for column in others], sizes).columns if others else {}
    for column in others:
        if column.kind in LISTS:
            found[column.name] = _to_width(found[column.name], column, folder)
    for column in vectors:
        found[column.name] = _vectors(folder, column)
    ordered = {column.name: found[column.name] for column in columns}
    label = np.asarray(about["label"].to_numpy(), np.float64)
    arm = np.asarray(about["treated"].to_numpy(), np.float64) if treated else None
    scale = np.asarray(about[SCALE].to_numpy(), np.float64) if scaled else None
    return Rows(Table(folder, ordered), label, np.asarray(about["entity"].to_pylist(), dtype=str), arm, scale)


def inputs_of(table: Table, columns: Sequence[Column]) -> dict[str, npt.NDArray[Any]]:
    """Return the columns as a model's ONNX graph reads them: int64 ids and float32 numbers ``[B, 1]``, lists and vectors ``[B, L]``."""
    batch = table.batch(slice(None), [column.name for column in columns])
    return {name: values.astype(np.int64) if values.dtype == np.int32 else values for name, values in batch.items()}


def _to_width(values: npt.NDArray[Any], column: Column, folder: Path) -> npt.NDArray[Any]:
    if values.shape[1] > column.width:
        row = int(np.argmax((values != PADDING_ID).sum(axis=1)))
        raise DataError(
            f"{folder}, column {column.name!r}, row {row} holds {values.shape[1]} values, where at most {column.width} are expected.",
            "Run prepare again.",
        )
    return np.pad(values, ((0, 0), (0, column.width - values.shape[1])))


def _vectors(folder: Path, column: Column) -> npt.NDArray[Any]:
    held = tables.read_table(folder, [column.name])[column.name].combine_chunks()
    lengths = np.asarray(held.value_lengths().fill_null(0))
    bad = np.flatnonzero(lengths != column.width)
    if len(bad):
        raise DataError(
            f"{folder}, column {column.name!r}, row {bad[0]} holds {lengths[bad[0]]} numbers, where {column.width} are expected.",
            "Run prepare again.",
        )
    return np.asarray(held.flatten(), dtype=np.float32).reshape(len(lengths), column.width)
