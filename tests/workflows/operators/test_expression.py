"""Expressions in the place of Python functions: the same on tables and in requests, whatever is missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.operators.expression import ExpressionSubstitute
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.graph import Node, Plan
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.types import ColumnType

TYPES = {
    name: ColumnType(kind) for name, kind in {"a": "float32", "b": "float64", "i": "int64", "s": "int16", "t": "bool"}.items()
}
ODD = st.sampled_from([0.0, -0.0, 1.0, 2.5, -3.0, float("inf"), -float("inf")])
FLOATS = st.one_of(st.none(), ODD, st.floats(-100, 100, width=32))
WHOLE = st.one_of(st.none(), st.integers(-9, 9))
ROWS = st.lists(st.tuples(FLOATS, FLOATS, WHOLE, WHOLE, st.one_of(st.none(), st.booleans())), min_size=1, max_size=8)

EXPRESSIONS = [
    "CASE WHEN a > 3 THEN 1 ELSE 0 END",
    "CAST(i >= 2 AS BIGINT)",
    "a + b * 2.5 - ABS(i)",
    "a / b",
    "i / s",
    "COALESCE(a, b, 0)",
    "COALESCE(i, s)",
    "a IS NULL",
    "i IS NOT NULL AND NOT t",
    "t OR a > b",
    "t AND i < s",
    "CASE WHEN t THEN a WHEN i = 3 THEN b ELSE 1.5 END",
    "FLOOR(b) + CEIL(a)",
    "i <> s",
    "a <= b",
    "(b - b) >= a",
]


def plan_of(sql: str | pl.Expr) -> Plan:
    expression = pl.sql_expr(sql) if isinstance(sql, str) else sql
    made = ExpressionSubstitute(expression).made("made", TYPES)
    raw = [Node(name, TYPES[name], None, ()) for name in made.sources]
    [step] = made.steps
    node = Node("made", step.result([each.type for each in raw]), step, tuple(range(len(raw))))
    return Plan((*raw, node), (), {"made": len(raw)})


@pytest.mark.parametrize("sql", EXPRESSIONS)
@settings(max_examples=15)
@given(rows=ROWS)
def test_a_request_and_a_table_agree(sql: str, rows: list[tuple[Any, ...]]) -> None:
    table = pl.DataFrame(rows, schema={name: kind.polars for name, kind in TYPES.items()}, orient="row")
    plan = plan_of(sql)
    expected = compile_polars(plan, table.lazy()).collect()
    found = encode_onnx(open_session(compile_onnx(plan, ["made"], "f", nullable=list(plan.raw))), table.select(list(plan.raw)))
    assert found.schema == expected.schema
    if expected["made"].dtype.is_float():
        left, right = (each["made"].fill_null(float("nan")).to_numpy() for each in (expected, found))
        np.testing.assert_allclose(left, right, rtol=1e-6)
    else:
        assert expected.equals(found)


@pytest.mark.parametrize(
    ("sql", "part"),
    [
        ("UPPER(CAST(i AS VARCHAR))", "a cast of int64 to string"),
        ("i % 7", "Modulus"),
        ("CAST(a AS INT)", "a cast of float32 to int32"),
        ("ROUND(a, 1)", "Round"),
    ],
)
def test_what_no_request_can_have_works_on_tables_and_is_named(sql: str, part: str) -> None:
    plan = plan_of(sql)
    table = pl.DataFrame({name: [2] for name in plan.raw}, schema={name: kind.polars for name, kind in plan.raw.items()})
    assert compile_polars(plan, table.lazy()).collect().height == 1
    with pytest.raises(NotCompilableError, match="part that no request can have") as error:
        compile_onnx(plan, ["made"], "f")
    assert part in str(error.value)


def test_a_column_that_does_not_reach_the_operator_is_named() -> None:
    with pytest.raises(NotCompilableError, match=r"reads the columns \['zip'\]"):
        plan_of("zip + 1")
