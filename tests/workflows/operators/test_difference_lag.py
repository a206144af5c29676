"""``DifferenceLag``: on tables as NVTabular has it, and in requests on the lists of a group."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.read import read_parts, read_plan
from workflows.compiler.quiet import quiet_nvtabular

EVENTS = pd.DataFrame({"user": [1, 1, 1, 2, 2, 3], "at": [10, 12, 19, 7, 8, 5], "price": [1.5, np.nan, 3.0, 2.0, 2.5, 9.0]})


def fitted(graph: Any) -> Any:
    with quiet_nvtabular():
        import nvtabular as nvt
        from merlin.io import Dataset

        return nvt.Workflow(graph).fit(Dataset(EVENTS))


def lags(*columns: str, by: tuple[str, ...] = ("user",), shift: Any = (1, -1)) -> Any:
    with quiet_nvtabular():
        from nvtabular import ops

        return list(columns) >> ops.DifferenceLag(partition_cols=list(by), shift=list(shift))


@settings(max_examples=20, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(-99, 99), st.one_of(st.none(), st.sampled_from([0.5, 2.0]))),
        min_size=1,
        max_size=9,
    )
)
@pytest.mark.parametrize("by", [("user",), ("user", "shop")])
def test_on_tables_it_equals_nvtabular(by: tuple[str, ...], rows: list[Any]) -> None:
    table = pd.DataFrame(rows, columns=["user", "shop", "at", "price"]).astype({"price": "float64"})
    with quiet_nvtabular():
        import nvtabular as nvt
        from merlin.io import Dataset

        workflow = nvt.Workflow(lags("at", "price", by=by, shift=(1, 2, -1))).fit(Dataset(table))
        expected = workflow.transform(table)
    found = compile_polars(read_plan(workflow), pl.from_pandas(table).lazy()).collect()
    assert found.columns == list(expected)
    for name in expected:
        np.testing.assert_array_equal(found[name].to_numpy(), expected[name].to_numpy(dtype="float32"), err_msg=name)


def test_a_request_has_no_row_before_it() -> None:
    plan = read_plan(fitted(lags("at")))
    with pytest.raises(NotCompilableError, match="a request does not have"):
        compile_onnx(plan, list(plan), "f")


def test_before_a_groupby_of_the_same_columns_a_request_holds_the_whole_partition() -> None:
    with quiet_nvtabular():
        from nvtabular import ops

        graph = (lags("at", "price") + "user") >> ops.Groupby(groupby_cols=["user"], aggs="list")
        workflow = fitted(graph)
        expected = workflow.transform(EVENTS)
    plan, refused = read_parts(workflow, keep_rows=True)
    assert not refused
    groups = pl.from_pandas(EVENTS).group_by("user", maintain_order=True).agg(pl.all())
    lists = [name for name in plan if name != "user"]
    tables = compile_polars(plan, groups.lazy(), lists).collect()
    graph_ = compile_onnx(plan, lists, "f", nullable=["at", "price"], ragged=["at", "price"])
    requests = encode_onnx(open_session(graph_), groups)
    for name in lists:
        for row, wanted in enumerate(expected[name]):
            for found in (tables, requests):
                np.testing.assert_array_equal(found[name][row].to_numpy(), np.asarray(wanted, "float32"), err_msg=name)


def test_before_a_groupby_of_other_columns_it_is_refused() -> None:
    with quiet_nvtabular():
        from nvtabular import ops

        workflow = fitted((lags("price", by=("at",)) + "user" + "at") >> ops.Groupby(groupby_cols=["user"], aggs="list"))
    _, refused = read_parts(workflow, keep_rows=True)
    assert "grouped by ['user']" in refused["price_difference_lag_1_list"].found
