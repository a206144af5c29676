"""Encodes whole tables with a fitted NVTabular workflow, in slices that keep memory bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from cartwheel.core.errors import DataError, RunError
from workflows.compiler.plan.read import raw_columns
from workflows.compiler.plan.types import from_polars
from workflows.compiler.quiet import quiet_nvtabular
from workflows.compiler.saved import check_raw_columns, load_saved
from workflows.features.feature_set import BUILT_IN, FeatureSet

SLICE_ROWS: Final = 250_000
_REFIT = "Run prepare again."


def load_workflow(folder: Path, columns: Sequence[str] | None = None, features: FeatureSet = BUILT_IN) -> Any:
    """Load a workflow that NVTabular saved.

    The file is a pickle, which can run any code while it is loaded: load only what this program wrote.

    Args:
        folder: for example ``<run>/workflow/ranking``.
        columns: raw feature columns to keep, for tables that have no others, of the types of the contract; None keeps all.
        features: the columns of the run.

    Returns:
        The fitted ``nvtabular.Workflow``.

    Raises:
        RunError: if it is missing, damaged, of another release, or was not fitted on those columns (see ``workflows.compiler.saved``).
    """
    workflow = load_saved(folder)
    if columns is None:
        return workflow
    fitted = raw_columns(workflow)
    kept = {column: kind for column, kind in fitted.items() if column in columns}
    check_raw_columns(folder, kept, {column: from_polars(features.raw_type(column)) for column in columns})
    with quiet_nvtabular():
        workflow.remove_inputs([column for column in fitted if column not in columns])
    return workflow


def check_columns(frame: pl.DataFrame, columns: Sequence[str], path: Path, features: FeatureSet = BUILT_IN) -> None:
    """Check that a table of examples has the raw feature columns that a workflow reads.

    Raises:
        DataError: naming the file and the columns that are missing, of another type, or null where a value must be.
    """
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise DataError(f"{path} lacks the columns {missing}; it has {frame.columns}.", _REFIT)
    for column in columns:
        found, expected = frame.schema[column], features.raw_type(column)
        if found != expected:
            raise DataError(f"{path}: column {column!r} is {found}, expected {expected}.", _REFIT)
        if expected != pl.Float32 and frame[column].null_count():
            raise DataError(f"{path}: column {column!r} has {frame[column].null_count()} nulls; '' means missing.", _REFIT)


def encode(
    workflow: Any, frame: pl.DataFrame, types: Mapping[str, pl.DataType] | None = None, features: FeatureSet = BUILT_IN
) -> pl.DataFrame:
    """Encode raw features with NVTabular's own transform.

    Args:
        workflow: a fitted workflow.
        frame: rows with at least the workflow's raw columns.
        types: encoded column -> its type; None takes those of ``features``.
        features: the columns of the run.

    Returns:
        The encoded columns alone, in the workflow's order and the rows' order: int64, float32, and lists of int64.

    Raises:
        RunError: if the workflow cannot be run on these rows.
    """
    columns = list(workflow.output_schema.column_names)
    types = {column: encoded_type(features, column) for column in columns} if types is None else types
    if not frame.height:
        return pl.DataFrame(schema={column: types[column] for column in columns})
    with quiet_nvtabular():
        raw = _where_nvtabular_runs(frame.select(workflow.input_schema.column_names).to_pandas())
        try:
            encoded = workflow.transform(raw)
            encoded = encoded.to_pandas() if hasattr(encoded, "to_pandas") else encoded
        except Exception as error:  # whatever NVTabular meets in a damaged workflow
            raise RunError(f"The NVTabular workflow cannot encode these rows ({error}).", _REFIT) from error
    return pl.DataFrame([_series(column, encoded[column], types[column]) for column in columns])


def _where_nvtabular_runs(table: Any) -> Any:
    """Return a pandas table as the one that NVTabular takes here: of cuDF on a GPU that it can use, else as it is."""
    from merlin.core.compat import HAS_GPU, cudf

    return cudf.from_pandas(table) if HAS_GPU and cudf is not None else table


def encode_slices(workflow: Any, frame: pl.DataFrame, features: FeatureSet = BUILT_IN) -> pl.DataFrame:
    """Like ``encode``, some rows at a time, so that pandas never holds them all."""
    slices = frame.iter_slices(SLICE_ROWS) if frame.height else [frame]
    return pl.concat([encode(workflow, piece, features=features) for piece in slices])


def encoded_type(features: FeatureSet, column: str) -> pl.DataType:
    """Return the type of an encoded column: ids int64, lists of them, and numbers float32."""
    raw = features.raw_type(column)
    if isinstance(raw, pl.List):
        return pl.List(pl.Int64)
    return raw if raw == pl.Float32 else pl.Int64()


def _series(column: str, values: Any, dtype: pl.DataType) -> pl.Series:
    if not isinstance(dtype, pl.List):
        return pl.Series(column, values.to_numpy(), dtype=dtype)
    import pyarrow as pa

    rows = values.to_list()
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    leaves = np.concatenate([np.asarray(row) for row in rows]).astype(np.float32 if dtype.inner == pl.Float32 else np.int64)
    series = pl.from_arrow(pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(leaves)))
    assert isinstance(series, pl.Series)
    return series.alias(column)
