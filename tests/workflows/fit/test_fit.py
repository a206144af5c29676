"""Fitting a whole workflow: phases, schemas, where files go, engines, and what is refused."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from both_fits import by_nvtabular, by_polars, fit_both, make, operator, operators, transform, vocabulary
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cartwheel.core.errors import DataError, MissingDependencyError, NotCompilableError, UsageError
from workflows.compiler.fit import fit_workflow, passes, sums
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.read import read_plan
from workflows.compiler.quiet import quiet_nvtabular

EVENTS = pl.DataFrame(
    {
        "user": ["u2", "u1", "u1", "u3", "u1", "u2"],
        "item": [7, 7, 7, -3, -3, 2**40],
        "price": pl.Series([1.5, None, 3.0, 250.0, 0.0, 12.0], dtype=pl.Float32),
        "tags": [["a", "b"], ["a"], ["a", "c", "b"], [], ["d", "a"], ["b", "c", "a"]],
        "bought": [0, 1, 1, 0, 1, 0],
    }
)


def features(ops: Any, out: str) -> Any:
    ids = ["user", "item", "tags"] >> ops.Categorify(out_path=out)
    price = ["price"] >> ops.FillMedian() >> ops.LogOp() >> ops.Normalize()
    chance = ["user"] >> ops.TargetEncoding("bought", kfold=1, out_path=out) >> ops.Normalize()
    return ids + price + chance


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_fits_in_phases_what_nvtabular_fits(tmp_path: Path) -> None:
    both = fit_both(features, EVENTS, tmp_path)
    pd.testing.assert_frame_equal(transform(both.ours, EVENTS), transform(both.theirs, EVENTS), rtol=1e-6)
    both.check_transforms()
    both.check_schemas()
    assert all(op.fitted for op in operators(both.ours, "Normalize"))


def test_the_workflow_given_is_the_one_fitted(tmp_path: Path) -> None:
    workflow = make(features, tmp_path)
    assert fit_workflow(workflow, EVENTS, tmp_path) is workflow


def test_an_earlier_fit_is_forgotten(tmp_path: Path) -> None:
    workflow = fit_workflow(make(features, tmp_path), EVENTS, tmp_path / "one")
    fit_workflow(workflow, EVENTS.head(2).with_columns(user=pl.lit("new")), tmp_path / "two")
    assert vocabulary(workflow, "user") == ["new"]
    assert operator(workflow, "FillMedian").medians == {"price": 1.5}


@pytest.mark.parametrize(
    "give",
    [
        lambda file: file,
        str,
        lambda file: [file],
        lambda file: pl.scan_parquet(file),
        lambda file: pl.read_parquet(file),
    ],
    ids=["path", "text", "paths", "lazy", "table"],
)
def test_takes_events_in_any_form(tmp_path: Path, give: Callable[[Path], Any]) -> None:
    EVENTS.write_parquet(tmp_path / "events.parquet")
    workflow = by_polars(features, give(tmp_path / "events.parquet"), tmp_path)
    assert vocabulary(workflow, "user") == ["u1", "u2", "u3"]


def test_several_files_are_one_log(tmp_path: Path) -> None:
    EVENTS.head(2).write_parquet(tmp_path / "a.parquet")
    EVENTS.slice(2).write_parquet(tmp_path / "b.parquet")
    workflow = by_polars(features, [tmp_path / "a.parquet", tmp_path / "b.parquet"], tmp_path)
    whole = by_polars(features, EVENTS, tmp_path / "whole")
    pd.testing.assert_frame_equal(transform(workflow, EVENTS), transform(whole, EVENTS))


def test_the_same_events_give_the_same_bytes_however_they_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = by_polars(features, EVENTS, tmp_path / "first")
    monkeypatch.setattr(passes, "_COUNTED_ROWS", 2)
    monkeypatch.setattr(sums, "_TOGETHER", 1)
    second = by_polars(features, EVENTS, tmp_path / "second")
    for ours, theirs in zip(sorted(files(tmp_path / "first" / "fits")), sorted(files(tmp_path / "second" / "fits")), strict=True):
        assert ours.name == theirs.name
        assert ours.read_bytes() == theirs.read_bytes()
    assert [op.means for op in operators(first, "Normalize")] == [op.means for op in operators(second, "Normalize")]


def test_small_batches_give_the_same_statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = by_polars(features, EVENTS, tmp_path / "whole")
    monkeypatch.setattr(passes, "BATCH_ROWS", 2)
    monkeypatch.setattr(sums, "_TOGETHER", 1)
    parts = by_polars(features, EVENTS, tmp_path / "parts")
    pd.testing.assert_frame_equal(transform(whole, EVENTS), transform(parts, EVENTS), rtol=1e-12)


def test_writes_into_a_folder_of_its_own_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def graph(ops: Any, out: str) -> Any:
        default = (["user"] >> ops.Categorify()) + (["user"] >> ops.TargetEncoding("bought"))
        return default + (["item"] >> ops.Categorify(out_path=out))

    fit_workflow(make(graph, tmp_path / "caller"), EVENTS, tmp_path / "fits")
    assert {path.relative_to(tmp_path).parts[0] for path in files(tmp_path)} == {"fits"}


def test_two_workflows_fitted_in_one_folder_leave_each_other_alone(tmp_path: Path) -> None:
    one = fit_workflow(make(features, tmp_path), EVENTS, tmp_path / "fits")
    before = {path: path.read_bytes() for path in files(tmp_path)}
    two = fit_workflow(make(features, tmp_path), EVENTS.with_columns(user=pl.lit("other")), tmp_path / "fits")
    assert vocabulary(one, "user") == ["u1", "u2", "u3"]
    assert vocabulary(two, "user") == ["other"]
    assert {path: path.read_bytes() for path in before} == before


def test_operators_within_a_subgraph_are_fitted(tmp_path: Path) -> None:
    def graph(ops: Any, out: str) -> Any:
        with quiet_nvtabular():
            from merlin.dag.ops.subgraph import Subgraph

        inner = ["price"] >> ops.FillMedian() >> ops.Normalize()
        return Subgraph("numbers", inner) + (["user"] >> ops.Categorify(out_path=out))

    workflow = by_polars(graph, EVENTS, tmp_path)
    plain = by_polars(lambda ops, out: ["price"] >> ops.FillMedian() >> ops.Normalize(), EVENTS, tmp_path / "plain")
    pd.testing.assert_series_equal(transform(workflow, EVENTS)["price"], transform(plain, EVENTS)["price"])


def test_an_operator_without_a_plan_may_come_behind_what_is_fitted(tmp_path: Path) -> None:
    def graph(ops: Any, out: str) -> Any:
        return ["price"] >> ops.FillMedian() >> ops.LambdaOp(lambda column: (column > 5).astype("int8"))

    workflow = fit_workflow(make(graph, tmp_path), EVENTS, tmp_path)
    assert workflow.output_schema["price"].dtype.name == "int8"
    assert transform(workflow, EVENTS)["price"].tolist() == [0, 0, 0, 1, 0, 1]


def test_refuses_to_fit_behind_an_operator_without_a_plan(tmp_path: Path) -> None:
    def graph(ops: Any, out: str) -> Any:
        return ["price"] >> ops.LambdaOp(lambda column: column * 2) >> ops.Normalize()

    with pytest.raises(NotCompilableError, match="LambdaOp"):
        fit_workflow(make(graph, tmp_path), EVENTS, tmp_path / "fits")
    assert not list((tmp_path / "fits").iterdir())


def test_refuses_an_operator_that_polars_does_not_fit(tmp_path: Path) -> None:
    def graph(ops: Any, out: str) -> Any:
        return ["user"] >> ops.JoinGroupby(cont_cols=["bought"], stats=["mean"], out_path=out)

    with pytest.raises(NotCompilableError, match=r"JoinGroupby over \['user'\] is not fitted by Polars.*engine=\"nvtabular\""):
        fit_workflow(make(graph, tmp_path), EVENTS, tmp_path / "fits")


def test_nvtabular_itself_fits_where_it_is_asked(tmp_path: Path) -> None:
    workflow = fit_workflow(make(features, tmp_path / "caller"), EVENTS.lazy(), tmp_path / "fits", engine="nvtabular")
    assert {path.relative_to(tmp_path).parts[0] for path in files(tmp_path)} == {"fits"}
    assert not list(tmp_path.rglob("events.parquet"))
    expected = by_nvtabular(features, EVENTS, tmp_path / "plain")
    pd.testing.assert_frame_equal(transform(workflow, EVENTS), transform(expected, EVENTS))


@pytest.mark.skipif(importlib.util.find_spec("cudf_polars") is not None, reason="the GPU engine is installed")
def test_names_the_extra_that_the_gpu_engine_needs(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match=r"uv pip install '\.\[polars-gpu\]'"):
        fit_workflow(make(features, tmp_path), EVENTS, tmp_path / "fits", engine="polars-gpu")
    assert not (tmp_path / "fits").exists()


@pytest.mark.skipif(importlib.util.find_spec("cudf_polars") is not None, reason="the GPU engine is installed")
def test_says_so_where_the_gpu_engine_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "cudf_polars" else found(name))
    with pytest.raises(MissingDependencyError, match="finds no GPU that it can use"):
        fit_workflow(make(features, tmp_path), EVENTS, tmp_path / "fits", engine="polars-gpu")
    assert not (tmp_path / "fits").exists()


def test_refuses_a_graph_that_is_no_workflow(tmp_path: Path) -> None:
    graph = make(features, tmp_path).output_node
    with pytest.raises(UsageError, match=r"Node is not a workflow\. Give nvtabular\.Workflow"):
        fit_workflow(graph, EVENTS, tmp_path)


def test_refuses_an_engine_that_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no engine 'dask'\. Give one of polars"):
        fit_workflow(make(features, tmp_path), EVENTS, tmp_path, engine="dask")


@pytest.mark.parametrize(
    ("events", "message"),
    [
        (EVENTS.drop("price"), "price"),
        (EVENTS.clear(), "have no rows"),
        (EVENTS.with_columns(price=pl.lit("1")), "'price'"),
        (EVENTS.with_columns(user=pl.date(2026, 1, 1)), "Column 'user' of the events is Date"),
        ("nowhere.parquet", "nowhere.parquet"),
    ],
    ids=["column missing", "no rows", "other type", "date", "no file"],
)
@pytest.mark.parametrize("engine", ["polars", "nvtabular"])
def test_refuses_events_that_it_cannot_fit_and_leaves_nothing(tmp_path: Path, events: Any, message: str, engine: str) -> None:
    if engine == "nvtabular" and message == "'price'":
        pytest.skip("NVTabular finds out by itself")
    with pytest.raises(DataError, match=message):
        fit_workflow(make(features, tmp_path / "caller"), events, tmp_path / "fits", engine=engine)
    assert not files(tmp_path)


def test_what_nvtabular_cannot_fit_is_refused_in_a_sentence(tmp_path: Path) -> None:
    workflow = make(lambda ops, out: ["user"] >> ops.Normalize(), tmp_path)
    with pytest.raises(DataError, match=r"NVTabular cannot fit the workflow on these events \(\w+: .*engine=\"polars\""):
        fit_workflow(workflow, EVENTS, tmp_path / "fits", engine="nvtabular")
    assert not list((tmp_path / "fits").iterdir())


def test_what_neither_a_plan_nor_nvtabular_can_run_is_refused_in_a_sentence(tmp_path: Path) -> None:
    def graph(ops: Any, out: str) -> Any:
        return ["tags"] >> ops.ReduceDtypeSize() >> ops.Bucketize([1, 2])

    with pytest.raises(NotCompilableError, match="NVTabular cannot run the workflow on the first rows either"):
        fit_workflow(make(graph, tmp_path), EVENTS, tmp_path / "fits")


TEXT = st.one_of(st.sampled_from(["", "a", "b", "ä", "A", " a", "日本", "0", "nan", "None", "👟"]), st.text(max_size=4))
FLOAT = st.floats(width=32, allow_nan=True, allow_infinity=False)
INTEGER = st.one_of(st.sampled_from([-(2**63), 2**63 - 1, 0]), st.integers(-5, 5))
ROW = st.tuples(st.one_of(TEXT, st.none()), INTEGER, st.one_of(FLOAT, st.none()), st.lists(TEXT, max_size=3))
TABLE_SCHEMA = {"s": pl.String, "i": pl.Int64, "f": pl.Float32, "l": pl.List(pl.String)}


def any_features(ops: Any, out: str) -> Any:
    ids = ["s", "i", "l"] >> ops.Categorify(out_path=out)
    return ids + (["f"] >> ops.FillMissing(fill_val=1) >> ops.Normalize())


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(ROW, min_size=1, max_size=12))
def test_fits_any_table_as_nvtabular_does(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    events = pl.DataFrame(rows, schema=TABLE_SCHEMA, orient="row")
    folder = tmp_path_factory.mktemp("any")
    ours = by_polars(any_features, events, folder)
    plan = read_plan(ours)
    encoded = compile_polars(plan, events.lazy()).collect()
    assert encoded.height == events.height
    assert _is_numbering(encoded["s"], events["s"])
    assert _is_numbering(encoded["i"], events["i"])
    if events["s"].null_count() < events.height and events["l"].list.len().min():
        theirs = by_nvtabular(any_features, events, folder)
        for name in ("s", "i", "l"):
            assert set(vocabulary(ours, name)) == set(vocabulary(theirs, name))
        assert encoded["s"].to_list() == transform(ours, events)["s"].tolist()
        assert encoded["i"].to_list() == transform(ours, events)["i"].tolist()
        found, expected = operator(ours, "Normalize"), operator(theirs, "Normalize")
        assert found.means["f"] == pytest.approx(expected.means["f"], rel=1e-6, abs=1e-6 * abs(found.stds["f"]), nan_ok=True)


def _is_numbering(ids: pl.Series, values: pl.Series) -> bool:
    """Whether nulls are 1 and other values have ids of their own, the more frequent the smaller."""
    table = pl.DataFrame({"id": ids, "value": values})
    seen = table.drop_nulls().group_by("id", "value").len().sort("id")
    return (
        table.filter(pl.col("value").is_null())["id"].eq(1).all()
        and seen["id"].to_list() == list(range(3, 3 + seen.height))
        and seen["len"].is_sorted(descending=True)
        and seen["value"].n_unique() == seen.height
    )
