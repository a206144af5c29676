"""``TargetEncoding``: a group becomes the mean of a target in it, smoothed towards the mean of all rows.

The compiled form is that of serving: the statistics of all folds, (sum of the group + p * mean) / (count of the group + p), and the mean
for a group that was never seen (Micci-Barreca, SIGKDD Explorations 3(1), 2001). The target is not read.

NVTabular counts the non-null values of the group's first column: the count of a group whose first value is null is 0, and its
encoding (sum + p * mean) / p. The statistics in its files are used as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.errors import NotCompilableError, RunError
from workflows.operators.keys import Keys
from workflows.operators.pick import Pick
from workflows.operators.step import Applied, Made
from workflows.plan.types import DTYPES


def read_target_encoding(applied: Applied) -> Made:
    """Read NVTabular's ``TargetEncoding``, whatever its number of folds."""
    if not applied.sources:
        raise applied.refuse("gives the fold of each row, which no request has", "Use drop_folds=True.")
    target, *group = applied.sources  # the order of its column_mapping
    operator = applied.operator
    dtype = np.dtype(operator.output_dtype)
    if dtype.name not in DTYPES or dtype.kind not in "iuf":
        raise applied.refuse(f"gives {dtype.name}", "Use out_dtype='float32'.")
    statistics = _statistics(applied, group)
    sums = statistics.to_series(len(group) + 1 + operator.target_columns.index(target)).to_numpy()
    counts = statistics.to_series(len(group)).to_numpy()
    encoded = _smooth(sums, counts, _mean(applied, target), operator.p_smooth)
    if dtype.kind != "f" and not np.isfinite(encoded).all():
        raise applied.refuse(f"divides by 0, which {dtype.name} cannot hold", "Use out_dtype='float32', or a p_smooth above 0.")
    try:
        keys = Keys(tuple(statistics.get_columns()[: len(group)]))
    except NotCompilableError as error:
        raise NotCompilableError(f"Feature column {applied.column!r}: {error.found}", error.fix) from error
    return Made((keys, Pick(applied.column, pl.Series(encoded.astype(dtype)))), tuple(group))


def _smooth(sums: npt.NDArray[Any], counts: npt.NDArray[Any], mean: float, smoothing: float) -> npt.NDArray[Any]:
    """Return the encoding of each group, in the precision of ``sums`` as in NVTabular, and behind them the mean for all other groups."""
    with np.errstate(divide="ignore", invalid="ignore"):
        encoded = (sums + smoothing * mean) / (counts + smoothing)
    return np.append(np.where(np.isnan(encoded), mean, encoded), mean)


def _mean(applied: Applied, target: str) -> float:
    given = applied.operator.target_mean
    means = applied.operator.means if given is None else given
    return float(means[target] if isinstance(means, Mapping) else means)


def _statistics(applied: Applied, group: list[str]) -> pl.DataFrame:
    """Return the columns of the group, its count, and the sum of each target, one row a group that was seen."""
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    operator = applied.operator
    name = operator.name_sep.join(group)
    if sum(name == operator.name_sep.join([other] if isinstance(other, str) else other) for other in applied.groups) > 1:
        raise applied.refuse(f"keeps two groups under the name {name!r}", "Rename a column, or give another name_sep.")
    path = operator.stats.get(name)
    if path is None:
        raise RunError(
            f"Feature column {applied.column!r}: its TargetEncoding is not fitted.", "Fit the workflow before compiling it."
        )
    try:
        table = pl.from_arrow(pq.read_table(Path(path)))
    except (OSError, ArrowException, ValueError) as error:
        raise RunError(
            f"Feature column {applied.column!r}: its statistics {path} cannot be read ({error}).", "Run prepare again."
        ) from error
    assert isinstance(table, pl.DataFrame)
    return table
