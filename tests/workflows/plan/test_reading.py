"""Graphs of special shapes: what NVTabular allows is read once, whole and in order, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from operator_conformance import by_nvtabular, fitted

from cartwheel.core.errors import NotCompilableError, RunError
from workflows.compiler.operators.log import LogPlusOne
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.graph import Plan
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.parity import check_parity
from workflows.compiler.plan.read import raw_columns, read_plan
from workflows.compiler.plan.types import ColumnType
from workflows.compiler.quiet import quiet_nvtabular

TABLE = pl.DataFrame({"x": [1.0, 2.5, 7.0], "y": [3.0, 0.5, 1.0], "k": [1, 2, 3]}, schema_overrides={"x": pl.Float32})


def read(graph: Callable[[Any, str], Any], folder: Path) -> Plan:
    """Read the plan of a graph, and hold all three executors to each other."""
    workflow = fitted(graph, TABLE, folder)
    plan = read_plan(workflow)
    table = compile_polars(plan, TABLE.lazy()).collect()
    check_parity(plan, TABLE, by_nvtabular(workflow, plan, TABLE), table, ("NVTabular", "Polars"))
    check_parity(plan, TABLE, table, encode_onnx(open_session(compile_onnx(plan, list(plan), "g")), TABLE), ("Polars", "ONNX"))
    return plan


def diamonds(levels: int) -> Any:
    """A workflow of diamonds, each on the last one's result: 2 ** levels paths. Its schemas are told node by node, once each."""
    with quiet_nvtabular():
        from merlin.io import Dataset
        from nvtabular import ColumnSelector, WorkflowNode, ops

        from workflows.compiler.column_arithmetic import Arithmetic

        schema = Dataset(TABLE.to_pandas()).schema
        nodes = [WorkflowNode(ColumnSelector(["x"]))]
        for level in range(levels):
            left = nodes[-1] >> ops.Clip(min_value=-level)
            clipped = nodes[-1] >> ops.Clip(max_value=100 + level)
            right = clipped >> ops.Rename(postfix="_right")
            both = left + right
            nodes += [left, clipped, right, both, both >> Arithmetic("add", "x", "x_right", name="x")]
        for node in nodes:
            node.compute_schemas(schema)
    return SimpleNamespace(input_schema=schema, output_schema=nodes[-1].output_schema, output_node=nodes[-1])


def diamond(value: float, levels: int) -> float:
    for level in range(levels):
        value = max(value, -level) + min(value, 100 + level)
    return value


def test_a_graph_of_nested_diamonds_computes_each_node_once() -> None:
    sizes = {}
    for levels in (10, 20):
        plan = read_plan(diamonds(levels))
        model = compile_onnx(plan, ["x"], "g")
        frame = compile_polars(plan, TABLE.lazy())
        sizes[levels] = (len(plan.nodes) - 1, len(model.graph.node), frame.explain(optimized=False).count("WITH_COLUMNS"))
        table = frame.collect()
        assert table["x"].to_list() == [diamond(value, levels) for value in TABLE["x"]]
        check_parity(plan, TABLE, table, encode_onnx(open_session(model), TABLE), ("Polars", "ONNX"))
    assert sizes[10][0] == 30
    for small, large in zip(sizes[10], sizes[20], strict=True):
        assert large <= 2 * small + 2


def test_a_node_that_many_need_is_one(tmp_path: Path) -> None:
    def graph(ops: Any, folder: str) -> Any:
        log = ["x"] >> ops.LogOp()
        return (log >> ops.Rename(postfix="_a")) + (log >> ops.Clip(max_value=1) >> ops.Rename(postfix="_b")) + log

    plan = read(graph, tmp_path)
    assert sum(isinstance(node.step, LogPlusOne) for node in plan.nodes) == 1
    assert plan.sources("x_b") == ("x",)


def test_the_later_of_two_makers_of_one_column_counts(tmp_path: Path) -> None:
    plan = read(lambda ops, folder: (["x", "y"] >> ops.Clip(max_value=2)) + (["x"] >> ops.LogOp()), tmp_path)
    assert sorted(plan) == ["x", "y"]
    assert plan.steps("x") == (LogPlusOne(),)


def test_a_subgraph_is_read_in_its_place(tmp_path: Path) -> None:
    def graph(ops: Any, folder: str) -> Any:
        from merlin.dag.ops.subgraph import Subgraph

        inner = ["x", "y"] >> ops.Clip(max_value=2) >> ops.LogOp()
        return (["x", "y"] >> Subgraph("inner", inner)) >> ops.Rename(postfix="_inner")

    plan = read(graph, tmp_path)
    assert list(plan) == ["x_inner", "y_inner"]
    assert [type(step).__name__ for step in plan.steps("x_inner")] == ["Bounds", "LogPlusOne"]


def test_columns_of_a_node_can_be_taken_away_by_name() -> None:
    """NVTabular keeps those that were to go, and fails: docs/deviations.md."""
    with quiet_nvtabular():
        from merlin.io import Dataset
        from nvtabular import Workflow, ops

        dataset = Dataset(TABLE.to_pandas())
        workflow = Workflow((["x", "y"] >> ops.LogOp()) - ["y"]).fit_schema(dataset.schema)
        plan = read_plan(workflow)
        with pytest.raises(KeyError, match="x"):
            workflow.fit(dataset)
    assert list(plan) == ["x"]


def test_operators_that_have_no_compiled_form_say_what_to_use() -> None:
    with quiet_nvtabular():
        from merlin.io import Dataset
        from nvtabular import Workflow, ops

        graphs = {
            "LambdaOp": ["x"] >> ops.LambdaOp(lambda column: column),
        }
        for name, graph in graphs.items():
            workflow = Workflow(graph).fit_schema(Dataset(TABLE.to_pandas()).schema)
            with pytest.raises(NotCompilableError, match=f"the operator {name} .* has no compiled form.* Instead, "):
                read_plan(workflow)


def test_a_workflow_without_schemas_is_not_fitted() -> None:
    with pytest.raises(RunError, match="is not fitted"):
        read_plan(SimpleNamespace(output_schema=None))


def test_a_raw_column_of_no_known_type_is_named() -> None:
    with quiet_nvtabular():
        from merlin.schema import ColumnSchema, Schema

        known = Schema([ColumnSchema("x", dtype="float32"), ColumnSchema("l", dtype="int64", is_list=True, is_ragged=True)])
        unknown = Schema([ColumnSchema("when", dtype="datetime64[ns]")])
    assert raw_columns(SimpleNamespace(input_schema=known)) == {
        "x": ColumnType("float32"),
        "l": ColumnType("int64", is_list=True),
    }
    with pytest.raises(NotCompilableError, match="raw column 'when' is of type datetime64"):
        raw_columns(SimpleNamespace(input_schema=unknown))
