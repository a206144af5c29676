"""The fitter of ``TargetEncoding``: how often each value of a category occurs, and the sums of the targets, over all and in each fold.

NVTabular draws the fold of a row from the row's place in its partition, and draws again when it transforms; here all rows are one
partition, so that rows that are transformed as one partition, in the order in which they were fitted, get the values of the other folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
import polars as pl

from workflows.compiler.fit.fitter import Fitter, Group, joined, members
from workflows.compiler.fit.numbers import Moments
from workflows.compiler.fit.passes import Accumulator
from workflows.compiler.fit.sums import Sums
from workflows.compiler.fit.vocabulary import write_frame
from workflows.compiler.operators.folds import Folds

FOLD: Final = "__fold__"
_COUNT: Final = "%count"


class GroupSums(Accumulator):
    """Counts and sums of targets for each fold and value of a category.

    Args:
        keys: the columns that make up the category.
        targets: the columns that are summed.
        folds: None where there are no folds.
    """

    def __init__(self, keys: Sequence[str], targets: Sequence[str], folds: Folds | None) -> None:
        self.columns = tuple(dict.fromkeys((*keys, *targets)))
        self._keys = {f"key {place}": pl.col(key) for place, key in enumerate(keys)}
        self._targets = {f"target {place}": target for place, target in enumerate(targets)}
        self._summed = [_COUNT, *self._targets]
        self._folds = folds
        self._rows = 0
        self._sums = Sums([FOLD, *self._keys], self._summed)

    def take(self, batch: pl.DataFrame) -> None:
        """Add the batch."""
        rows = np.arange(self._rows, self._rows + batch.height)
        self._rows += batch.height
        folds = self._folds.at(rows) if self._folds else np.zeros(batch.height, dtype=np.uint8)
        targets = [_summable(batch[target]).alias(name) for name, target in self._targets.items()]
        one = pl.lit(1, pl.Int64).alias(_COUNT)
        self._sums.add(batch.select(*targets, pl.Series(FOLD, folds), one, **self._keys))

    def table(self, *, with_folds: bool) -> pl.DataFrame:
        """Return the keys, the fold before them if asked for, the count and the sums, in the order of fold and keys."""
        table = self._sums.table().sort(FOLD, *self._keys)
        if not with_folds:
            table = table.group_by(list(self._keys), maintain_order=True).agg(pl.col(self._summed).sum()).sort(*self._keys)
        return table.with_columns(_stored(table[name]) for name in self._targets)


class FitTargetEncoding(Fitter):
    """``TargetEncoding``: statistics of each group of columns, and the mean of each target."""

    def check(self) -> None:
        """Take scalars as the category, and numbers or booleans as targets."""
        applied, operator = self.applied, self.applied.operator
        for name in applied.names:
            applied.require(name, "a scalar category", met=not applied.type(name).is_list)
        for name in self._targets:
            kind = applied.type(name)
            applied.require(name, "a target that is a number", met=not kind.is_list and not kind.is_string)
        targets = [applied.columns[name] for name in self._targets]
        self._groups = {group: self._sums(group, targets) for group in applied.groups}
        self._means = {name: Moments(applied.columns[name]) for name in self._targets if operator.target_mean is None}

    def accumulators(self) -> Sequence[Accumulator]:
        """Return one a group and one a target."""
        return [*self._groups.values(), *self._means.values()]

    def finish(self) -> None:
        """Write the tables and set ``stats`` and ``means``."""
        operator = self.applied.operator
        operator.out_path = str(self.store.folder)
        for name, moments in self._means.items():
            operator.means[name] = moments.mean
        for group, sums in self._groups.items():
            self._write(members(group), sums.table(with_folds=False))
            if operator.kfold > 1:
                self._write((FOLD, *members(group)), sums.table(with_folds=True))

    @cached_property
    def _targets(self) -> list[str]:
        return list(self.applied.operator.target_columns)

    def _sums(self, group: Group, targets: Sequence[str]) -> GroupSums:
        operator = self.applied.operator
        folds = Folds(operator.kfold, operator.fold_seed) if operator.kfold > 1 else None
        return GroupSums([self.applied.columns[name] for name in members(group)], targets, folds)

    def _write(self, keys: tuple[str, ...], table: pl.DataFrame) -> None:
        operator = self.applied.operator
        name = joined(keys, operator.name_sep)
        sums = [joined((*keys, target, "sum"), operator.name_sep) for target in self._targets]
        file = f"cat_stats.{name}.parquet"
        folder = self.store.claim(file) / file
        folder.mkdir()
        named = dict(zip(table.columns, [*keys, joined((*keys, "count"), operator.name_sep), *sums], strict=True))
        write_frame(folder / "part.0.parquet", table.rename(named), 0)
        operator.stats[name] = str(folder)


def _summable(target: pl.Series) -> pl.Series:
    """Return a target in a type that no sum of it leaves: Int128 for integers and booleans, float64 for floats."""
    return target.cast(pl.Float64 if target.dtype.is_float() else pl.Int128)


def _stored(total: pl.Series) -> pl.Series:
    """Return sums in the type that the file has: int64 as in NVTabular, or float64 where int64 does not hold them all."""
    if total.dtype != pl.Int128:
        return total
    ends: list[Any] = [end for end in (total.min(), total.max()) if end is not None]
    return total.cast(pl.Int64 if all(-(2**63) <= end < 2**63 for end in ends) else pl.Float64)
