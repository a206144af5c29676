"""The tables of statistics by group that NVTabular writes when it fits TargetEncoding and JoinGroupby."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from cartwheel.core.errors import RunError
from workflows.compiler.operators.step import Applied


def read_statistics(applied: Applied, name: str, path: str | None) -> pl.DataFrame:
    """Read the statistics of a group.

    Args:
        applied: the operator and the column that it makes.
        name: how the operator calls the group.
        path: where it says that they are; None where it is not fitted.

    Raises:
        RunError: the operator is not fitted, or the file cannot be read.
    """
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    if path is None:
        kind = type(applied.operator).__name__
        raise RunError(f"Feature column {applied.column!r}: its {kind} is not fitted.", "Fit the workflow before compiling it.")
    applied.check_file(name, path)
    try:
        table = pl.from_arrow(pq.read_table(Path(path)))
    except (OSError, ArrowException, ValueError) as error:
        raise RunError(
            f"Feature column {applied.column!r}: its statistics {path} cannot be read ({error}).", "Fit the workflow again."
        ) from error
    assert isinstance(table, pl.DataFrame)
    return table
