"""The steps of ``Groupby`` in a request: the ends and the lengths of lists, on tables and in ONNX alike."""

from __future__ import annotations

from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.compiler.operators.groupby import EndOfList, ListLength
from workflows.compiler.operators.list_statistic import STATISTICS, ListStatistic
from workflows.compiler.operators.step import Step
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.graph import Node, Plan
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.types import ColumnType

ELEMENTS = {
    "int64": st.integers(-5, 5),
    "string": st.sampled_from(["", "a", "bc"]),
    "float32": st.sampled_from([0.0, 1.5, -2.0]),
    "bool": st.booleans(),
    "uint8": st.integers(0, 255),
}


@pytest.mark.parametrize("step", [EndOfList(last=False), EndOfList(last=True), ListLength()], ids=["first", "last", "count"])
@pytest.mark.parametrize("dtype", ELEMENTS)
@settings(max_examples=10)
@given(data=st.data())
def test_a_request_and_a_table_agree(step: Step, dtype: str, data: Any) -> None:
    kind = ColumnType(dtype, is_list=True)
    rows = data.draw(st.lists(st.lists(st.one_of(st.none(), ELEMENTS[dtype]), max_size=4), min_size=1, max_size=5))
    table = pl.DataFrame({"x": pl.Series(rows, dtype=kind.polars)})
    plan = Plan((Node("x", kind, None, ()), Node("y", step.result([kind]), step, (0,))), (), {"y": 1})
    expected = compile_polars(plan, table.lazy()).collect()
    found = encode_onnx(open_session(compile_onnx(plan, ["y"], "f", nullable=["x"], ragged=["x"])), table)
    assert found.equals(expected)
    if isinstance(step, ListLength):
        assert expected["y"].to_list() == [len(row) for row in rows]
    else:
        place = -1 if step.last else 0
        known = [(row[place], value) for row, value in zip(rows, expected["y"].to_list(), strict=True) if row]
        assert all(wanted == value for wanted, value in known)


@pytest.mark.parametrize("how", STATISTICS)
@pytest.mark.parametrize("dtype", ["int64", "float32", "uint8"])
@settings(max_examples=10)
@given(data=st.data())
def test_a_statistic_of_a_list_is_that_of_what_is_there(how: str, dtype: str, data: Any) -> None:
    kind, step = ColumnType(dtype, is_list=True), ListStatistic(how)
    rows = data.draw(st.lists(st.lists(st.one_of(st.none(), ELEMENTS[dtype]), max_size=4), min_size=1, max_size=5))
    table = pl.DataFrame({"x": pl.Series(rows, dtype=kind.polars)})
    plan = Plan((Node("x", kind, None, ()), Node("y", step.result([kind]), step, (0,))), (), {"y": 1})
    expected = compile_polars(plan, table.lazy()).collect()
    found = encode_onnx(open_session(compile_onnx(plan, ["y"], "f", nullable=["x"], ragged=["x"])), table)
    assert found.equals(expected)
    for row, value in zip(rows, expected["y"].to_list(), strict=True):
        there = pd.Series([each for each in row if each is not None], dtype=dtype)
        if len(there):
            wanted = getattr(there, how)()
            assert value is None if pd.isna(wanted) else value == pytest.approx(wanted, rel=1e-6)
