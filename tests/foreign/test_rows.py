"""The rows that a served model is checked on, where its workflow groups events in an order."""

from __future__ import annotations

import pandas as pd
import polars as pl
import pytest

from cartwheel.pipeline.foreign.checking import by_nvtabular
from cartwheel.pipeline.foreign.rows import drawn_rows, in_order
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.read import read_parts
from workflows.compiler.quiet import quiet_nvtabular

EVENTS = pd.DataFrame({"session": [1, 1, 2, 2, 2], "at": [5, 6, 1, 2, 3], "item": [10, 11, 12, 10, 11]})


@pytest.mark.parametrize("ascending", [True, False])
def test_events_are_in_the_order_of_the_column_that_groupby_sorts_by(ascending: bool) -> None:
    with quiet_nvtabular():
        import nvtabular as nvt
        from merlin.io import Dataset
        from nvtabular import ops

        grouping = ops.Groupby(groupby_cols=["session"], sort_cols=["at"], aggs=["list", "last"], ascending=ascending)
        workflow = nvt.Workflow(["session", "at", "item"] >> grouping).fit(Dataset(EVENTS))
    plan, _ = read_parts(workflow, keep_rows=True)
    drawn = drawn_rows(plan, plan.raw, 20, strange=False)
    rows = in_order(workflow, drawn)
    columns = ["item_list", "item_last"]
    tables = compile_polars(plan, rows.lazy(), columns).collect()
    assert tables.equals(by_nvtabular(workflow, plan, rows, columns))
    assert not rows.equals(drawn)
    assert rows["item"].list.sort().equals(drawn["item"].list.sort())
    assert all(list(each) == sorted(each, reverse=not ascending) for each in rows["at"])


def test_events_that_nothing_sorts_stay_as_they_are() -> None:
    with quiet_nvtabular():
        import nvtabular as nvt
        from merlin.io import Dataset
        from nvtabular import ops

        workflow = nvt.Workflow(["session", "item"] >> ops.Groupby(groupby_cols=["session"])).fit(Dataset(EVENTS))
    rows = pl.DataFrame({"session": [1], "item": [[3, 1, 2]]})
    assert in_order(workflow, rows).equals(rows)
