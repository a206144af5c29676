"""``JoinGroupby``: statistics of groups, as they were fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import strategies as st
from operator_conformance import OperatorConformance, by_nvtabular, fitted

from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.read import read_plan

TRAINING = pl.DataFrame(
    {"g": ["a", "b", "a", "b", "a"], "h": [1, 1, 2, 2, 1], "x": [1.0, 2.0, 4.0, 8.0, 16.0], "y": [3, 5, 7, 9, 11]},
    schema_overrides={"x": pl.Float32},
)


class TestOfKnownGroups(OperatorConformance):
    training = TRAINING

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["g"] >> ops.JoinGroupby(cont_cols=["x", "y"], stats=["count", "sum", "mean", "std", "min"], out_path=folder)

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        return st.lists(st.sampled_from(["a", "b"]), max_size=6).map(
            lambda keys: pl.DataFrame({"g": keys, "x": [0.0] * len(keys), "y": [0] * len(keys)}, schema=_schema("g", "x", "y"))
        )

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return raw.height > 0


class TestOfSeveralColumns(OperatorConformance):
    training = TRAINING

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return [["g", "h"]] >> ops.JoinGroupby(cont_cols=["x"], stats=["mean", "max"], out_path=folder)

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        row = st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 3), st.just(0.0))
        return st.lists(row, max_size=6).map(lambda rows: pl.DataFrame(rows, schema=_schema("g", "h", "x"), orient="row"))

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return raw.height > 0


def _schema(*names: str) -> dict[str, Any]:
    return {name: TRAINING.schema[name] for name in names}


def test_a_group_that_was_never_seen_has_a_count_of_0_where_nvtabular_fails(tmp_path: Path) -> None:
    workflow = fitted(
        lambda ops, folder: ["g"] >> ops.JoinGroupby(cont_cols=["x"], stats=["count", "mean"], out_path=folder),
        TRAINING,
        tmp_path,
    )
    plan = read_plan(workflow)
    raw = pl.DataFrame({"g": ["z", "a"], "x": [0.0, 0.0]}, schema=_schema("g", "x"))
    found = compile_polars(plan, raw.lazy()).collect()
    assert found["g_count"].to_list() == [0, 3]
    assert found["g_x_mean"].to_list() == [None, 7.0]
    with pytest.raises(Exception, match="Cannot convert non-finite values"):
        by_nvtabular(workflow, plan, raw)
