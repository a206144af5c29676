"""The fitters of operators whose statistics are a few numbers a column, and the table of all fitters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from cartwheel.core.errors import DataError
from cartwheel.core.progress import Advance
from workflows.compiler.fit.categorify import FitCategorify
from workflows.compiler.fit.fitter import NAN, Applied, Fitter, Store
from workflows.compiler.fit.median import Median
from workflows.compiler.fit.numbers import Lengths, Moments, Range
from workflows.compiler.fit.passes import Accumulator
from workflows.compiler.fit.target_encoding import FitTargetEncoding
from workflows.compiler.plan.types import ColumnType


class FitNormalize(Fitter):
    """``Normalize``: mean and standard deviation."""

    def check(self) -> None:
        """Take numbers alone."""
        self._numbers()
        self._moments = {name: Moments(self.applied.columns[name]) for name in self.applied.names}

    def accumulators(self) -> Sequence[Accumulator]:
        """Return one a column."""
        return list(self._moments.values())

    def finish(self) -> None:
        """Set ``means`` and ``stds``."""
        for name, moments in self._moments.items():
            self.applied.operator.means[name] = moments.mean
            self.applied.operator.stds[name] = moments.std


class _FitRanges(Fitter):
    """What needs the least and the greatest value."""

    def _watch(self, names: Sequence[str]) -> None:
        self._ranges = {name: Range(self.applied.columns[name]) for name in names}

    def accumulators(self) -> Sequence[Accumulator]:
        """Return one a column."""
        return list(self._ranges.values())

    def _range(self, name: str) -> tuple[float, float]:
        """Return the range as NVTabular holds it: NaN twice where there is no value."""
        if name not in self._ranges or self._ranges[name].least is None:
            return NAN, NAN
        return self._ranges[name].least, self._ranges[name].greatest


class FitNormalizeMinMax(_FitRanges):
    """``NormalizeMinMax``: the least and the greatest value."""

    def check(self) -> None:
        """Take numbers alone."""
        self._numbers()
        self._watch(self.applied.names)

    def finish(self) -> None:
        """Set ``mins`` and ``maxs``.

        Raises:
            DataError: if a column has no value, for then NVTabular cannot encode it.
        """
        for name in self.applied.names:
            if self._ranges[name].least is None:
                raise DataError(
                    f"NormalizeMinMax is fitted on column {name!r}, in which every value is missing.",
                    "Leave the column out, or put FillMissing before it.",
                )
            self.applied.operator.mins[name], self.applied.operator.maxs[name] = self._range(name)


class FitReduceDtypeSize(_FitRanges):
    """``ReduceDtypeSize``: the range of integers; it asks for nothing of other columns."""

    def check(self) -> None:
        """Look at integers alone."""
        self._watch([name for name in self.applied.names if self.applied.type(name).is_integer])

    def finish(self) -> None:
        """Set ``ranges``, of which the output schema is made."""
        for name in self.applied.names:
            self.applied.operator.ranges[name] = self._range(name)


class FitFillMedian(Fitter):
    """``FillMedian``: the exact median, where NVTabular's is Dask's approximation as soon as there are two partitions."""

    def check(self) -> None:
        """Take numbers alone."""
        self._numbers()
        self._medians = {name: Median(self.applied.columns[name], _bits(self.applied.type(name))) for name in self.applied.names}

    def accumulators(self) -> Sequence[Accumulator]:
        """Return one a column."""
        return list(self._medians.values())

    def finish(self) -> None:
        """Set ``medians``."""
        for name, median in self._medians.items():
            self.applied.operator.medians[name] = median.value


class FitValueCount(Fitter):
    """``ValueCount``: how long lists are; it asks for nothing of other columns."""

    def check(self) -> None:
        """Look at lists alone."""
        names = [name for name in self.applied.names if self.applied.type(name).is_list]
        self._lengths = {name: Lengths(self.applied.columns[name]) for name in names}

    def accumulators(self) -> Sequence[Accumulator]:
        """Return one a column of lists."""
        return list(self._lengths.values())

    def finish(self) -> None:
        """Set ``stats``."""
        for name, lengths in self._lengths.items():
            self.applied.operator.stats[name] = {"value_count": lengths.value_count}


class FitGiven(Fitter):
    """An operator that was made with all it needs."""

    def check(self) -> None:
        """Take anything: what it was made with says what it does."""

    def finish(self) -> None:
        """Take its files along, and leave it as it is otherwise."""
        self.applied.operator.out_path = str(self.store.folder)
        self.store.adopt(self.applied.operator)


def _bits(kind: ColumnType) -> int:
    return 32 if kind.dtype == "float32" else 64


FITTERS: Final[Mapping[str, type[Fitter]]] = MappingProxyType(
    {
        "nvtabular.ops.categorify.Categorify": FitCategorify,
        "nvtabular.ops.fill.FillMedian": FitFillMedian,
        "nvtabular.ops.normalize.Normalize": FitNormalize,
        "nvtabular.ops.normalize.NormalizeMinMax": FitNormalizeMinMax,
        "nvtabular.ops.reduce_dtype_size.ReduceDtypeSize": FitReduceDtypeSize,
        "nvtabular.ops.target_encoding.TargetEncoding": FitTargetEncoding,
        "nvtabular.ops.value_counts.ValueCount": FitValueCount,
        "workflows.compiler.shared_categorify.SharedCategorify": FitGiven,
    }
)
"""Operators that Polars can fit, by the class that NVTabular stores; the names are whole and exact, as in the table of readers."""


def fitter(applied: Applied, store: Store, advance: Advance) -> Fitter:
    """Return the fitter of an operator, which has checked its columns.

    Raises:
        NotCompilableError: if there is none, or the operator is used in a way that it cannot fit.
        DataError: if a column has not the type that the operator needs.
    """
    kind = type(applied.operator)
    found = FITTERS.get(f"{kind.__module__}.{kind.__qualname__}")
    if found is None:
        known = ", ".join(sorted(name.rsplit(".", 1)[-1] for name in FITTERS))
        raise applied.refuse(f"is not fitted by Polars, which fits {known}", 'Fit with engine="nvtabular".')
    return found(applied, store, advance)
