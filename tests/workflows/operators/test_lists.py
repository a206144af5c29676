"""ListSlice and ValueCount: which elements of a list are left, and how many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import strategies as st
from operator_conformance import INT64, TEXT, OperatorConformance, by_nvtabular, fitted, nothing_missing

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.operators.list_slice import Slice, most_elements
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.graph import Node, Plan
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.parity import check_parity
from workflows.compiler.plan.read import read_plan
from workflows.compiler.plan.types import ColumnType, from_polars

SLICES = [(2,), (0, 2), (0, 4), (-2,), (-3, -1), (-4, 2), (0,), (-100,)]
EMPTYING = [(3, 3), (4, 2), (100, 200), (-1, -3), (1, -1), (-4, 0)]  # NVTabular cannot be fitted where no element is left
LISTS = pl.DataFrame(
    {"i": [[1, 2, 3, 4, 5], [6], [7, 8, 9]], "s": [["a"], ["b", "", "ä"], ["c", "d"]], "f": [[0.5], [1.5, 2.5], [3.5]]}
)


def names(arguments: tuple[int, ...]) -> str:
    return "_" + "_".join(map(str, arguments))


class TestListSlice(OperatorConformance):
    training = LISTS

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        row = st.tuples(
            st.lists(st.one_of(INT64, st.none()), max_size=6),
            st.lists(st.one_of(TEXT, st.none()), max_size=6),
            st.lists(st.one_of(st.floats(), st.none()), max_size=6),
        )
        return st.lists(row, max_size=6).map(lambda rows: pl.DataFrame(rows, schema=LISTS.schema, orient="row"))

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        parts = [["i", "s", "f"] >> ops.ListSlice(*slice_) >> ops.Rename(postfix=names(slice_)) for slice_ in SLICES]
        return sum(parts[1:], start=parts[0])

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return nothing_missing(raw) and not any(series.list.eval(pl.element().is_null()).list.any().any() for series in raw)


class TestListSliceThatFillsUp(OperatorConformance):
    """NVTabular fills up Python lists and forgets to fill up arrays, which is what a table's lists are: docs/deviations.md."""

    training = pl.DataFrame({"i": [[1, 2, 3, 4], [5, 6, 7, 8, 9]]})
    values = st.one_of(INT64, st.none())

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return (["i"] >> ops.ListSlice(4, pad=True)) + (
            ["i"] >> ops.ListSlice(-3, pad=True, pad_value=-1) >> ops.Rename(postfix="_last")
        )

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        lengths = raw["i"].list.len()
        return raw.height > 0 and bool((lengths >= 4).all()) and not raw["i"].list.eval(pl.element().is_null()).list.any().any()

    def test_short_lists_are_filled_up_at_their_end(self, compiled: Any) -> None:
        raw = pl.DataFrame({"i": [[1, 2], [], [1, 2, 3, 4, 5]]}, schema={"i": pl.List(pl.Int64)})
        table = compile_polars(compiled[1], raw.lazy()).collect()
        assert table["i"].to_list() == [[1, 2, 0, 0], [0, 0, 0, 0], [1, 2, 3, 4]]
        assert table["i_last"].to_list() == [[1, 2, -1], [-1, -1, -1], [3, 4, 5]]
        assert by_nvtabular(compiled[0], compiled[1], raw)["i"].to_list() == [[1, 2], [], [1, 2, 3, 4]]


class TestValueCount(OperatorConformance):
    training = pl.DataFrame({"i": [[1, 2, 3, 4], [5]], "s": [["a"], ["b", "c"]]})

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        row = st.tuples(st.lists(INT64, max_size=4), st.lists(TEXT, max_size=4))
        return st.lists(row, max_size=6).map(lambda rows: pl.DataFrame(rows, schema=self.training.schema, orient="row"))

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["i", "s"] >> ops.ValueCount()


@pytest.mark.parametrize("column", LISTS.columns)
def test_a_slice_is_that_of_python(column: str) -> None:
    kind = from_polars(LISTS[column].dtype)
    bounds = [(0, one[0]) if len(one) == 1 and one[0] > 0 else (*one, None)[:2] for one in SLICES + EMPTYING]
    raw = Node(column, kind, None, ())
    plan = Plan(
        (raw, *(Node("slice", kind, Slice(*ends), (0,)) for ends in bounds)),
        (),
        {str(ends): 1 + k for k, ends in enumerate(bounds)},
    )
    table = compile_polars(plan, LISTS.lazy()).collect()
    for ends in bounds:
        assert table[str(ends)].to_list() == [row[slice(*ends)] for row in LISTS[column].to_list()]
    session = open_session(compile_onnx(plan, list(plan), "g", nullable=[column], ragged=[column]))
    check_parity(plan, LISTS, table, encode_onnx(session, LISTS), ("Polars", "ONNX"))


def test_lists_whose_lengths_are_unknown_are_sliced_from_their_start_only(tmp_path: Path) -> None:
    def graph(ops: Any, folder: str) -> Any:
        return (["i"] >> ops.ListSlice(2)) + (["i"] >> ops.ListSlice(-2) >> ops.Rename(postfix="_last"))

    lists = pl.DataFrame({"i": [[1, 2, 3], [4, 5, 6]]})
    plan = read_plan(fitted(graph, lists, tmp_path))
    answer = encode_onnx(open_session(compile_onnx(plan, ["i"], "g")), lists)
    check_parity(plan, lists, compile_polars(plan, lists.lazy()).collect(), answer, ("Polars", "ONNX"))
    with pytest.raises(NotCompilableError, match=r"ListSlice counts from the end .* Compile the graph with ragged lists"):
        compile_onnx(plan, ["i_last"], "g")


def test_filling_up_without_a_greatest_length_is_refused(tmp_path: Path) -> None:
    workflow = fitted(lambda ops, folder: ["i"] >> ops.ListSlice(0), pl.DataFrame({"i": [[1, 2]]}), tmp_path)
    workflow.output_node.op.pad = True
    with pytest.raises(NotCompilableError, match="slices from 0 to the end, which have no greatest length"):
        read_plan(workflow)


@pytest.mark.parametrize(
    ("kind", "pad", "words"),
    [
        (ColumnType("string"), "", "ListSlice is applied to a column of type string"),
        (ColumnType("int64", is_list=True), 0.5, "Lists of int64 cannot be filled up with 0.5"),
        (ColumnType("string", is_list=True), 0.0, "Lists of string cannot be filled up with 0.0"),
    ],
)
def test_what_cannot_be_sliced_is_refused(kind: ColumnType, pad: Any, words: str) -> None:
    with pytest.raises(NotCompilableError, match=words):
        Slice(0, 4, 4, pad).result([kind])


@pytest.mark.parametrize("length", range(7))
@pytest.mark.parametrize("bounds", [(0, 2), (1, 4), (4, 2), (-2, None), (-3, -1), (-1, -3), (-4, 2), (-4, 0)])
def test_no_list_has_more_elements_than_said(bounds: tuple[int, int | None], length: int) -> None:
    most = most_elements(*bounds)
    assert most is not None
    assert len(list(range(length))[slice(*bounds)]) <= most
