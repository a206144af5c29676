"""``TargetEncoding``: a group becomes the mean of a target in it, smoothed towards the mean of all rows.

The compiled form is that of serving: the statistics of all folds, (sum of the group + p * mean) / (count of the group + p), and the mean
for a group that was never seen (Micci-Barreca, SIGKDD Explorations 3(1), 2001). The target is not read.

Operators behind it are fitted on what it makes of the training rows: with folds, the form that leaves the fold of the row out. Which fold
that is hangs on the place of the row, so this form is for a fit alone.

NVTabular counts the non-null values of the group's first column: the count of a group whose first value is null is 0, and its
encoding (sum + p * mean) / p. The statistics in its files are used as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.folds import Folds
from workflows.compiler.operators.keys import Keys
from workflows.compiler.operators.pick import Pick
from workflows.compiler.operators.statistics import read_statistics
from workflows.compiler.operators.step import Applied, Made, Step, Value
from workflows.compiler.plan.types import DTYPES, ColumnType

_FOLD: Final = "__fold__"


@dataclass(frozen=True)
class KeysOfFold(Step):
    """Finds the place of a key among those of the fold that a row is drawn into: the first column is the number of the row.

    Attributes:
        count: how many folds there are.
        seed: that they are drawn by; None takes turns.
        keys: the fold before the columns of the group.
    """

    count: int
    seed: int | None
    keys: Keys = field(repr=False)

    @cached_property
    def _folds(self) -> Folds:
        return Folds(self.count, self.seed)

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        """Return int64."""
        return self.keys.result(types)

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:  # noqa: ARG002  (the interface's)
        """Refuse: a request is in no fold.

        Raises:
            NotCompilableError: always.
        """
        raise NotCompilableError("The fold of a row has no ONNX form.", "Run this plan on tables alone.")

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Draw the fold, and look up."""

        def drawn(rows: pl.Series) -> pl.Series:
            known = rows.fill_null(0)  # Polars blanks the rows of branches that are not taken
            return pl.Series(rows.name, self._folds.at(known.to_numpy()).astype(np.int64))

        fold = columns[0].map_batches(drawn, return_dtype=pl.Int64(), is_elementwise=True)
        return self.keys.polars([fold, *columns[1:]], types)


@dataclass(frozen=True)
class FoldOfRow(Step):
    """Gives the fold that a row of a table is drawn into; it takes the row's place first.

    Attributes:
        folds: how many there are.
        seed: of the draw.
    """

    folds: int
    seed: int | None

    def result(self, types: Sequence[ColumnType]) -> ColumnType:  # noqa: ARG002  (the interface's)
        """Return the narrowest unsigned integers."""
        return ColumnType(np.min_scalar_type(self.folds * 2).name)

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:  # noqa: ARG002  (the interface's)
        """Refuse: a request is a row by itself.

        Raises:
            NotCompilableError: always.
        """
        raise NotCompilableError("The fold of a row has no ONNX form.", "Use drop_folds=True.")

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        """Draw the fold."""
        folds, kind = Folds(self.folds, self.seed), self.result(types)

        def drawn(rows: pl.Series) -> pl.Series:
            return pl.Series(rows.name, folds.at(rows.fill_null(0).to_numpy()).astype(kind.numpy))

        return columns[0].map_batches(drawn, return_dtype=kind.polars, is_elementwise=True)


def read_target_encoding(applied: Applied) -> Made:
    """Read NVTabular's ``TargetEncoding``, whatever its number of folds."""
    if not applied.sources:
        fold = FoldOfRow(applied.operator.kfold, applied.operator.fold_seed)
        return Made((fold,), (next(iter(applied.available)),), by_row=True)  # of any column: its rows are numbered
    if not applied.operator.target_columns:
        raise applied.refuse(
            "lost its target, as Workflow.remove_inputs leaves it, with which NVTabular cannot run it either",
            "Save the workflow with its target: a request need not give it.",
        )
    target, *group = applied.sources  # the order of its column_mapping
    operator = applied.operator
    dtype = np.dtype(operator.output_dtype)
    if dtype.name not in DTYPES or dtype.kind not in "iuf":
        raise applied.refuse(f"gives {dtype.name}", "Use out_dtype='float32'.")
    by_fold = applied.fitting and operator.kfold > 1
    statistics = _other_folds(applied, group) if by_fold else _statistics(applied, group)
    columns = len(group) + by_fold
    sums = statistics.to_series(columns + 1 + operator.target_columns.index(target)).to_numpy()
    counts = statistics.to_series(columns).to_numpy()
    encoded = _smooth(sums, counts, _mean(applied, target), operator.p_smooth)
    if dtype.kind != "f" and not np.isfinite(encoded).all():
        raise applied.refuse(f"divides by 0, which {dtype.name} cannot hold", "Use out_dtype='float32', or a p_smooth above 0.")
    try:
        keys: Step = Keys(tuple(statistics.get_columns()[:columns]))
    except NotCompilableError as error:
        raise NotCompilableError(f"Feature column {applied.column!r}: {error.found}", error.fix) from error
    if by_fold:
        assert isinstance(keys, Keys)
        keys = KeysOfFold(operator.kfold, operator.fold_seed, keys)
    return Made((keys, Pick(applied.column, pl.Series(encoded.astype(dtype)))), tuple(group), by_row=by_fold)


def _other_folds(applied: Applied, group: list[str]) -> pl.DataFrame:
    """Return the fold and the columns of the group, and the count and the sums over all folds but that one."""
    each, whole = _statistics(applied, [_FOLD, *group]), _statistics(applied, group)
    keys = [f"key {place}" for place in range(len(group))]
    numbers = [f"number {place}" for place in range(whole.width - len(group))]
    each, whole = _named(each, [_FOLD, *keys, *numbers]), _named(whole, [*keys, *numbers])
    both = each.join(whole, on=keys, how="left", nulls_equal=True, maintain_order="left", suffix=" of all")
    return both.select(_FOLD, *keys, *((pl.col(f"{name} of all") - pl.col(name)).alias(name) for name in numbers))


def _named(table: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame([series.alias(name) for series, name in zip(table.get_columns(), names, strict=True)])


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
    operator = applied.operator
    name = operator.name_sep.join(group)
    if sum(name == operator.name_sep.join([other] if isinstance(other, str) else other) for other in applied.groups) > 1:
        raise applied.refuse(f"keeps two groups under the name {name!r}", "Rename a column, or give another name_sep.")
    return read_statistics(applied, name, operator.stats.get(name))
