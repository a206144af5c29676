"""Where a fit of NVTabular's fails or is wrong, and that of Polars is right: the rows of docs/deviations.md that are about fitting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from both_fits import by_nvtabular, by_polars, make, operator, operators, read_categories, saved, transform, vocabulary

from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.read import read_plan
from workflows.compiler.quiet import quiet_nvtabular


def normalize(ops: Any, out: str) -> Any:
    return ["x"] >> ops.Normalize()


def fill_median(ops: Any, out: str) -> Any:
    return ["x"] >> ops.FillMedian()


def categorify(ops: Any, out: str) -> Any:
    return ["x"] >> ops.Categorify(out_path=out)


def test_a_large_mean_does_not_cost_the_deviation(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": [1e9 + number % 2 for number in range(1000)]})
    right = float(np.std(np.arange(1000) % 2, ddof=1))
    ours, theirs = by_polars(normalize, events, tmp_path), by_nvtabular(normalize, events, tmp_path)
    assert operator(ours, "Normalize").stds["x"] == pytest.approx(right, rel=1e-12)
    assert operator(theirs, "Normalize").stds["x"] != pytest.approx(right, rel=0.01, nan_ok=True)


def test_a_column_that_never_varies_is_not_divided_by_rounding_noise(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": [1e6 + 0.1] * 1001})
    ours, theirs = by_polars(normalize, events, tmp_path), by_nvtabular(normalize, events, tmp_path)
    assert operator(ours, "Normalize").stds["x"] == 0.0
    assert transform(ours, events)["x"].eq(0.0).all()
    assert operator(theirs, "Normalize").stds["x"] != 0.0


def test_moments_of_short_floats_are_added_up_in_long_ones(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random(1 << 18).astype(np.float32) * np.float32(1000)
    events, right = pl.DataFrame({"x": values}), float(values.astype(np.float64).mean())
    ours, theirs = by_polars(normalize, events, tmp_path), by_nvtabular(normalize, events, tmp_path)
    assert operator(ours, "Normalize").means["x"] == pytest.approx(right, rel=1e-14)
    assert operator(theirs, "Normalize").means["x"] != pytest.approx(right, rel=1e-9)
    large = pl.DataFrame({"x": pl.Series([3e38, 3e38], dtype=pl.Float32)})
    ours, theirs = by_polars(normalize, large, tmp_path / "large"), by_nvtabular(normalize, large, tmp_path / "large")
    assert operator(ours, "Normalize").means["x"] == pytest.approx(3e38)
    assert operator(theirs, "Normalize").means["x"] == float("inf")


def test_sums_of_integers_do_not_wrap_around(tmp_path: Path) -> None:
    def graph(ops: Any, out: str) -> Any:
        return (["x"] >> ops.Normalize()) + (["g"] >> ops.TargetEncoding("x", kfold=3, p_smooth=0, out_path=out))

    events = pl.DataFrame({"x": [2**62] * 4 + [1], "g": ["a"] * 4 + ["b"]})
    ours, theirs = by_polars(graph, events, tmp_path), by_nvtabular(graph, events, tmp_path)
    right = pytest.approx(2**64 / 5)
    assert operator(ours, "Normalize").means["x"] == operator(ours, "TargetEncoding").means["x"] == right
    assert operator(theirs, "Normalize").means["x"] == operator(theirs, "TargetEncoding").means["x"] == 1 / 5
    sums = [pd.read_parquet(operator(workflow, "TargetEncoding").stats["g"])["g_x_sum"].tolist() for workflow in (ours, theirs)]
    assert sums == [[2.0**64, 1.0], [0, 1]]
    encoded = compile_polars(read_plan(ours), events.lazy()).collect()["TE_g_x"]
    assert encoded.to_list() == [2.0**62] * 4 + [1.0]


def test_lists_stay_lists_as_their_elements_are_made_smaller(tmp_path: Path) -> None:
    def graph(ops: Any, out: str) -> Any:
        return ["x"] >> ops.ReduceDtypeSize()

    events = pl.DataFrame({"x": [["b", "a"], ["c"]]})
    ours = by_polars(graph, events, tmp_path)
    assert compile_polars(read_plan(ours), events.lazy()).collect().equals(events)
    with pytest.raises(ValueError, match="truth value of an array"):
        by_nvtabular(graph, events, tmp_path)
    numbers = pl.DataFrame({"x": [[2], [1]]})
    ours = by_polars(graph, numbers, tmp_path / "numbers")
    assert compile_polars(read_plan(ours), numbers.lazy()).collect()["x"].to_list() == [[2], [1]]
    assert transform(ours, numbers)["x"].tolist() == [2, 1]


def test_a_median_is_exact_however_many_partitions_there_are(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": np.random.default_rng(0).normal(size=1000)})
    ours, theirs = by_polars(fill_median, events, tmp_path), make(fill_median, tmp_path)
    with quiet_nvtabular():
        from merlin.io import Dataset

        theirs.fit(Dataset(events.to_pandas(), npartitions=3))
    right = events["x"].median()
    assert operator(ours, "FillMedian").medians["x"] == right
    assert operator(theirs, "FillMedian").medians["x"] != pytest.approx(right, rel=0.1)


def test_a_column_without_values_has_an_empty_vocabulary(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": [None, None]}, schema={"x": pl.String})
    ours = by_polars(categorify, events, tmp_path)
    assert vocabulary(ours, "x") == []
    assert transform(ours, pl.DataFrame({"x": ["a"]}))["x"].tolist() == [2]
    with pytest.raises(RuntimeError, match="Failed to categorical encode column x"):
        by_nvtabular(categorify, events, tmp_path)


def test_a_vocabulary_in_several_files_becomes_one(tmp_path: Path) -> None:
    def graph(ops: Any, out: str) -> Any:
        return ["x"] >> ops.Categorify(split_out=3, out_path=out)

    events = pl.DataFrame({"x": ["a", "a", "a", "b", "b", "c"]})
    ours = by_polars(graph, events, tmp_path)
    assert Path(operator(ours, "Categorify").categories["x"]).is_file()
    assert transform(ours, events)["x"].tolist() == [3, 3, 3, 4, 4, 5]
    with pytest.raises(TypeError, match="divisions"):
        by_nvtabular(graph, events, tmp_path)


def test_two_operators_over_one_column_keep_their_own_vocabularies(tmp_path: Path) -> None:
    def graph(ops: Any, out: str) -> Any:
        short = ["x"] >> ops.Categorify(freq_threshold=2, out_path=out) >> ops.Rename(postfix="_short")
        return (["x"] >> ops.Categorify(out_path=out)) + short

    events = pl.DataFrame({"x": ["a", "b", "b", "c", "c", "c"]})
    ours = by_polars(graph, events, tmp_path)
    assert transform(ours, events).to_dict("list") == {"x": [5, 4, 4, 3, 3, 3], "x_short": [2, 4, 4, 3, 3, 3]}
    theirs = make(graph, tmp_path / "nvtabular")
    with quiet_nvtabular():
        from merlin.io import Dataset

        theirs.fit(Dataset(events.to_pandas()))
    assert len({op.categories["x"] for op in operators(theirs, "Categorify")}) == 1


def test_the_name_of_a_group_does_not_lift_its_limits(tmp_path: Path) -> None:
    def graph(ops: Any, out: str) -> Any:
        return [["x", "y"]] >> ops.Categorify(encode_type="combo", freq_threshold=2, name_sep="-", out_path=out)

    events = pl.DataFrame({"x": ["a", "b", "b"], "y": ["c", "c", "c"]})
    ours, theirs = by_polars(graph, events, tmp_path), by_nvtabular(graph, events, tmp_path)
    assert vocabulary(ours, "x-y") == [("b", "c")]
    assert sorted(read_categories(theirs, "x-y")["x"]) == ["a", "b"]


@pytest.mark.parametrize(("option", "value"), [("freq_threshold", 2), ("max_size", 4)])
@pytest.mark.parametrize("kind", ["joint", "combo"])
def test_no_separator_lifts_the_limits_of_columns_by_themselves_or_together(
    tmp_path: Path, option: str, value: int, kind: str
) -> None:
    def graph(ops: Any, out: str) -> Any:
        group = ["x"] if kind == "combo" else [["x", "y"]]
        return group >> ops.Categorify(encode_type=kind, name_sep="-", out_path=out, **{option: value})

    name = "x" if kind == "combo" else "x-y"
    events = pl.DataFrame({"x": ["a", "b", "b"], "y": ["b", "c", "b"]})
    ours, theirs = by_polars(graph, events, tmp_path), by_nvtabular(graph, events, tmp_path)
    assert vocabulary(ours, name) == ["b"]
    assert "a" in read_categories(theirs, name)[name].tolist()


def test_a_missing_category_is_counted(tmp_path: Path) -> None:
    def graph(ops: Any, out: str) -> Any:
        return ["x"] >> ops.TargetEncoding("bought", kfold=1, p_smooth=2, out_path=out)

    events = pl.DataFrame({"x": ["a", None, None, None], "bought": [1, 1, 0, 1]})
    ours, theirs = by_polars(graph, events, tmp_path), by_nvtabular(graph, events, tmp_path)
    assert _count_of_missing(ours) == 3
    assert transform(ours, events)["TE_x_bought"].iloc[1] == pytest.approx((2 + 2 * 0.75) / (3 + 2))
    assert _count_of_missing(theirs) == 0


def test_equally_frequent_values_are_in_order(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": [f"{number % 40:02d}" for number in range(100)]})
    ours, theirs = (
        vocabulary(by_polars(categorify, events, tmp_path), "x"),
        vocabulary(by_nvtabular(categorify, events, tmp_path), "x"),
    )
    often, seldom = [f"{number:02d}" for number in range(20)], [f"{number:02d}" for number in range(20, 40)]
    assert ours == often + seldom
    # In which order NVTabular has them depends on the instructions by which the processor sorts, so all that holds everywhere is this:
    assert (set(theirs[:20]), set(theirs[20:])) == (set(often), set(seldom))


def _count_of_missing(workflow: Any) -> int:
    table = pd.read_parquet(operator(workflow, "TargetEncoding").stats["x"])
    return int(table.loc[table["x"].isna(), "x_count"].iloc[0])


def test_saving_elsewhere_takes_every_vocabulary_along(tmp_path: Path) -> None:
    workflow = by_polars(categorify, pl.DataFrame({"x": ["a", "b", "a"]}), tmp_path)
    again = saved(workflow, tmp_path / "elsewhere")
    assert Path(operator(again, "Categorify").categories["x"]).is_relative_to(tmp_path / "elsewhere")
    assert vocabulary(again, "x") == ["a", "b"]
