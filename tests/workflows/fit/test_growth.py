"""Vocabularies that grow: what was learnt about a value stays with its id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from both_fits import by_nvtabular, by_polars, ids, make, operator, read_categories, transform, vocabulary
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cartwheel.core.errors import DataError, RunError, UsageError
from workflows.compiler.fit import fit_workflow
from workflows.compiler.fit.vocabulary import COUNT, Limits, choose

OLD = pl.DataFrame({"x": ["c", "c", "c", "b", "b", "gone"]})
NEW = pl.DataFrame({"x": ["new", "new", "b", "a", "a", "a", "c", "newer"]})


def categorify(**options: Any) -> Any:
    return lambda ops, out: ["x"] >> ops.Categorify(out_path=out, **options)


def grow(tmp_path: Path, graph: Any = None, later: Any = None, old: Any = OLD, new: Any = NEW) -> tuple[Any, Any]:
    """Fit, save, and fit on newer events from what was saved."""
    graph = graph or categorify()
    before = by_polars(graph, old, tmp_path / "before")
    return before, by_polars(later or graph, new, tmp_path / "after", previous=tmp_path / "before" / "saved")


def test_old_values_keep_their_ids_and_new_ones_come_behind(tmp_path: Path) -> None:
    before, after = grow(tmp_path)
    assert vocabulary(before, "x") == ["c", "b", "gone"]
    assert vocabulary(after, "x") == ["c", "b", "gone", "a", "new", "newer"]
    assert read_categories(after, "x")["x_size"].tolist() == [1, 1, 0, 3, 2, 1]
    old = ["c", "b", "gone"]
    assert ids(before, "x", old) == ids(after, "x", old) == [3, 4, 5]
    everything = pl.DataFrame({"x": [*old, "a", "new", "newer", "never"]})
    assert transform(after, everything)["x"].tolist() == ids(after, "x", everything["x"].to_list()) == [3, 4, 5, 6, 7, 8, 2]
    assert after.output_schema["x"].int_domain.max == 8


def test_the_same_events_again_give_the_same_ids(tmp_path: Path) -> None:
    before, after = grow(tmp_path, new=OLD)
    assert read_categories(before, "x").equals(read_categories(after, "x"))
    first, second = (tmp_path / name / "saved" / "categories" / "unique.x.parquet" for name in ("before", "after"))
    assert first.read_bytes() == second.read_bytes()


def test_new_values_must_reach_the_threshold_and_old_ones_need_not(tmp_path: Path) -> None:
    _, after = grow(tmp_path, later=categorify(freq_threshold=2))
    assert vocabulary(after, "x") == ["c", "b", "gone", "a", "new"]


def test_new_values_fill_what_room_is_left(tmp_path: Path) -> None:
    _, after = grow(tmp_path, later=categorify(max_size=7))
    assert vocabulary(after, "x") == ["c", "b", "gone", "a"]


def test_refuses_a_size_that_old_values_exceed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has 3 values, and max_size=5 has room for fewer\. Give max_size=6"):
        grow(tmp_path, later=categorify(max_size=5))


def test_a_fitted_workflow_will_do_as_the_earlier_one(tmp_path: Path) -> None:
    before = fit_workflow(make(categorify(), tmp_path), OLD, tmp_path / "before")
    after = fit_workflow(make(categorify(), tmp_path), NEW, tmp_path / "after", previous=before)
    assert vocabulary(after, "x")[:3] == ["c", "b", "gone"]
    assert vocabulary(before, "x") == ["c", "b", "gone"]


def test_a_column_that_is_new_is_numbered_anew(tmp_path: Path) -> None:
    _, after = grow(
        tmp_path, later=lambda ops, out: ["x", "y"] >> ops.Categorify(out_path=out), new=NEW.with_columns(y=pl.col("x"))
    )
    assert vocabulary(after, "x")[:3] == ["c", "b", "gone"]
    assert vocabulary(after, "y")[:2] == ["a", "new"]


def test_numbers_that_were_missing_once_are_the_same_numbers(tmp_path: Path) -> None:
    old, new = pl.DataFrame({"x": [5, None, 5, 7]}), pl.DataFrame({"x": [9, 9, 7]})
    _, after = grow(tmp_path, old=old, new=new)
    assert vocabulary(after, "x") == [5, 7, 9]
    assert transform(after, pl.DataFrame({"x": [5, 7, 9, 1]}))["x"].tolist() == [3, 4, 5, 2]


def test_combinations_and_shared_vocabularies_grow_too(tmp_path: Path) -> None:
    def combine(ops: Any, out: str) -> Any:
        return [["x", "y"]] >> ops.Categorify(encode_type="combo", out_path=out)

    def join(ops: Any, out: str) -> Any:
        return [["x", "y"]] >> ops.Categorify(out_path=out)

    old = pl.DataFrame({"x": ["a", "a", None], "y": ["b", "b", "c"]})
    new = pl.DataFrame({"x": ["d", "a"], "y": ["d", "b"]})
    assert vocabulary(grow(tmp_path / "combo", combine, old=old, new=new)[1], "x_y") == [("a", "b"), (None, "c"), ("d", "d")]
    assert vocabulary(grow(tmp_path / "joint", join, old=old, new=new)[1], "x_y") == ["a", "b", "c", "d"]


@pytest.mark.parametrize(("option", "value"), [("num_buckets", 4), ("encode_type", "combo"), ("name_sep", "-")])
def test_refuses_options_on_which_ids_hang(tmp_path: Path, option: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"has {option}={value!r}, and .* in the earlier workflow, so ids would move"):
        grow(tmp_path, later=categorify(**{option: value}))


def test_refuses_to_grow_a_table_of_all_columns(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="numbers all columns in one table"):
        grow(tmp_path, graph=categorify(single_table=True))


def test_refuses_a_column_that_was_of_another_type(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Column 'x' is Int64, and String in the earlier workflow"):
        grow(tmp_path, new=pl.DataFrame({"x": [1]}))


def test_refuses_values_that_are_none_of_the_type_of_now(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"of \['x'\] has values that are none of \['Int64'\]"):
        grow(tmp_path, old=pl.DataFrame({"x": [0.5, 2.0]}), new=pl.DataFrame({"x": [1]}))


def test_what_nvtabular_fitted_grows_too(tmp_path: Path) -> None:
    def graph(ops: Any, out: str) -> Any:
        joined = ["x"] >> ops.JoinGroupby(cont_cols=["n"], stats=["sum"], out_path=out)
        return joined + (["x"] >> ops.Categorify(out_path=out))

    before = by_nvtabular(graph, OLD.with_columns(n=pl.lit(1.0)), tmp_path)
    after = by_polars(categorify(), NEW, tmp_path, previous=before)
    assert vocabulary(after, "x") == ["c", "b", "gone", "a", "new", "newer"]


def test_refuses_an_earlier_workflow_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no saved NVTabular workflow"):
        by_polars(categorify(), NEW, tmp_path, previous=tmp_path / "nowhere")
    assert not (tmp_path / "fits").exists()


def test_refuses_to_grow_with_nvtabular(tmp_path: Path) -> None:
    by_polars(categorify(), OLD, tmp_path)
    with pytest.raises(UsageError, match="NVTabular cannot keep the ids"):
        by_polars(categorify(), NEW, tmp_path, engine="nvtabular", previous=tmp_path / "saved")


def test_the_first_vocabulary_of_a_name_grows_into_the_first(tmp_path: Path) -> None:
    def graph(ops: Any, out: str) -> Any:
        rare = ["x"] >> ops.Categorify(freq_threshold=3, out_path=out) >> ops.Rename(postfix="_often")
        return (["x"] >> ops.Categorify(out_path=out)) + rare

    before, after = grow(tmp_path, graph)
    table = pl.DataFrame({"x": ["c", "b", "gone", "a"]})
    assert transform(before, table).to_dict("list") == {"x": [3, 4, 5, 2], "x_often": [3, 2, 2, 2]}
    assert transform(after, table).to_dict("list") == {"x": [3, 4, 5, 6], "x_often": [3, 2, 2, 4]}


WORDS = st.lists(st.sampled_from([None, "", "a", "b", "ä", "c", "d"]), min_size=1, max_size=12)


def counted(words: list[str | None]) -> pl.DataFrame:
    return pl.DataFrame({"x": words}, schema={"x": pl.String}).group_by("x").agg(pl.len().cast(pl.Int64).alias(COUNT))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(WORDS, min_size=1, max_size=4), st.integers(0, 3), st.integers(0, 9))
def test_however_often_a_vocabulary_grows_no_id_ever_moves(weeks: list[list[str | None]], threshold: int, size: int) -> None:
    limits = Limits(threshold=threshold, max_size=size and size + 3)
    earlier: pl.DataFrame | None = None
    for words in weeks:
        found = choose(counted(words), limits, earlier).values
        keys = found["x"].to_list()
        assert len(set(keys)) == len(keys)
        assert None not in keys
        assert not limits.max_size or len(keys) <= size
        if earlier is not None:
            assert keys[: earlier.height] == earlier["x"].to_list()
        again = choose(counted(words), limits, found.select("x")).values
        assert again["x"].to_list() == keys
        earlier = found.select("x")


def test_the_operator_is_told_apart_by_what_it_encodes(tmp_path: Path) -> None:
    before, after = grow(
        tmp_path,
        lambda ops, out: (["x"] >> ops.Categorify(out_path=out)) + (["y"] >> ops.Categorify(out_path=out)),
        lambda ops, out: (["y"] >> ops.Categorify(out_path=out)) + (["x"] >> ops.Categorify(out_path=out)),
        OLD.with_columns(y=pl.lit("q")),
        NEW.with_columns(y=pl.lit("r")),
    )
    assert vocabulary(before, "y") == ["q"]
    assert vocabulary(after, "y") == ["q", "r"]
    assert vocabulary(after, "x")[:3] == ["c", "b", "gone"]


def test_saving_again_keeps_the_vocabulary_of_the_earlier_workflow(tmp_path: Path) -> None:
    before, _ = grow(tmp_path)
    assert Path(operator(before, "Categorify").categories["x"]).is_relative_to(tmp_path / "before" / "saved")
    assert vocabulary(before, "x") == ["c", "b", "gone"]
