"""What a numeric operator cannot do exactly is refused, with the column and what to use instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from operator_conformance import fitted

from cartwheel.core.errors import NotCompilableError, RunError
from workflows.compiler.fit import fit_workflow
from workflows.compiler.operators.constants import exact
from workflows.compiler.plan.read import read_plan
from workflows.compiler.plan.types import ColumnType
from workflows.compiler.quiet import quiet_nvtabular

TABLE = pl.DataFrame(
    {
        "price": [1.0, 2.0, None],
        "price_filled": [None, 1.0, 2.0],
        "day": [1, 2, 4],
        "small": [1, 2, 3],
        "half": [1.5, 2.0, 2.5],
        "color": ["red", "", "blue"],
        "many": [[1.0], [], [2.0]],
        "sold": [True, False, True],
    },
    schema_overrides={"small": pl.UInt8, "half": pl.Float32},
)


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (lambda ops: ["day"] >> ops.Clip(min_value=0.5), "Clip holds a column of type int64 at 0.5. Use whole numbers"),
        (lambda ops: ["day"] >> ops.Clip(min_value=float("inf")), "at inf. Use whole numbers"),
        (lambda ops: ["small"] >> ops.Clip(min_value=300), "of type uint8 at 300"),
        (lambda ops: ["half"] >> ops.Clip(max_value=1e39), "Use bounds that float32 holds"),
        (lambda ops: ["sold"] >> ops.Clip(min_value=0), "applied to booleans"),
        (lambda ops: ["day"] >> ops.FillMissing(0.5), "type int64 cannot be filled with 0.5"),
        (lambda ops: ["small"] >> ops.FillMissing(-1), "type uint8 cannot be filled with -1"),
        (lambda ops: ["day"] >> ops.FillMissing(float("inf")), "cannot be filled with inf"),
        (lambda ops: ["half"] >> ops.FillMissing(1e39), "cannot be filled with 1e+39"),
        (lambda ops: ["sold"] >> ops.FillMissing(2), "type bool cannot be filled with 2"),
        (lambda ops: ["price"] >> ops.FillMissing("none"), "type float64 cannot be filled with 'none'"),
        (lambda ops: ["many"] >> ops.FillMissing(add_binary_cols=True), "flags what was missing in the lists of 'many'"),
        (
            lambda ops: ["price", "price_filled"] >> ops.FillMissing(add_binary_cols=True),
            "overwrites the column 'price_filled' by the flags of 'price'",
        ),
        (lambda ops: ["price"] >> ops.Bucketize(lambda _: [1, 2]), "takes its boundaries from a function"),
        (lambda ops: ["price"] >> ops.NormalizeMinMax(out_dtype="float16"), "gives float16"),
        (lambda ops: ["price"] >> ops.ReduceDtypeSize(float_dtype=np.float16), "gives float16"),
    ],
)
def test_what_has_no_exact_form_is_refused(graph: Callable[[Any], Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(NotCompilableError) as caught:
        read_plan(fitted(lambda ops, _: graph(ops), TABLE, tmp_path))
    assert "Feature column" in str(caught.value)
    assert words in str(caught.value)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (
            lambda ops: ["price"] >> ops.Bucketize({"half": [1]}),
            "Bucketize (of column price) has parameters that cannot be read (KeyError",
        ),
        (lambda ops: ["day"] >> ops.Clip(min_value="low"), "Clip (of column day) has parameters that cannot be read (TypeError"),
    ],
)
def test_parameters_that_do_not_fit_the_column_are_refused_by_the_fit(
    graph: Callable[[Any], Any], words: str, tmp_path: Path
) -> None:
    with quiet_nvtabular():
        import nvtabular
        from nvtabular import ops
    with pytest.raises(NotCompilableError) as caught:
        fit_workflow(nvtabular.Workflow(graph(ops)), TABLE, tmp_path)
    assert words in str(caught.value)


def _bucketized(folder: Path) -> Any:
    return fitted(lambda ops, _: ["price"] >> ops.Bucketize([1, 2]), TABLE, folder)


@pytest.mark.parametrize(
    ("boundaries", "words"),
    [
        ([1.0, float("nan")], r"has the boundaries \[1.0, nan\]"),
        ([[1], [2]], r"has the boundaries \[\[1\], \[2\]\]"),
        (["a"], r"has the boundaries \['a'\]"),
        ([1, 3, 2], "which are in no order. Sort them"),
    ],
)
def test_boundaries_that_numpy_would_misread_are_refused(boundaries: list[Any], words: str, tmp_path: Path) -> None:
    workflow = _bucketized(tmp_path)
    workflow.output_node.op.boundaries = type(workflow.output_node.op)(boundaries).boundaries
    with pytest.raises(NotCompilableError, match=words):
        read_plan(workflow)


def test_a_value_to_fill_with_that_is_neither_number_nor_string_is_refused(tmp_path: Path) -> None:
    workflow = fitted(lambda ops, _: ["price"] >> ops.FillMissing(), TABLE, tmp_path)
    workflow.output_node.op.fill_val = None
    with pytest.raises(NotCompilableError, match="fills with None, neither a number nor a string"):
        read_plan(workflow)


@pytest.mark.parametrize("name", ["NormalizeMinMax", "ReduceDtypeSize"])
def test_a_cleared_operator_is_refused(name: str, tmp_path: Path) -> None:
    workflow = fitted(lambda ops, _: ["day"] >> getattr(ops, name)(), TABLE, tmp_path)
    workflow.output_node.op.clear()
    with pytest.raises(RunError, match=f"its {name} is not fitted"):
        read_plan(workflow)


def test_a_minimum_and_maximum_of_nothing_are_refused(tmp_path: Path) -> None:
    workflow = fitted(lambda ops, _: ["price"] >> ops.NormalizeMinMax(), TABLE, tmp_path)
    workflow.output_node.op.mins["price"] = float("nan")
    with pytest.raises(RunError, match=r"was fitted to values from nan to 2\.0"):
        read_plan(workflow)


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (7.0, "int8", 7),
        (128, "int8", None),
        (-1, "uint64", None),
        (2**64 - 1, "uint64", 2**64 - 1),
        (0.5, "int64", None),
        (float("nan"), "int64", None),
        (1, "bool", True),
        (2, "bool", None),
        (np.float32(0.5), "float64", 0.5),
        (2**128, "float32", None),
        (float("inf"), "float32", float("inf")),
        ("a", "string", "a"),
        ("1", "int64", None),
        (1, "string", None),
    ],
)
def test_a_constant_is_kept_exactly_or_not_at_all(value: Any, dtype: str, expected: Any) -> None:
    found = exact(value, ColumnType(dtype))
    assert found == expected
    assert type(found) is type(expected)
