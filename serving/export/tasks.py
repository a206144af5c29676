"""The declared tasks of a run, as their ensembles are built from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import RunError
from cartwheel.core.run_layout import RunLayout, TaskLayout
from cartwheel.core.tables import read_json, read_table
from serving.contract.tasks import TaskColumn, TaskForm
from serving.contract.tensors import Element
from serving.export.onnx_files import read_onnx
from serving.export.run_files import flattened, floats, integers, padded, padded_rows, strings
from serving.pieces.predict import TaskModels
from workflows.features.column import LISTS, Column, Kind

if TYPE_CHECKING:
    import pyarrow as pa

_UNSEEN: Final = -1
"""A value of the calendar that no moment has; it is encoded as one that training did not see."""
_AGAIN: Final = "Run `cartwheel prepare` and `cartwheel train` again."


def read_tasks(run: RunLayout) -> list[TaskModels]:
    """Read every declared task that has a model, in the order of their names.

    Raises:
        RunError: if a file is missing or does not fit the others.
    """
    return [read_task(run.task(path.parent.name)) for path in sorted(run.task_models_folder.glob("*/leaderboard.json"))]


def read_task(layout: TaskLayout) -> TaskModels:
    """Read a task: what is stored of it, its encoding, and the learner that is served.

    Raises:
        RunError: if a file is missing or does not fit the others.
    """
    spec, board = read_json(layout.spec), read_json(layout.leaderboard)
    try:
        model = layout.model(board["served"])
        config, calibration = read_json(model.config), read_json(model.calibration)
        columns = raw_columns(spec)
        slope, intercept = float(calibration["slope"]), float(calibration["intercept"])
        factor, spread = float(calibration.get("factor", 1.0)), calibration.get("spread")
        form = TaskForm(
            layout.name,
            str(spec["title"]),
            str(spec["entity"]),
            spec["answer"],
            tuple(map(_client_column, columns)),
            _threshold(spec),
            float(spec["base_rate"]["train"]),
            (slope, intercept, factor) != (1.0, 0.0, 1.0),
            str(board["served"]),
            float(spread["coverage"]) if spread else None,
            tuple(spec.get("families", ())),
        )
        typical, reasons = config["typical"], config["reasons"]
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"The files of the task {layout.name!r} lack what serving needs ({error}).", _AGAIN) from None
    table = read_table(layout.stored, ["entity", *(column.name for column in columns)]) if form.stored else None
    entities = strings(table["entity"]) if table is not None else []
    stored = {column.name: _with_unknown(column, table) for column in columns}
    graphs = read_onnx(layout.graph), read_onnx(model.scores)
    return TaskModels(form, entities, stored, *graphs, typical, reasons, slope, intercept, factor, spread)


def raw_columns(spec: Mapping[str, Any]) -> tuple[Column, ...]:
    """Return the raw columns of a task from its ``task.json``."""
    return tuple(Column.from_json(column) for column in spec["columns"])


def raw_values(column: Column, values: pa.ChunkedArray) -> npt.NDArray[Any]:
    """Return a raw column as its tensor, [rows, width]; "" and NaN are missing.

    Raises:
        RunError: if a vector has another width than declared.
    """
    if column.kind is Kind.VECTOR:
        return _vectors(column, values)
    if column.kind in LISTS:
        return padded(values, column.width, "", object)
    if column.kind is Kind.CALENDAR:
        return integers(values, _UNSEEN).reshape(-1, 1)
    if column.kind in (Kind.ID, Kind.CATEGORY):
        return np.array([*strings(values), None], dtype=object)[:-1].reshape(-1, 1)
    return floats(values).reshape(-1, 1)


def _vectors(column: Column, values: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    flat, lengths = flattened(values)
    if not (lengths == column.width).all():
        raise RunError(f"The column {column.name!r} has vectors of other lengths than {column.width}.", _AGAIN)
    return padded_rows(floats(flat), lengths, column.width, np.float32(0), np.float32)


def _with_unknown(column: Column, table: pa.Table | None) -> npt.NDArray[Any]:
    """Return the stored values, and in a last row those of an entity that is not known."""
    known = raw_values(column, table[column.name]) if table is not None else None
    width = column.width if column.kind in LISTS or column.kind is Kind.VECTOR else 1
    dtype = _type(column)
    blank: Any = {"string": "", "int64": _UNSEEN, "float32": np.nan}[dtype]
    if column.kind is Kind.VECTOR:
        blank = 0.0
    if column.kind is Kind.CALENDAR and known is not None and len(known):
        blank = int(np.bincount(known.ravel()).argmax()) if known.min() >= 0 else _UNSEEN
    last = np.full((1, width), blank, {"string": object, "int64": np.int64, "float32": np.float32}[dtype])
    return last if known is None else np.concatenate([known, last])


def _type(column: Column) -> Element:
    if column.kind in LISTS or column.kind in (Kind.ID, Kind.CATEGORY):
        return "string"
    return "int64" if column.kind is Kind.CALENDAR else "float32"


def _client_column(column: Column) -> TaskColumn:
    listed = column.kind in LISTS or column.kind is Kind.VECTOR
    return TaskColumn(column.name, column.title, _type(column), column.width if listed else 1, listed)


def _threshold(spec: Mapping[str, Any]) -> float | None:
    if spec["answer"] == "quantity":
        return None
    if spec["answer"] == "effect":
        return float(spec["treatment"]["cost"]) / float(spec["treatment"]["value"])
    wrong_yes, wrong_no = float(spec["costs"]["false_positive"]), float(spec["costs"]["false_negative"])
    return wrong_yes / (wrong_yes + wrong_no)


def offline_rows(layout: TaskLayout) -> Path:
    """Return the file of the served learner's answers for the first test examples."""
    return layout.model(read_json(layout.leaderboard)["served"]).offline
