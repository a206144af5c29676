"""Runs a compiled feature graph on a Polars table: the table as the graph's inputs, and its outputs as a table again."""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import polars as pl

from cartwheel.core import onnx_model
from cartwheel.core.errors import DataError, UsageError
from workflows.compiler.lists import leaves
from workflows.compiler.onnx_graph import ENCODED_SUFFIX
from workflows.compiler.plan.compile_onnx import LENGTHS_SUFFIX, LISTS, MISSING_SUFFIX
from workflows.compiler.plan.compile_polars import check_columns
from workflows.compiler.plan.types import ColumnType

Array = npt.NDArray[Any]

_TYPES: Final = {
    "tensor(string)": "string",
    "tensor(bool)": "bool",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}


def open_session(model: onnx.ModelProto) -> Any:
    """Open a compiled graph in ONNX Runtime, on one thread of the CPU and without its warnings."""
    return onnx_model.open_session(model.SerializeToString(), threads=1)


def encode_onnx(session: Any, frame: pl.DataFrame) -> pl.DataFrame:
    """Encode a table with a compiled feature graph, all its rows in one request.

    Args:
        session: of a graph that ``compile_onnx`` made.
        frame: rows with at least the graph's raw columns.

    Returns:
        The encoded columns under their own names; null where a value is missing. Lists of a graph that knows no lengths come out as
        wide as the longest.

    Raises:
        DataError: if a column is missing or of another type (see ``compile_polars``), has nulls and the graph was compiled without
            ``nullable`` for it, or lists of unequal length and it was compiled without ``ragged``. Lists of strings may be unequal all
            the same: they are filled up with ``""``.
        UsageError: if ``compile_onnx`` did not make the graph.
    """
    feeds, lists = onnx_feeds(session, frame), _lists(session)
    names = [value.name for value in session.get_outputs()]
    answers = dict(zip(names, session.run(names, feeds), strict=True))
    columns = {}
    for value in session.get_outputs():
        if value.name.endswith(ENCODED_SUFFIX):
            missing, lengths = answers.get(value.name + MISSING_SUFFIX), answers.get(value.name + LENGTHS_SUFFIX)
            columns[value.name.removesuffix(ENCODED_SUFFIX)] = _series(
                answers[value.name], missing, lengths, _type(value, value.name in lists)
            )
    return pl.DataFrame(columns)


def onnx_feeds(session: Any, frame: pl.DataFrame) -> dict[str, Array]:
    """Return the inputs of a compiled feature graph for the rows of a table; for the errors see ``encode_onnx``."""
    lists = _lists(session)
    optional = {value.name for value in session.get_overridable_initializers()}
    kinds = {value.name: _type(value, value.name in lists) for value in session.get_inputs()}
    check_columns(kinds, frame.schema)
    feeds: dict[str, Array] = {}
    for value in session.get_inputs():
        kind = kinds[value.name]
        elements, lengths = _elements(frame[value.name]) if kind.is_list else (frame[value.name], None)
        missing = np.zeros(len(elements), dtype=bool) if kind.is_float else elements.is_null().to_numpy()
        filled = elements.cast(kind.polars_element).fill_null(float("nan") if kind.is_float else _blank(kind))
        values = np.array(filled.to_list(), dtype=object) if kind.is_string else filled.to_numpy().astype(kind.numpy)
        if missing.any() and value.name + MISSING_SUFFIX not in optional:
            raise DataError(
                f"Column {value.name!r} has nulls, which the graph does not take.", "Compile it with nullable columns."
            )
        ragged = value.name + LENGTHS_SUFFIX in optional
        if lengths is not None and not ragged and not kind.is_string and len(set(lengths.tolist())) > 1:
            raise DataError(f"Column {value.name!r} has lists of unequal length.", "Compile the graph with ragged columns.")
        feeds[value.name] = _matrix(values, lengths, _blank(kind))
        if value.name + MISSING_SUFFIX in optional:
            feeds[value.name + MISSING_SUFFIX] = _matrix(missing, lengths, blank=False)
        if lengths is not None and ragged:
            feeds[value.name + LENGTHS_SUFFIX] = lengths.reshape(-1, 1)
    return feeds


def _lists(session: Any) -> set[str]:
    """Return the names of the inputs and outputs that are lists."""
    described = session.get_modelmeta().custom_metadata_map
    if LISTS not in described:
        raise UsageError("The graph does not say which of its columns are lists.", "Give one that compile_onnx made.")
    return set(json.loads(described[LISTS]))


def _type(value: Any, is_list: bool) -> ColumnType:
    return ColumnType(_TYPES.get(value.type) or value.type.removeprefix("tensor(").removesuffix(")"), is_list)


def _blank(kind: ColumnType) -> Any:
    if kind.is_string:
        return ""
    return False if kind.dtype == "bool" else 0


def _elements(lists: pl.Series) -> tuple[pl.Series, Array]:
    """Return the elements of all lists in turn and the lists' lengths; a null list has none."""
    lengths = lists.list.len().fill_null(0).to_numpy().astype(np.int64)
    return leaves(lists), lengths


def _matrix(values: Array, lengths: Array | None, blank: Any) -> Array:
    """Return ``[B, 1]``, or ``[B, L]`` filled up with ``blank``, L at least 1."""
    if lengths is None:
        return values.reshape(-1, 1)
    matrix = np.full((len(lengths), max(1, int(lengths.max(initial=0)))), blank, dtype=values.dtype)
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = values
    return matrix


def _series(values: Array, missing: Array | None, lengths: Array | None, kind: ColumnType) -> pl.Series:
    inside = np.ones(values.shape, dtype=bool)
    if lengths is not None:
        inside = np.arange(values.shape[1]) < lengths
    elements = pl.Series(values[inside].tolist() if kind.is_string else values[inside], dtype=kind.polars_element)
    if missing is not None:
        elements = pl.select(pl.when(~pl.Series(missing[inside])).then(elements)).to_series()
    if kind.is_float:
        elements = elements.fill_nan(None)
    if not kind.is_list:
        return elements
    counts = inside.sum(axis=1)
    ends = np.cumsum(counts)
    rows = [elements.slice(end - count, count) for end, count in zip(ends, counts, strict=True)]
    return pl.Series(rows, dtype=kind.polars)
