"""Dropna and Filter: which rows are left, under NVTabular, with pandas and with Polars; no request drops rows."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import strategies as st
from operator_conformance import FLOAT32, INT64, TEXT, OperatorConformance, fitted

from cartwheel.core.errors import NotCompilableError, UsageError
from workflows.compiler.comparison import Comparison, Condition, IsMissing, OneOf
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.read import read_plan
from workflows.compiler.quiet import quiet_nvtabular

ROWS = pl.DataFrame(
    {"price": [1.5, None, 0.1, -2.0, 9.0], "name": ["a", "b", None, "", "ä"], "day": [1, 2, 3, 4, 5]},
    schema={"price": pl.Float32, "name": pl.String, "day": pl.Int64},
)


class RowConformance(OperatorConformance):
    requests = False
    training = ROWS

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        row = st.tuples(st.one_of(FLOAT32, st.none()), st.one_of(TEXT, st.none()), st.one_of(st.integers(0, 6), INT64))
        return st.lists(row, max_size=8).map(lambda rows: pl.DataFrame(rows, schema=ROWS.schema, orient="row"))

    @staticmethod
    def left(raw: pl.DataFrame) -> pl.DataFrame:
        """The rows that must be left, written down a second time."""
        raise NotImplementedError

    @classmethod
    def upstream(cls, raw: pl.DataFrame) -> bool:  # type: ignore[override]
        """Where no row is left, NVTabular takes all of them for the rest of the graph: docs/deviations.md."""
        return cls.left(raw).height > 0

    def check(self, compiled: Any, raw: pl.DataFrame) -> None:
        super().check(compiled, raw)
        table = compile_polars(compiled[1], raw.lazy(), ["day"]).collect()
        assert table["day"].to_list() == self.left(raw)["day"].to_list()


class TestDropna(RowConformance):
    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        kept = ["price", "name", "day"] >> ops.Dropna()
        return (kept["price"] >> ops.LogOp()) + kept["name", "day"]

    @staticmethod
    def left(raw: pl.DataFrame) -> pl.DataFrame:
        return raw.with_columns(pl.col("price").fill_nan(None)).drop_nulls()


class TestFilter(RowConformance):
    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        condition = (Comparison("price", ">=", 0.1) | ~OneOf("name", ["a", "ä"])) & ~Comparison("day", "==", 2)
        kept = ["price", "name", "day"] >> ops.Filter(condition)
        return (kept["price"] >> ops.FillMissing()) + kept["name", "day"]

    @staticmethod
    def left(raw: pl.DataFrame) -> pl.DataFrame:
        price = pl.col("price").fill_nan(None).cast(pl.Float64) >= pl.lit(0.1).cast(pl.Float32).cast(pl.Float64)
        name = pl.col("name").is_in(["a", "ä"])
        return raw.filter((price.fill_null(False) | ~name.fill_null(False)) & (pl.col("day") != 2))


class TestAFilterAfterAFilter(RowConformance):
    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        filled = ["price", "name", "day"] >> ops.Filter(~IsMissing("price")) >> ops.Filter(Comparison("day", "!=", 3))
        return filled >> ops.Dropna()

    @staticmethod
    def left(raw: pl.DataFrame) -> pl.DataFrame:
        present = raw.with_columns(pl.col("price").fill_nan(None)).drop_nulls()
        return present.filter(pl.col("day") != 3)


CONDITIONS: list[tuple[Condition, list[bool]]] = [
    (Comparison("price", ">=", 0.1), [True, False, True, False, True]),
    (Comparison("price", "!=", 1.5), [False, False, True, True, True]),
    (~Comparison("price", "!=", 1.5), [True, True, False, False, False]),
    (Comparison("name", ">", "a"), [False, True, False, False, True]),
    (Comparison("name", "==", ""), [False, False, False, True, False]),
    (IsMissing("name"), [False, False, True, False, False]),
    (IsMissing("price"), [False, True, False, False, False]),
    (OneOf("name", ["ä", "b"]), [False, True, False, False, True]),
    (OneOf("price", (0.1, 9)), [False, False, True, False, True]),
    (OneOf("day", []), [False] * 5),
    (Comparison("day", "<", 3) & Comparison("day", ">", 1), [False, True, False, False, False]),
    (Comparison("day", "<=", 1) | Comparison("name", "==", "ä"), [True, False, False, False, True]),
]


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS)
def test_a_condition_means_the_same_in_pandas_and_in_the_plan(
    condition: Condition, expected: list[bool], tmp_path: Path, everything: Callable[[Condition], Any]
) -> None:
    assert pickle.loads(pickle.dumps(condition)) == condition
    frame = condition(ROWS.to_pandas())
    assert frame.tolist() == expected
    assert frame.dtype == bool
    assert condition(ROWS.to_pandas().convert_dtypes(convert_floating=False)).tolist() == expected
    table = compile_polars(read_plan(everything(condition)), ROWS.lazy()).collect()
    assert table["day"].to_list() == [day for day, stays in zip(ROWS["day"], expected, strict=True) if stays]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Condition], Any]:
    """A fitted filter of all columns, whose condition can be changed."""

    def graph(ops: Any, folder: str) -> Any:
        return ["price", "name", "day"] >> ops.Filter(Comparison("day", ">", 0))

    workflow = fitted(graph, ROWS, tmp_path_factory.mktemp("filter"))

    def of(condition: Any) -> Any:
        workflow.output_node.op.f = condition
        return workflow

    return of


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (Comparison("cost", ">", 0), r"asks for the columns \['cost'\]"),
        (Comparison("day", ">", 0.5), "'day' of type int64 with 0.5"),
        (Comparison("name", "==", 3), "'name' of type string with 3"),
        (OneOf("price", ["a"]), "'price' of type float32 with 'a'"),
        (lambda frame: frame["day"] > 0, "Python function '<lambda>'"),
    ],
)
def test_a_condition_that_cannot_be_compiled_is_refused(
    condition: Any, words: str, everything: Callable[[Condition], Any]
) -> None:
    with pytest.raises(NotCompilableError, match=words):
        read_plan(everything(condition))


def test_a_condition_of_ones_own_is_refused(everything: Callable[[Condition], Any]) -> None:
    class Always(Condition):
        columns = ("day",)

        def __call__(self, frame: Any) -> Any:
            return frame["day"].notna()

    with pytest.raises(NotCompilableError, match="Filter asks a Always"):
        read_plan(everything(Always()))


def test_a_filter_of_lists_is_refused(tmp_path: Path) -> None:
    lists = pl.DataFrame({"x": [[1], [2]], "y": [1, 2]})
    workflow = fitted(lambda ops, folder: ["x", "y"] >> ops.Filter(Comparison("y", ">", 0)), lists, tmp_path)
    workflow.output_node.op.f = Comparison("x", ">", 0)
    with pytest.raises(NotCompilableError, match="lists 'x'"):
        read_plan(workflow)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Comparison("x", "=", 1), "comparator '='"),
        (lambda: Comparison("x", "==", float("nan")), "ask IsMissing"),
        (lambda: Comparison("x", "==", None), "compares with None"),  # type: ignore[arg-type]
        (lambda: OneOf("x", "abc"), "Give it a list"),
        (lambda: OneOf("x", [[1]]), r"compares with \[1\]"),  # type: ignore[list-item]
    ],
)
def test_a_condition_that_says_nothing_is_refused(make: Callable[[], Condition], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()


def test_a_request_for_what_comes_after_a_filter_is_refused(everything: Callable[[Condition], Any]) -> None:
    plan = read_plan(everything(Comparison("day", ">", 0)))
    with pytest.raises(NotCompilableError, match=r"comes after Meets\(.*'day'.*\), which drops rows"):
        compile_onnx(plan, ["price"], "g")


def test_columns_before_and_after_a_filter_are_not_put_together(tmp_path: Path) -> None:
    whole = ROWS.drop_nulls()  # NVTabular can be fitted where no row is dropped

    def graph(ops: Any, folder: str) -> Any:
        return (["price", "name"] >> ops.Dropna()) + ["day"]

    with pytest.raises(NotCompilableError, match="put together although an operator dropped rows of some of them only"):
        read_plan(fitted(graph, whole, tmp_path))


def test_where_no_row_is_left_the_table_is_empty(tmp_path: Path) -> None:
    """NVTabular then takes all rows, filtered or not, for the rest of the graph."""

    def graph(ops: Any, folder: str) -> Any:
        return ["price", "day"] >> ops.Filter(Comparison("day", "<", 3)) >> ops.FillMissing(fill_val=0)

    workflow = fitted(graph, ROWS, tmp_path)
    late = ROWS.filter(pl.col("day") >= 3)
    assert compile_polars(read_plan(workflow), late.lazy()).collect().height == 0
    with quiet_nvtabular():
        assert len(workflow.transform(late.to_pandas())) == late.height


def test_a_row_whose_list_is_missing_stays(tmp_path: Path) -> None:
    """NVTabular drops it; in the plan a missing list is an empty one from the start."""
    lists = pl.DataFrame({"x": [[1], [2, 3], [4]], "y": [1, 2, 3]})
    workflow = fitted(lambda ops, folder: ["x", "y"] >> ops.Dropna(), lists, tmp_path)
    missing = pl.DataFrame({"x": [None, [2]], "y": [1, 2]}, schema=lists.schema)
    assert compile_polars(read_plan(workflow), missing.lazy()).collect().rows() == [([], 1), ([2], 2)]
    with quiet_nvtabular():
        assert workflow.transform(missing.to_pandas())["y"].tolist() == [2]
