"""Where NVTabular 23.8 is wrong about numbers: what it does, and that both back ends give the right answer; see docs/deviations.md.

Each test holds NVTabular's answer too, so that one fails when a later release gets it right and the deviation can go.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numeric_conformance import table
from operator_conformance import by_nvtabular, fitted

from workflows.compiler.fit.fit import fit_workflow
from workflows.compiler.operators.bucketize import Digitize
from workflows.compiler.operators.clip import Bounds
from workflows.compiler.operators.fill import Fill, IsMissing
from workflows.compiler.operators.normalize_min_max import Rescale
from workflows.compiler.operators.reduce_dtype_size import Convert
from workflows.compiler.operators.step import Step
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.graph import Node, Plan
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.parity import check_parity
from workflows.compiler.plan.read import read_plan
from workflows.compiler.plan.types import ColumnType
from workflows.compiler.quiet import quiet_nvtabular


def both(plan: Plan, raw: pl.DataFrame) -> pl.DataFrame:
    """Return what both back ends make of the rows, which must be the same."""
    columns = list(plan.raw)
    graph = compile_onnx(plan, list(plan), "g", nullable=columns, ragged=[name for name in columns if plan.raw[name].is_list])
    answer = compile_polars(plan, raw.lazy()).collect()
    check_parity(plan, raw, answer, encode_onnx(open_session(graph), raw), ("Polars", "ONNX"))
    return answer


def answers(graph: Callable[[Any], Any], training: pl.DataFrame, raw: pl.DataFrame, folder: Path) -> tuple[list[Any], list[Any]]:
    """Return what NVTabular and what Cartwheel make of the one column of ``raw``."""
    workflow = fitted(lambda ops, _: graph(ops), training, folder)
    plan = read_plan(workflow)
    [column] = plan
    return by_nvtabular(workflow, plan, raw)[column].to_list(), both(plan, raw)[column].to_list()


def test_normalize_min_max_does_not_wrap_around_below_the_minimum(tmp_path: Path) -> None:
    training, raw = table({"uint8": [5, 15]}), table({"uint8": [5, 3]})
    theirs, ours = answers(lambda ops: ["uint8"] >> ops.NormalizeMinMax(), training, raw, tmp_path)
    assert ours == [0.0, -0.2]
    assert theirs == [0.0, 25.4]


def test_normalize_min_max_does_not_wrap_around_within_a_range_wider_than_half_the_type(tmp_path: Path) -> None:
    training, raw = table({"int8": [-100, 100, 0]}), table({"int8": [-100, 60, 0]})
    with quiet_nvtabular():
        from nvtabular import Workflow, ops

        graph = Workflow(["int8"] >> ops.NormalizeMinMax())
    with pytest.raises(KeyError):
        fitted(lambda ops, _: ["int8"] >> ops.NormalizeMinMax(), training, tmp_path)
    workflow = fit_workflow(graph, training, tmp_path)
    plan = read_plan(workflow)
    assert both(plan, raw)["int8"].to_list() == [0.0, pytest.approx(0.8), 0.5]
    assert by_nvtabular(workflow, plan, raw)["int8"].to_list() == [0.0, pytest.approx(-96 / 200), 0.5]


def test_normalize_min_max_where_nothing_varies_does_not_wrap_around(tmp_path: Path) -> None:
    training, raw = table({"int8": [2, 2]}), table({"int8": [100, 0]})
    theirs, ours = answers(lambda ops: ["int8"] >> ops.NormalizeMinMax(), training, raw, tmp_path)
    assert ours == [0.5, None]
    assert theirs == [pytest.approx(100 / -56, rel=1e-3), None]


def test_reduce_dtype_size_gives_what_does_not_fit_the_nearest_that_does(tmp_path: Path) -> None:
    training, raw = table({"int64": [-3, 100]}), table({"int64": [128, -(2**63), 100]})
    theirs, ours = answers(lambda ops: ["int64"] >> ops.ReduceDtypeSize(), training, raw, tmp_path)
    assert ours == [127, -128, 100]
    assert theirs == [-128, 0, 100]


def test_fill_missing_fills_the_elements_of_lists(tmp_path: Path) -> None:
    raw = table({"many float64": [[1.0, None], [], [None]]})
    theirs, ours = answers(lambda ops: ["many float64"] >> ops.FillMissing(7), raw, raw, tmp_path)
    assert ours == [[1.0, 7.0], [], [7.0]]
    assert np.isnan(theirs[0][1])


def test_clip_leaves_the_type_of_a_float32_column(tmp_path: Path) -> None:
    raw = table({"float32": [0.0, 3.0]})
    workflow = fitted(lambda ops, _: ["float32"] >> ops.Clip(0.1), raw, tmp_path)
    assert both(read_plan(workflow), raw)["float32"].to_list() == [np.float32(0.1), 3.0]
    with quiet_nvtabular():
        assert workflow.transform(raw.to_pandas())["float32"].dtype == np.float64
    assert workflow.output_schema["float32"].dtype.name == "float32"


def test_fill_missing_makes_an_empty_list_of_one_that_is_missing(tmp_path: Path) -> None:
    training, raw = table({"many float64": [[1.0], []]}), table({"many float64": [[1.0], None]})
    workflow = fitted(lambda ops, _: ["many float64"] >> ops.FillMissing(7), training, tmp_path)
    assert both(read_plan(workflow), raw)["many float64"].to_list() == [[1.0], []]
    with quiet_nvtabular():
        assert workflow.transform(raw.to_pandas())["many float64"][1] == 7  # a number among lists


def test_integers_beside_nulls_keep_all_their_digits(tmp_path: Path) -> None:
    training, raw = table({"int64": [1, 2]}), table({"int64": [2**60 + 1, None]})
    theirs, ours = answers(lambda ops: ["int64"] >> ops.FillMissing(2**62 + 1), training, raw, tmp_path)
    assert ours == [2**60 + 1, 2**62 + 1]
    assert theirs == [2**60, 2**62]


@pytest.mark.parametrize(
    ("step", "dtypes"),
    [
        (Bounds(1, 100), ("int8", "int16", "uint16", "int64", "uint64", "float32", "float64")),
        (Digitize((0, 3), descends=True), ("int8", "uint16", "int64", "uint64", "float32", "float64", "bool")),
        (Digitize((), descends=False), ("int64", "float32")),
        (Fill(1), ("int8", "int16", "uint16", "int64", "uint64", "float32", "float64", "bool")),
        (Fill("x"), ("string",)),
        (IsMissing(), ("int8", "uint64", "float32", "bool", "string")),
        (Rescale(3.0, 4.0, "float32"), ("int8", "uint16", "int64", "uint64", "float32", "float64")),
        (Rescale(3.0, 0.0, "float64"), ("int8", "uint64", "float32")),
        (Convert("float32"), ("int8", "float64")),
    ],
)
def test_an_element_of_a_list_has_the_answer_of_a_value_by_itself(step: Step, dtypes: tuple[str, ...]) -> None:
    """NVTabular fails on such lists, or leaves them as they are."""
    for dtype in dtypes:
        values: list[Any] = [3, 0, 1, None, 101]
        if dtype in ("bool", "string"):
            values = [None if value is None else bool(value) if dtype == "bool" else str(value) for value in values]
        kind = ColumnType(dtype)
        scalars = both(_alone(step, kind), pl.DataFrame({"x": values}, schema={"x": kind.polars}))["x"].to_list()
        many = ColumnType(dtype, is_list=True)
        lists = pl.DataFrame({"x": [values[:2], [], values[2:], None]}, schema={"x": many.polars})
        assert both(_alone(step, many), lists)["x"].to_list() == [scalars[:2], [], scalars[2:], []]


def _alone(step: Step, kind: ColumnType) -> Plan:
    return Plan((Node("x", kind, None, ()), Node("x", step.result([kind]), step, (0,))), (), {"x": 1})
