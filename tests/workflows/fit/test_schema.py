"""A schema beside the events: tags by which columns are selected, and properties; its types must be those of the events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import merlin.dtypes as md
import polars as pl
import pytest
from both_fits import make, saved, transform
from merlin.dag import ColumnSelector
from merlin.schema import ColumnSchema, Schema, Tags

from cartwheel.core.errors import DataError, NotCompilableError
from workflows.compiler.fit import fit_workflow
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.read import read_plan

EVENTS = pl.DataFrame({"a": ["x", "y", "x"], "b": ["u", "u", "v"], "p": [1.0, 2.0, 4.0], "n": [1, 2, 3], "y": [1, 0, 1]})
SCHEMA = Schema(
    [
        ColumnSchema("a", dtype=md.string, tags=[Tags.CATEGORICAL, Tags.USER]),
        ColumnSchema("b", tags=[Tags.CATEGORICAL, "of the shop"], properties={"note": "kept"}),
        ColumnSchema("p", dtype=md.float64, tags=["continuous"]),
        ColumnSchema("n", dtype=md.int64, tags=[Tags.CONTINUOUS]),
        ColumnSchema("y", tags=[Tags.TARGET]),
    ]
)
ENGINES = pytest.mark.parametrize("engine", ["polars", "nvtabular"])


def by_tags(ops: Any, out: str) -> Any:
    ids = ColumnSelector(tags=[Tags.CATEGORICAL]) >> ops.Categorify(out_path=out)
    numbers = ColumnSelector(tags=["continuous"]) >> ops.Normalize()
    users = ColumnSelector(tags=[Tags.USER]) >> ops.TargetEncoding(ColumnSelector(tags=[Tags.TARGET]), kfold=1, out_path=out)
    return ids + numbers + users + ColumnSelector(tags=[Tags.TARGET])


def by_name(ops: Any, out: str) -> Any:
    encoding = ops.TargetEncoding("y", kfold=1, out_path=out)
    return (["a", "b"] >> ops.Categorify(out_path=out)) + (["p", "n"] >> ops.Normalize()) + (["a"] >> encoding) + ["y"]


@ENGINES
def test_what_is_selected_by_tags_is_what_is_selected_by_name(tmp_path: Path, engine: str) -> None:
    by_tag = fit_workflow(make(by_tags, tmp_path), EVENTS, tmp_path / "tags", engine=engine, schema=SCHEMA)
    named = fit_workflow(make(by_name, tmp_path), EVENTS, tmp_path / "names", engine=engine)
    by_tag = saved(by_tag, tmp_path / "saved")
    plan = read_plan(by_tag)
    table = compile_polars(plan, EVENTS.lazy()).collect()
    assert table.columns == ["a", "b", "p", "n", "TE_a_y", "y"]
    assert table.equals(compile_polars(read_plan(named), EVENTS.lazy()).collect())
    assert table["a"].to_list() == transform(by_tag, EVENTS)["a"].tolist()


@ENGINES
def test_tags_and_properties_come_out(tmp_path: Path, engine: str) -> None:
    workflow = fit_workflow(make(by_tags, tmp_path), EVENTS, tmp_path, engine=engine, schema=SCHEMA)
    assert set(workflow.output_schema["b"].tags) == {Tags.CATEGORICAL, "of the shop"}
    assert workflow.output_schema["b"].properties["note"] == "kept"
    assert workflow.output_schema["p"].dtype == md.float64


@pytest.mark.parametrize("schema", [None, Schema([ColumnSchema("a", tags=[Tags.USER])])])
@pytest.mark.parametrize("chosen", [ColumnSelector(tags=[Tags.ITEM]), ColumnSelector(["a"], tags=["of nothing"])])
@ENGINES
def test_tags_that_no_column_has_are_refused(tmp_path: Path, engine: str, chosen: ColumnSelector, schema: Any) -> None:
    graphs: list[Callable[[Any, str], Any]] = [
        lambda ops, out: chosen >> ops.Categorify(out_path=out),
        lambda ops, out: (["p"] >> ops.Normalize()) + chosen,
        lambda ops, out: ["b"] >> ops.TargetEncoding(chosen, kfold=1, out_path=out),
    ]
    for number, graph in enumerate(graphs):
        with pytest.raises(DataError, match=r"selects columns by the tags \['\w+( \w+)*'\], and no column has one of them"):
            fit_workflow(make(graph, tmp_path), EVENTS, tmp_path / str(number), engine=engine, schema=schema)


def test_a_refused_workflow_may_be_fitted_once_there_are_tags(tmp_path: Path) -> None:
    workflow = make(lambda ops, out: ColumnSelector(tags=[Tags.CONTINUOUS]) >> ops.Normalize(), tmp_path)
    with pytest.raises(DataError, match="Give fit_workflow a schema with tags"):
        fit_workflow(workflow, EVENTS, tmp_path)
    assert fit_workflow(workflow, EVENTS, tmp_path, schema=SCHEMA).output_schema.column_names == ["p", "n"]


def test_columns_may_be_taken_away_by_tag(tmp_path: Path) -> None:
    def graph(ops: Any, out: str) -> Any:
        return (["a", "b", "p"] >> ops.Rename(f=str)) - ColumnSelector(tags=[Tags.USER])

    plan = read_plan(fit_workflow(make(graph, tmp_path), EVENTS, tmp_path, schema=SCHEMA))
    assert list(plan) == ["b", "p"]
    with pytest.raises(DataError, match="no column has one of them"):
        fit_workflow(make(graph, tmp_path), EVENTS, tmp_path)


def test_a_group_by_tags_is_refused(tmp_path: Path) -> None:
    """NVTabular resolves the tags of groups nowhere."""

    def graph(ops: Any, out: str) -> Any:
        group = ColumnSelector(subgroups=ColumnSelector(tags=[Tags.CATEGORICAL]))
        return group >> ops.Categorify(encode_type="combo", out_path=out)

    with pytest.raises(NotCompilableError, match="selects a group of columns by the tags"):
        fit_workflow(make(graph, tmp_path), EVENTS, tmp_path, schema=SCHEMA)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (ColumnSchema("elsewhere"), "has a column 'elsewhere', which the events lack"),
        (ColumnSchema("a", dtype=md.int32), "Column 'a' of the events is string, and int32 in the schema"),
        (ColumnSchema("n", dtype=md.int8), "Column 'n' of the events is int64, and int8 in the schema"),
        (ColumnSchema("p", dtype=md.float64, dims=(None, None)), r"is float64, and list\[float64\] in the schema"),
    ],
)
@ENGINES
def test_a_schema_of_other_events_is_refused(tmp_path: Path, engine: str, column: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        fit_workflow(make(by_name, tmp_path), EVENTS, tmp_path, engine=engine, schema=Schema([column]))
