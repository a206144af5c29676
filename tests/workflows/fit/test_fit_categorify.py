"""Vocabularies that Polars counts against NVTabular's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from both_fits import by_nvtabular, by_polars, fit_both, operator, read_categories, transform, vocabulary

from cartwheel.core.errors import DataError, UsageError
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.read import read_plan
from workflows.compiler.quiet import quiet_nvtabular


def repeated(values: list[Any]) -> list[Any]:
    """Repeat the first value most often, so that no two occur equally often."""
    return [value for times, value in enumerate(reversed(values), start=1) for _ in range(times)]


STRINGS = repeated(["b", "", "日本", "a", "A"])
INTEGERS = repeated([7, -(2**63), 2**63 - 1, 0, 5])


@pytest.mark.parametrize("values", [STRINGS, INTEGERS, repeated([True, False]), repeated([0.5, -1e300, float("inf")])])
def test_ids_and_files_are_those_of_nvtabular_where_no_two_values_are_equally_frequent(tmp_path: Path, values: list[Any]) -> None:
    both = fit_both(lambda ops, out: ["x"] >> ops.Categorify(out_path=out), pl.DataFrame({"x": values}), tmp_path)
    pd.testing.assert_frame_equal(transform(both.ours, both.events), transform(both.theirs, both.events))
    ours, theirs = read_categories(both.ours, "x"), read_categories(both.theirs, "x")
    pd.testing.assert_frame_equal(ours, theirs)
    assert ours.index.start == theirs.index.start == 3
    both.check_schemas()


def test_the_counts_beside_a_vocabulary_are_those_of_nvtabular(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": [*STRINGS, None, None]})
    fit_both(lambda ops, out: ["x"] >> ops.Categorify(freq_threshold=3, out_path=out), events, tmp_path)
    (ours,) = tmp_path.glob("fits/*/categories/meta.x.parquet")
    tables = [pd.read_parquet(file) for file in (ours, tmp_path / "nvtabular" / "categories" / "meta.x.parquet")]
    columns = ["kind", "offset", "num_indices"]
    pd.testing.assert_frame_equal(tables[0][columns], tables[1][columns])
    assert tables[0]["num_observed"].tolist() == [0, 2, 3, 12]
    assert tables[1]["num_observed"].tolist()[2:] == [3, 12]


OPTIONS: dict[str, dict[str, Any]] = {
    "threshold": {"freq_threshold": 3},
    "thresholds": {"freq_threshold": {"x": 2, "y": 4}},
    "size": {"max_size": 6},
    "sizes": {"max_size": {"x": 5, "y": 6}},
    "threshold and buckets": {"freq_threshold": 3, "num_buckets": 4},
    "size and buckets": {"max_size": 9, "num_buckets": {"x": 3, "y": 2}},
    "int32": {"dtype": "int32"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_options_do_what_they_do_in_nvtabular(tmp_path: Path, options: dict[str, Any]) -> None:
    events = pl.DataFrame({"x": STRINGS, "y": INTEGERS})
    both = fit_both(lambda ops, out: ["x", "y"] >> ops.Categorify(out_path=out, **options), events, tmp_path)
    pd.testing.assert_frame_equal(transform(both.ours, events), transform(both.theirs, events))
    for name in ("x", "y"):
        assert vocabulary(both.ours, name) == vocabulary(both.theirs, name)
    both.check_schemas()


def test_columns_that_are_encoded_jointly_share_a_vocabulary(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": ["a", "b", "a", "c"], "y": ["c", "a", "a", "c"], "z": [[1, 2], [], [2], [2]]})
    both = fit_both(lambda ops, out: [["x", "y"], "z"] >> ops.Categorify(out_path=out), events, tmp_path)
    assert vocabulary(both.ours, "x_y") == vocabulary(both.theirs, "x_y") == ["a", "c", "b"]
    assert operator(both.ours, "Categorify").storage_name == {"x": "x_y", "y": "x_y"}
    both.check_transforms()
    both.check_schemas()


def test_combinations_are_values_of_their_own(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": ["a", "a", "b", "b", "b", "b"], "y": [1, 1, 1, 2, 2, 2], "z": repeated([3, 4, 5])})
    both = fit_both(
        lambda ops, out: [["x", "y"], "z"] >> ops.Categorify(encode_type="combo", out_path=out),
        events,
        tmp_path,
    )
    assert vocabulary(both.ours, "x_y") == vocabulary(both.theirs, "x_y") == [("b", 2), ("a", 1), ("b", 1)]
    pd.testing.assert_frame_equal(transform(both.ours, events), transform(both.theirs, events))


def test_a_combination_of_which_one_part_is_missing_is_a_value(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": ["a", None, None], "y": ["b", "b", None]})
    graph = by_polars(lambda ops, out: [["x", "y"]] >> ops.Categorify(encode_type="combo", out_path=out), events, tmp_path)
    assert vocabulary(graph, "x_y") == [(None, "b"), ("a", "b")]


def test_one_table_for_all_columns_numbers_them_one_behind_the_other(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": STRINGS, "y": INTEGERS})
    both = fit_both(lambda ops, out: ["x", "y"] >> ops.Categorify(single_table=True, out_path=out), events, tmp_path)
    for name in ("x", "y"):
        assert read_categories(both.ours, name).index.tolist() == read_categories(both.theirs, name).index.tolist()
    pd.testing.assert_frame_equal(transform(both.ours, events), transform(both.theirs, events))


def test_whole_numbers_of_which_some_are_missing_are_encoded_as_nvtabular_does(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": [5, None, 5, 7, None], "l": [["a"], [], ["b", "a"], ["a"], ["c", "c"]]})
    both = fit_both(lambda ops, out: ["x", "l"] >> ops.Categorify(out_path=out), events, tmp_path)
    pd.testing.assert_frame_equal(transform(both.ours, events), transform(both.theirs, events))
    assert transform(both.ours, events)["x"].tolist() == [3, 1, 3, 4, 1]
    both.check_transforms()


@pytest.mark.parametrize(
    ("values", "options"), [([None, None], {}), (["a", "b"], {"freq_threshold": 2})], ids=["nulls only", "all too rare"]
)
def test_a_vocabulary_may_be_empty(tmp_path: Path, values: list[Any], options: dict[str, Any]) -> None:
    events = pl.DataFrame({"x": values}, schema={"x": pl.String})
    workflow = by_polars(lambda ops, out: ["x"] >> ops.Categorify(out_path=out, **options), events, tmp_path)
    assert vocabulary(workflow, "x") == []
    assert transform(workflow, pl.DataFrame({"x": ["a", "q"]}))["x"].tolist() == [2, 2]


def test_given_vocabularies_stay(tmp_path: Path) -> None:
    def graph(ops: Any, out: str) -> Any:
        return ["x", "y"] >> ops.Categorify(vocabs={"x": pd.Series(["q", "a"])}, out_path=out)

    workflow = by_polars(graph, pl.DataFrame({"x": ["a", "b"], "y": ["a", "a"]}), tmp_path)
    assert vocabulary(workflow, "x") == ["q", "a"]
    assert vocabulary(workflow, "y") == ["a"]


def test_a_vocabulary_that_was_given_to_all_columns_needs_no_fitting(tmp_path: Path) -> None:
    def graph(ops: Any, out: str) -> Any:
        with quiet_nvtabular():
            from workflows.compiler.shared_categorify import SharedCategorify

            return ["item", "recent"] >> SharedCategorify("item", ["b", "a"], ["item", "recent"], Path(out))

    events = pl.DataFrame({"item": ["a", "c"], "recent": [["a", ""], ["b"]]})
    workflow = by_polars(graph, events, tmp_path)
    encoded = transform(workflow, events)
    assert encoded["item"].tolist() == [4, 2]
    assert [list(row) for row in encoded["recent"]] == [[4, 0], [3]]


def test_refuses_columns_of_different_kinds_in_one_vocabulary(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": ["a"], "y": [1]})
    with pytest.raises(DataError, match="'x' string, 'y' int64"):
        by_polars(lambda ops, out: [["x", "y"]] >> ops.Categorify(out_path=out), events, tmp_path)


def test_refuses_a_size_that_the_reserved_ids_fill(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="max_size=2, and 3 ids are reserved"):
        by_polars(lambda ops, out: ["x"] >> ops.Categorify(max_size=2, out_path=out), pl.DataFrame({"x": ["a"]}), tmp_path)


def test_refuses_to_combine_lists(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": [["a"]], "y": ["b"]})
    with pytest.raises(DataError, match="one is a list"):
        by_polars(lambda ops, out: [["x", "y"]] >> ops.Categorify(encode_type="combo", out_path=out), events, tmp_path)


WIDTHS = [pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64]


def encoded(workflow: Any, events: pl.DataFrame) -> pl.DataFrame:
    """What Polars makes of the events, once ONNX has made the same of them."""
    plan = read_plan(workflow)
    lists = [name for name, kind in plan.raw.items() if kind.is_list]
    table = compile_polars(plan, events.lazy()).collect()
    model = compile_onnx(plan, list(plan), "ids", nullable=list(plan.raw), ragged=lists)
    assert encode_onnx(open_session(model), events).equals(table)
    return table


@pytest.mark.parametrize("dtype", WIDTHS)
def test_integers_of_any_width_may_be_missing(tmp_path: Path, dtype: pl.DataType) -> None:
    events = pl.DataFrame(
        {
            "x": pl.Series([5, None, 7, 5, 127, None, 5, 7], dtype=dtype),
            "many": pl.Series([[5, None], [], [7, 5], [127], [None], [5], [5], [7]], dtype=pl.List(dtype)),
        }
    )
    workflow = by_polars(lambda ops, out: ["x", "many"] >> ops.Categorify(out_path=out), events, tmp_path)
    table = encoded(workflow, events)
    assert table["x"].to_list() == transform(workflow, events)["x"].tolist() == [3, 1, 4, 3, 5, 1, 3, 4]
    assert table["many"].to_list() == [[3, 1], [], [4, 3], [5], [1], [3], [3], [4]]
    theirs = by_nvtabular(lambda ops, out: ["x"] >> ops.Categorify(out_path=out), events.select("x"), tmp_path)
    pd.testing.assert_frame_equal(read_categories(workflow, "x"), read_categories(theirs, "x"))


def test_integers_beyond_what_pandas_holds_beside_nulls_keep_their_digits(tmp_path: Path) -> None:
    events = pl.DataFrame({"x": pl.Series([2**64 - 1, None, 2**53 + 1, 2**53], dtype=pl.UInt64)}).filter(pl.col("x") < 2**63)
    events = pl.concat([events, pl.DataFrame({"x": [None]}, schema=events.schema)])
    workflow = by_polars(lambda ops, out: ["x"] >> ops.Categorify(out_path=out), events, tmp_path)
    assert encoded(workflow, events)["x"].to_list() == [4, 3, 1]


@pytest.mark.parametrize("dtype", WIDTHS)
def test_nvtabular_runs_a_combination_of_integers_of_which_a_row_is_missing(tmp_path: Path, dtype: pl.DataType) -> None:
    """The row leaves no null in the vocabulary, but makes floats of the columns in pandas."""

    def graph(ops: Any, out: str) -> Any:
        return [["a", "b"]] >> ops.Categorify(encode_type="combo", out_path=out)

    events = pl.DataFrame({"a": [1, None, 2, 1], "b": [3, None, 3, 3]}, schema={"a": dtype, "b": dtype})
    partly = pl.DataFrame({"a": [1, None, 2, None], "b": [3, None, None, 3]}, schema={"a": dtype, "b": dtype})
    for number, table in enumerate((events, partly)):
        workflow = by_polars(graph, table, tmp_path / str(number))
        ids = encoded(workflow, table)["a_b"].to_list()
        assert ids == transform(workflow, table)["a_b"].tolist()
        assert ids[1] == 1
        assert sorted({*ids} - {1}) == [*range(3, 2 + len({*ids}))]
