"""Statistics of numbers against NVTabular's, and where NVTabular cancels or approximates, against exact ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from both_fits import Graph, by_polars, fit_both, operator, transform
from hypothesis import given, settings
from hypothesis import strategies as st

from cartwheel.core.errors import DataError
from workflows.compiler.fit.median import Median
from workflows.compiler.fit.numbers import Lengths, Moments, Range

NUMBERS = pl.DataFrame(
    {
        "f32": pl.Series([1.5, None, -2.25, 8.0, 1e6, 0.0], dtype=pl.Float32),
        "f64": [0.1, 0.2, float("nan"), -7.5, 1e-3, None],
        "i64": [3, 1, 4, 1, 5, 9],
        "u8": pl.Series([0, 255, 1, 2, 3, 4], dtype=pl.UInt8),
    }
)


def normalize(ops: Any, out: str) -> Any:
    return list(NUMBERS.columns) >> ops.Normalize()


def fill_median(ops: Any, out: str) -> Any:
    return list(NUMBERS.columns) >> ops.FillMedian()


def normalize_min_max(ops: Any, out: str) -> Any:
    return list(NUMBERS.columns) >> ops.NormalizeMinMax()


def reduce_dtype_size(ops: Any, out: str) -> Any:
    return list(NUMBERS.columns) >> ops.ReduceDtypeSize()


@pytest.mark.parametrize("graph", [normalize, fill_median, normalize_min_max, reduce_dtype_size])
def test_encodes_as_nvtabular_does(tmp_path: Path, graph: Graph) -> None:
    both = fit_both(graph, NUMBERS, tmp_path)
    pd.testing.assert_frame_equal(transform(both.ours, NUMBERS), transform(both.theirs, NUMBERS), rtol=1e-6)
    both.check_schemas()


def test_statistics_are_those_of_nvtabular(tmp_path: Path) -> None:
    both = fit_both(normalize, NUMBERS, tmp_path)
    ours, theirs = operator(both.ours, "Normalize"), operator(both.theirs, "Normalize")
    assert ours.means == pytest.approx(theirs.means, rel=1e-12)
    assert ours.stds == pytest.approx(theirs.stds, rel=1e-12)


def test_statistics_of_lists_are_those_of_their_elements(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": [[1.0, 2.0], [], [6.0]]})
    both = fit_both(lambda ops, out: ["x"] >> ops.Normalize(), events, tmp_path)
    assert operator(both.ours, "Normalize").means == operator(both.theirs, "Normalize").means == {"x": 3.0}
    assert operator(both.ours, "Normalize").stds == pytest.approx(operator(both.theirs, "Normalize").stds, rel=1e-12)


def test_a_value_count_tells_how_long_lists_are(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": [["a"], ["b", "c", "d"]], "y": [1, 2]})
    both = fit_both(lambda ops, out: ["x", "y"] >> ops.ValueCount(), events, tmp_path)
    assert operator(both.ours, "ValueCount").stats == {"x": {"value_count": {"min": 1, "max": 3}}}
    assert operator(both.ours, "ValueCount").stats == operator(both.theirs, "ValueCount").stats


def test_a_column_that_never_varies_has_no_deviation(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": [0.1] * 1000, "y": [0.1, *[None] * 999], "z": pl.Series([None] * 1000, dtype=pl.Float64)})
    workflow = by_polars(lambda ops, out: ["x", "y", "z"] >> ops.Normalize(), events, tmp_path)
    found = operator(workflow, "Normalize")
    assert found.means["x"] == 0.1
    assert found.stds["x"] == 0.0
    assert found.means["y"] == 0.1
    assert math.isnan(found.stds["y"])
    assert math.isnan(found.means["z"])
    assert math.isnan(found.stds["z"])


def test_a_column_without_values_has_no_median_and_is_refused_a_range(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": [None, None]}, schema={"x": pl.Float32})
    workflow = by_polars(lambda ops, out: ["x"] >> ops.FillMedian(), events, tmp_path / "median")
    assert math.isnan(operator(workflow, "FillMedian").medians["x"])
    with pytest.raises(DataError, match="NormalizeMinMax is fitted on column 'x', in which every value is missing"):
        by_polars(lambda ops, out: ["x"] >> ops.NormalizeMinMax(), events, tmp_path / "range")


def test_integers_that_are_missing_do_not_lose_the_digits_of_the_others(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": [2**62 + 1, None, 5]})
    workflow = by_polars(lambda ops, out: ["x"] >> ops.ReduceDtypeSize(), events, tmp_path)
    assert operator(workflow, "ReduceDtypeSize").ranges == {"x": (5, 2**62 + 1)}
    assert workflow.output_schema["x"].dtype.name == "int64"


@pytest.mark.parametrize("kind", ["Normalize", "FillMedian", "NormalizeMinMax"])
def test_refuses_to_take_numbers_from_strings(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match=f"{kind} is fitted on column 'x', which is string"):
        by_polars(lambda ops, out: ["x"] >> getattr(ops, kind)(), pl.DataFrame({"x": ["a"]}), tmp_path)
    assert not list((tmp_path / "fits").iterdir())


FLOATS = st.one_of(st.none(), st.floats(allow_nan=False), st.sampled_from([0.0, -0.0, 1.0, 1.0 + 2**-52, 5e-324, -5e-324]))
BATCHES = st.lists(st.lists(FLOATS, max_size=5), max_size=5)


def batches_of(batches: list[list[Any]], dtype: Any = pl.Float64) -> Iterator[pl.DataFrame]:
    return (pl.DataFrame({"x": pl.Series(batch, dtype=dtype)}) for batch in batches)


def median_of(batches: list[list[Any]], dtype: Any, bits: int) -> float:
    median = Median("x", bits)
    again = True
    while again:
        for batch in batches_of(batches, dtype):
            median.take(batch)
        again = median.again()
    return median.value


@given(BATCHES)
@settings(max_examples=60, deadline=None)
def test_a_median_is_exact_however_the_rows_are_cut(batches: list[list[float | None]]) -> None:
    values = sorted(value for batch in batches for value in batch if value is not None)
    found = median_of(batches, pl.Float64, 64)
    if not values:
        assert math.isnan(found)
        return
    low, high = values[(len(values) - 1) // 2], values[len(values) // 2]
    expected = low if low == high else (low + high) / 2
    expected = low / 2 + high / 2 if math.isinf(low + high) and low != high else expected
    assert found == expected or (math.isnan(found) and math.isnan(expected))


@given(
    st.lists(st.lists(st.one_of(st.none(), st.floats(width=32, allow_nan=False, allow_infinity=False)), max_size=5), max_size=5)
)
@settings(max_examples=60, deadline=None)
def test_a_median_of_short_floats_takes_half_the_passes(batches: list[list[float | None]]) -> None:
    values = sorted(value for batch in batches for value in batch if value is not None)
    found = median_of(batches, pl.Float32, 32)
    if values:
        assert found == (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2
    else:
        assert math.isnan(found)


@given(st.lists(st.lists(st.one_of(st.none(), st.integers(-(10**6), 10**6)), max_size=5), max_size=5))
@settings(max_examples=60, deadline=None)
def test_moments_are_those_of_exact_arithmetic_however_the_rows_are_cut(batches: list[list[int | None]]) -> None:
    moments = Moments("x")
    for batch in batches_of(batches, pl.Int64):
        moments.take(batch)
    values = [Fraction(value) for batch in batches for value in batch if value is not None]
    if not values:
        assert math.isnan(moments.mean)
        return
    mean = sum(values) / len(values)
    assert moments.mean == pytest.approx(float(mean), rel=1e-12, abs=1e-9)
    if len(values) > 1:
        variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
        assert moments.std == pytest.approx(math.sqrt(variance), rel=1e-12)


def test_infinite_values_have_an_infinite_mean_and_no_deviation() -> None:
    moments = Moments("x")
    for batch in batches_of([[1.0, math.inf], [2.0]]):
        moments.take(batch)
    assert moments.mean == math.inf
    assert math.isnan(moments.std)


def test_a_range_of_several_batches_is_that_of_all() -> None:
    found = Range("x")
    for batch in batches_of([[3, 4], [], [None], [-1]], pl.Int64):
        found.take(batch)
    assert (found.least, found.greatest) == (-1, 4)


def test_lengths_of_several_batches_are_those_of_all() -> None:
    found = Lengths("x")
    assert found.value_count == {"min": 0, "max": 0}
    for rows in ([[1, 2]], [], [[1], [1, 2, 3]]):
        found.take(pl.DataFrame({"x": rows}, schema={"x": pl.List(pl.Int64)}))
    assert found.value_count == {"min": 1, "max": 3}
