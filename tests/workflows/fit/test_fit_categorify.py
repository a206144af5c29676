"""Vocabularies that Polars counts against NVTabular's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from both_fits import by_polars, fit_both, operator, read_categories, transform, vocabulary

from cartwheel.errors import DataError, UsageError
from workflows.quiet import quiet_nvtabular


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
            from workflows.shared_categorify import SharedCategorify

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
