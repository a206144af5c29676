"""``ColumnSimilarity``: NVTabular's metrics, on tables and in requests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import strategies as st
from operator_conformance import OperatorConformance, fitted
from scipy.sparse import coo_matrix

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.operators import column_similarity
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.read import read_plan

FEATURES = coo_matrix((np.ones(8), ([0, 0, 1, 1, 2, 2, 3, 4], [0, 1, 1, 2, 3, 4, 1, 2])))
TRAINING = pl.DataFrame({"left": [0, 0, 4], "right": [0, 1, 2]})


def graph(metric: str) -> Any:
    def made(ops: Any, _folder: str) -> Any:
        from nvtabular.ops.column_similarity import ColumnSimilarity

        return [["left", "right"]] >> ColumnSimilarity(FEATURES, metric=metric, on_device=False)

    return made


class OfAMetric(OperatorConformance):
    training = TRAINING

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        row = st.tuples(st.integers(0, 4), st.integers(0, 4))
        return st.lists(row, max_size=6).map(lambda rows: pl.DataFrame(rows, schema=TRAINING.schema, orient="row"))

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return raw.height > 0


class TestOfCosine(OfAMetric):
    graph = staticmethod(graph("cosine"))


class TestOfTfIdf(OfAMetric):
    graph = staticmethod(graph("tfidf"))


def test_an_id_without_a_row_has_no_similarity(tmp_path: Path) -> None:
    plan = read_plan(fitted(graph("inner"), TRAINING, tmp_path))
    raw = pl.DataFrame({"left": [0, -1, 99, None], "right": [1, 0, 0, 0]}, schema=TRAINING.schema)
    found = encode_onnx(open_session(compile_onnx(plan, ["left_right_sim"], "f", nullable=["left"])), raw)
    for each in (found, compile_polars(plan, raw.lazy()).collect()):
        assert each["left_right_sim"].to_list() == [1.0, None, None, None]


def test_a_matrix_that_is_too_large_for_a_request_works_on_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = read_plan(fitted(graph("inner"), TRAINING, tmp_path))
    monkeypatch.setattr(column_similarity, "_LARGEST", 10)
    assert compile_polars(plan, TRAINING.lazy()).collect().height == 3
    with pytest.raises(NotCompilableError, match="too large for a request's graph"):
        compile_onnx(plan, ["left_right_sim"], "f")
