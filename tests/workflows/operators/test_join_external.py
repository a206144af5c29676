"""``JoinExternal`` against NVTabular's own transform, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import strategies as st
from operator_conformance import INT64, TEXT, WORDS, OperatorConformance, fitted

from cartwheel.core.errors import NotCompilableError, RunError
from workflows.compiler.fit import fit_workflow
from workflows.compiler.operators.join_external import read_join_external
from workflows.compiler.operators.keys import Keys
from workflows.compiler.operators.step import Applied
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.read import read_plan
from workflows.compiler.plan.types import ColumnType
from workflows.compiler.quiet import quiet_nvtabular

ENDS = [-(2**63), -1, 0, 3, 2**53 + 1, 2**63 - 1]


def frame(**columns: list[Any]) -> pd.DataFrame:
    return pd.DataFrame(columns)


class TestOnStrings(OperatorConformance):
    training = pl.DataFrame({"k": [*WORDS, None, "unseen"]})
    values = st.one_of(TEXT, st.none())

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        count = len(WORDS)
        table = frame(
            k=[*WORDS, None],
            word=[None, "", *WORDS[::-1]][: count + 1],
            whole=list(range(count + 1)),
            fraction=[None, 0.1, float("inf"), *[2.5] * (count - 2)],
            flag=[place % 3 == 0 for place in range(count + 1)],
            one=["same"] * (count + 1),
        )
        return ["k"] >> ops.JoinExternal(table, "k")

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return raw.height > 0


class TestOnIntegersAtTheEnds(OperatorConformance):
    training = pl.DataFrame({"k": ENDS[::-1]})
    values = st.one_of(st.sampled_from(ENDS), INT64, st.none())

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["k"] >> ops.JoinExternal(frame(k=ENDS, n=ENDS[::-1]), "k")

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        """Whether every row is in the table: pandas turns integers to float64 where one is not."""
        return raw.height > 0 and raw["k"].is_in(ENDS).all() and not raw["k"].null_count()


class TestOnNarrowIntegers(OperatorConformance):
    training = pl.DataFrame({"k": [1, 2, 127]}, schema={"k": pl.Int8})
    values = st.integers(-128, 127)

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        table = frame(k=[127, 1, 300], n=[1, 2, 3], f=[0.1, None, 0.3]).astype({"n": "uint16", "f": "float32"})
        return ["k"] >> ops.JoinExternal(table, "k")


class TestOnSeveralColumns(OperatorConformance):
    training = pl.DataFrame(
        {"k": ["a", "a", "日本", None, "b", "unseen"], "day": [1, 2, 3, 1, 9, 1], "x": [0.5, None, 1.5, 2.0, 3.0, 4.0]}
    )

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        table = frame(
            k=["a", "a", "日本", None], date=[1, 2, 3, 1], n=[10, 20, 30, 40], word=["", "b", None, "ü"], unused=[1, 2, 3, 4]
        )
        joined = ["k", "day", "x"] >> ops.JoinExternal(
            table, ["k", "day"], on_ext=["k", "date"], columns_ext=["k", "date", "n", "word"]
        )
        return (joined[["x"]] >> ops.FillMissing()) + joined[["date", "n", "word", "k"]]

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        row = st.tuples(
            st.sampled_from(["a", "日本", "b", "", None]),
            st.sampled_from([1, 2, 3, 9, 2**60, None]),
            st.sampled_from([0.5, None]),
        )
        return st.lists(row, max_size=8).map(lambda rows: pl.DataFrame(rows, schema=self.training.schema, orient="row"))

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return raw.height > 0 and not raw["day"].null_count()


class TestOfAnInnerJoin(OperatorConformance):
    requests = False
    training = pl.DataFrame({"k": ["a", "b", "a", "c", None], "x": [1.0, 2.0, None, 4.0, 5.0]})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["k", "x"] >> ops.JoinExternal(frame(k=["a", "c", None], n=[2**60 + 1, 2, 3]), "k", how="inner")

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        row = st.tuples(st.sampled_from(["a", "b", "c", "", None]), st.sampled_from([0.5, None]))
        return st.lists(row, max_size=8).map(lambda rows: pl.DataFrame(rows, schema=self.training.schema, orient="row"))

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return raw.height > 0


class TestOfLists(OperatorConformance):
    training = pl.DataFrame({"k": [1, 2, 3, 4]})
    values = st.integers(1, 4)

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        table = frame(
            k=[1, 2, 3, 4], n=[[1, 2], [], [-3], [4, 5, 6]], f=[[0.5], [1.5, float("inf")], [], []], s=[["ä"], ["", "b"], [], []]
        )
        return ["k"] >> ops.JoinExternal(table, "k")


class TestOfAParquetFileWithDuplicates(OperatorConformance):
    training = pl.DataFrame({"k": [1, 2, 9]})
    values = st.integers(0, 4)

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        from merlin.io import Dataset

        path = Path(folder) / "table.parquet"
        frame(k=[1, 2, 1, 3], n=[10, 20, 10, 30], other=[1, 2, 3, 4]).to_parquet(path)
        table = Dataset(str(path), engine="parquet", cpu=True)
        return ["k"] >> ops.JoinExternal(table, "k", columns_ext=["k", "n"], drop_duplicates_ext=True)


class TestOfACsvFileInParts(OperatorConformance):
    training = pl.DataFrame({"k": [1, 2, 9]})
    values = st.integers(0, 4)

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        import dask.dataframe as dd
        from merlin.io import Dataset

        path = Path(folder) / "table.csv"
        frame(k=[1, 2, 3], word=["a", None, "c"]).to_csv(path, index=False)
        return ["k"] >> ops.JoinExternal(Dataset(dd.read_csv(path).repartition(npartitions=2)), "k")


class TestOfAnEmptyTable(OperatorConformance):
    training = pl.DataFrame({"k": [1, 2]})
    values = INT64

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["k"] >> ops.JoinExternal(frame(k=[1], n=[2], f=[0.5])[:0], "k")


class TestAfterAnotherOperator(OperatorConformance):
    training = pl.DataFrame({"k": ["b", "a", "b", "c"]})
    values = TEXT

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        table = frame(k=[2, 3, 5], n=[20, 30, 50])
        return ["k"] >> ops.Categorify(out_path=folder) >> ops.JoinExternal(table, "k") >> ops.Rename(postfix="_joined")


def plan(graph: Callable[[Any, str], Any], training: pl.DataFrame, folder: Path) -> Any:
    return read_plan(fitted(graph, training, folder))


def test_integers_stay_integers_where_a_key_is_not_there(tmp_path: Path) -> None:
    table = frame(k=["a", "b"], n=[2**60 + 1, 2])
    training = pl.DataFrame({"k": ["a", "b"]})
    workflow = fitted(lambda ops, folder: ["k"] >> ops.JoinExternal(table, "k"), training, tmp_path)
    rows = pl.DataFrame({"k": ["a", "c"]})
    assert int(workflow.transform(rows.to_pandas())["n"][0]) == 2**60
    assert compile_polars(read_plan(workflow), rows.lazy()).collect()["n"].to_list() == [2**60 + 1, None]


def test_a_list_is_empty_where_a_key_is_not_there(tmp_path: Path) -> None:
    table = frame(k=["a", "b"], n=[[1, 2], [3]])
    training = pl.DataFrame({"k": ["a", "b"]})
    workflow = fitted(lambda ops, folder: ["k"] >> ops.JoinExternal(table, "k"), training, tmp_path)
    rows = pl.DataFrame({"k": ["b", "c"]})
    assert np.isnan(workflow.transform(rows.to_pandas())["n"][1])
    assert compile_polars(read_plan(workflow), rows.lazy()).collect()["n"].to_list() == [[3], []]


def test_nulls_of_a_table_in_types_of_pandas_that_hold_them(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"k": ["a", "b"], "n": pd.array([2**60 + 1, None], dtype="Int64"), "b": pd.array([None, True], "boolean")}
    )
    training = pl.DataFrame({"k": ["a", "b", "c"]})
    made = plan(lambda ops, folder: ["k"] >> ops.JoinExternal(table, "k"), training, tmp_path)
    assert compile_polars(made, training.lazy()).collect().to_dict(as_series=False) == {
        "k": ["a", "b", "c"],
        "n": [2**60 + 1, None, None],
        "b": [None, True, None],
    }


def test_keys_are_looked_up_once_for_all_columns(tmp_path: Path) -> None:
    table = frame(k=["a", "b"], n=[1, 2], m=[3, 4], word=["c", "d"])
    made = plan(lambda ops, folder: ["k"] >> ops.JoinExternal(table, "k"), pl.DataFrame({"k": ["a"]}), tmp_path)
    assert sum(isinstance(node.step, Keys) for node in made.nodes) == 1
    assert len({made.place(column) for column in made}) == 4


def test_a_key_that_stands_twice_multiplies_rows_in_nvtabular(tmp_path: Path) -> None:
    table = frame(k=["a", "b", "a"], n=[1, 2, 3])
    training = pl.DataFrame({"k": ["a", "b"]})
    workflow = fitted(lambda ops, folder: ["k"] >> ops.JoinExternal(table, "k"), training, tmp_path)
    assert len(workflow.transform(training.to_pandas())) == 3
    with pytest.raises(NotCompilableError, match="'a'} stands more than once"):
        read_plan(workflow)


@pytest.mark.parametrize(
    "options", [{}, {"columns_ext": ["k"]}, {"how": "inner"}, {"on": "day", "on_ext": "k", "columns_ext": ["k"]}]
)
def test_a_key_that_stands_twice_is_refused_where_the_table_adds_no_column(options: dict[str, Any], tmp_path: Path) -> None:
    keys: list[Any] = [1, 2, 1] if "on_ext" in options else ["a", "b", "a"]
    table = frame(k=keys) if options.get("columns_ext") is None else frame(k=keys, n=[1, 2, 3])
    training = pl.DataFrame({"k": ["a", "b"], "day": [1, 2]})
    with pytest.raises(NotCompilableError, match="stands more than once"):
        plan(
            lambda ops, folder: [options.get("on", "k")] >> ops.JoinExternal(table, **{"on": "k", **options}), training, tmp_path
        )


@pytest.mark.parametrize("how", ["left", "inner"])
def test_a_join_on_columns_that_do_not_reach_it_is_refused(how: str, tmp_path: Path) -> None:
    with quiet_nvtabular():
        from nvtabular import Workflow, ops

        node = ["day"] >> ops.JoinExternal(frame(k=["a", "b"], n=[1, 2]), "k", how=how)
        with pytest.raises(NotCompilableError, match=r"\['k'\], and \['day'\] reach it"):
            read_plan(
                fit_workflow(
                    Workflow(node + (["k"] >> ops.Rename(postfix="_alone"))), pl.DataFrame({"k": ["a"], "day": [1]}), tmp_path
                )
            )


def test_a_table_without_its_key_is_refused(tmp_path: Path) -> None:
    table = frame(k=["a", "b"], n=[1, 2])
    with quiet_nvtabular():
        from nvtabular import Workflow, ops

        workflow = Workflow(["k"] >> ops.JoinExternal(table, "k", columns_ext=["n"]))
    with pytest.raises(NotCompilableError, match=r"its table has no columns \['k'\]; it has \['n'\]"):
        read_plan(fit_workflow(workflow, pl.DataFrame({"k": ["a"]}), tmp_path))


def test_an_inner_join_is_for_tables_alone(tmp_path: Path) -> None:
    training = pl.DataFrame({"k": ["a", "b"]})
    table = frame(k=["a"], n=[1])
    made = plan(lambda ops, folder: ["k"] >> ops.JoinExternal(table, "k", how="inner"), training, tmp_path)
    with pytest.raises(NotCompilableError, match="KeyIsThere"):
        compile_onnx(made, ["n"], "g")


@pytest.mark.parametrize(
    ("table", "options", "words"),
    [
        (frame(k=["a", "a"], day=[1, 1], n=[1, 2]), {"on": ["k", "day"]}, "the key {'k': 'a', 'day': 1} stands more than once"),
        (frame(k=["a", None, None], n=[1, 2, 3]), {"how": "inner"}, "the key {'k': None} stands more than once"),
        (frame(x=[0.5, 1.0], n=[1, 2]), {"on": "x"}, "Feature column 'n'"),
        (frame(k=["a"], when=pd.to_datetime(["2020-01-01"])), {}, "Feature column 'when'"),
    ],
)
def test_a_table_that_has_no_exact_form_is_refused(
    table: pd.DataFrame, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    training = pl.DataFrame({"k": ["a", "b"], "day": [1, 2], "x": [0.5, 1.0]})
    with pytest.raises(NotCompilableError) as caught:
        plan(lambda ops, folder: ["k", "day", "x"] >> ops.JoinExternal(table, **{"on": "k", **options}), training, tmp_path)
    assert words in str(caught.value)
    assert caught.value.fix


def test_a_column_on_both_sides_is_refused(tmp_path: Path) -> None:
    workflow = fitted(
        lambda ops, folder: ["k"] >> ops.JoinExternal(frame(k=["a"], n=[1]), "k"), pl.DataFrame({"k": ["a"]}), tmp_path
    )
    available = {"k": ColumnType("string"), "n": ColumnType("int64")}
    with pytest.raises(NotCompilableError, match="makes it twice"):  # NVTabular itself breaks on it
        read_join_external(Applied(workflow.output_node.op, "n", ("n",), available))


def test_a_table_of_mixed_values_is_refused() -> None:
    with quiet_nvtabular():
        from nvtabular import ops

        operator = ops.JoinExternal(frame(k=["a", "b"], n=[1, 2]), "k")
        operator._ext["n"] = [1, "two"]  # NVTabular itself finds no type for such a column
    with pytest.raises(NotCompilableError, match="no one type"):
        read_join_external(Applied(operator, "n", ("n",), {"k": ColumnType("string")}))


def test_a_table_that_is_gone_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    frame(k=["a", "b"], n=[1, 2]).to_parquet(path)

    def graph(ops: Any, folder: str) -> Any:
        from merlin.core.dispatch import ExtData
        from merlin.io import Dataset

        table = Dataset(str(path), engine="parquet", cpu=True)
        return ["k"] >> ops.JoinExternal(table, "k", columns_ext=["k", "n"], kind_ext=ExtData.PARQUET, cache="disk")

    workflow = fitted(graph, pl.DataFrame({"k": ["a"]}), tmp_path)
    path.unlink()
    with pytest.raises(RunError, match="its table cannot be read"):
        read_plan(workflow)
