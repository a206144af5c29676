"""``TargetEncoding``, as it is served, against NVTabular's own transform with one fold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import strategies as st
from operator_conformance import INT64, TEXT, WORDS, OperatorConformance, fitted

from cartwheel.core.errors import NotCompilableError, RunError
from workflows.compiler.operators.step import Applied
from workflows.compiler.operators.target_encoding import read_target_encoding
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.read import read_plan

ENDS = [-(2**63), -1, 0, 3, 2**53 + 1, 2**63 - 1]


def tables(groups: dict[str, st.SearchStrategy[Any]], schema: Any) -> st.SearchStrategy[pl.DataFrame]:
    """Tables of any groups; the targets, which NVTabular wants to see and does not read, are 0."""
    row = st.tuples(*[groups.get(name, st.just(0)) for name in schema])
    return st.lists(row, max_size=8).map(lambda rows: pl.DataFrame(rows, schema=schema, orient="row"))


class TestOfStrings(OperatorConformance):
    training = pl.DataFrame(
        {"g": [*WORDS, *WORDS[:4], None, None], "y": [0.1 * place for place in range(len(WORDS) + 5)] + [None]},
        schema={"g": pl.String, "y": pl.Float32},
    )

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["g"] >> ops.TargetEncoding(["y"], kfold=1, p_smooth=3, out_path=folder)

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        return tables({"g": st.one_of(TEXT, st.none())}, self.training.schema)

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return raw.height > 0


class TestOfIntegersAtTheEnds(OperatorConformance):
    training = pl.DataFrame({"g": ENDS * 2, "y": list(range(12))})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["g"] >> ops.TargetEncoding("y", kfold=1, out_dtype="float64", out_path=folder)

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        return tables({"g": st.one_of(st.sampled_from(ENDS), INT64, st.none())}, self.training.schema)


class TestOfGroupsAndSeveralTargets(OperatorConformance):
    training = pl.DataFrame(
        {
            "a": ["x", "x", "日本", "日本", None, "", None],
            "b": [1, 1, 2, 3, 1, 2, 2],
            "y": [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.5],
            "z": [10, 20, 30, 40, 50, 60, 70],
        }
    )

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["a", "b", ["a", "b"], ["b", "a"]] >> ops.TargetEncoding(["y", "z"], kfold=1, p_smooth=5, out_path=folder)

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        groups = {"a": st.sampled_from(["x", "日本", "", None, "new"]), "b": st.sampled_from([1, 2, 3, 9, None])}
        return tables(groups, self.training.schema)

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return raw.height > 0 and not raw["b"].null_count()


class TestWithoutSmoothing(OperatorConformance):
    training = pl.DataFrame({"g": ["a", "b", None, "a", None], "y": [1.0, 2.0, 3.0, 4.0, 5.0]})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return ["g"] >> ops.TargetEncoding("y", kfold=1, p_smooth=0, out_path=folder)

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        return tables({"g": st.sampled_from(["a", "b", "new", None])}, self.training.schema)

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return raw.height > 0


class TestAsIntegersUnderAnotherSeparator(OperatorConformance):
    training = pl.DataFrame({"a": [3, 3, 4, 4], "b": ["x", "y", "x", "x"], "y": [10, 25, 30, 47]})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return [["a", "b"]] >> ops.TargetEncoding("y", kfold=1, p_smooth=1, out_dtype="int32", name_sep="&", out_path=folder)

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        return tables({"a": st.integers(2, 5), "b": st.sampled_from(["x", "y", "z"])}, self.training.schema)


class TestOfCategories(OperatorConformance):
    training = pl.DataFrame({"g": ["a", "b", "a", "c"], "y": [1.0, 0.0, 1.0, 1.0]})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        likely = ["g"] >> ops.Categorify(out_path=folder) >> ops.TargetEncoding("y", kfold=1, out_path=folder)
        return likely >> ops.Normalize(out_dtype=np.float32)

    def rows(self) -> st.SearchStrategy[pl.DataFrame]:
        return tables({"g": TEXT}, self.training.schema)


TRAINING = TestOfGroupsAndSeveralTargets.training


def plan(graph: Callable[[Any, str], Any], folder: Path, training: pl.DataFrame = TRAINING) -> Any:
    return read_plan(fitted(graph, training, folder))


def test_the_target_is_neither_needed_nor_understood(tmp_path: Path) -> None:
    def graph(ops: Any, folder: str) -> Any:
        bought = ["z"] >> ops.LambdaOp(lambda column: (column > 30).astype("int8")) >> ops.Rename(postfix="_bought")
        return ["a"] >> ops.TargetEncoding(bought, kfold=1, p_smooth=1, out_path=folder)

    workflow = fitted(graph, TRAINING, tmp_path)
    made = read_plan(workflow)
    assert list(made.raw) == ["a"]
    assert made.sources("TE_a_z_bought") == ("a",)
    assert [value.name for value in compile_onnx(made, ["TE_a_z_bought"], "g").graph.input] == ["a"]
    rows = pl.DataFrame({"a": ["x", "日本", "new"]})
    encoded = compile_polars(made, rows.lazy()).collect().to_series()
    mean = 4 / 7
    assert encoded.to_list() == pytest.approx([(0 + mean) / 3, (1 + mean) / 3, mean])
    with pytest.raises(KeyError):
        workflow.transform(rows.to_pandas())


def test_folds_leave_what_is_served_as_it_is(tmp_path: Path) -> None:
    def workflow(folds: int) -> Any:
        folder = tmp_path / str(folds)
        return fitted(lambda ops, out: ["a", ["a", "b"]] >> ops.TargetEncoding("y", kfold=folds, out_path=out), TRAINING, folder)

    one, many = workflow(1), workflow(4)
    expected = compile_polars(read_plan(one), TRAINING.lazy()).collect()
    assert compile_polars(read_plan(many), TRAINING.lazy()).collect().equals(expected)
    twice = pl.concat([TRAINING[:1]] * 20)
    assert one.transform(twice.to_pandas())["TE_a_y"].nunique() == 1
    assert many.transform(twice.to_pandas())["TE_a_y"].nunique() > 1  # by the fold that a row is drawn into, known or not


@pytest.mark.parametrize("given", [0.0, 2.0, {"y": 2.0}])
def test_a_given_mean_takes_the_place_of_the_fitted_one(given: Any, tmp_path: Path) -> None:
    def graph(**options: Any) -> Callable[[Any, str], Any]:
        return lambda ops, folder: ["a"] >> ops.TargetEncoding("y", kfold=1, p_smooth=1, out_path=folder, **options)

    if given:
        with pytest.raises(AttributeError):
            fitted(graph(target_mean=given), TRAINING, tmp_path / "given")
    workflow = fitted(graph(), TRAINING, tmp_path / "found")
    workflow.output_node.op.target_mean = given
    mean = given if isinstance(given, float) else 2.0
    encoded = compile_polars(read_plan(workflow), pl.LazyFrame({"a": ["x", "new"]})).collect().to_series()
    assert encoded.to_list() == pytest.approx([(1.0 + mean) / 3, mean])


@pytest.mark.parametrize(
    ("groups", "options", "words"),
    [
        (["a"], {"out_dtype": "float16"}, "gives float16"),
    ],
)
def test_what_has_no_exact_form_is_refused(groups: Any, options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(NotCompilableError) as caught:
        plan(lambda ops, folder: groups >> ops.TargetEncoding("y", **{"kfold": 1, "out_path": folder, **options}), tmp_path)
    assert words in str(caught.value)
    assert caught.value.fix


@pytest.mark.parametrize("seed", [42, None])
def test_the_fold_of_a_row_is_that_of_nvtabular_and_no_request_has_one(seed: int | None, tmp_path: Path) -> None:
    options = {"kfold": 3, "fold_seed": seed, "drop_folds": False, "out_path": str(tmp_path)}
    workflow = fitted(lambda ops, _: ["a"] >> ops.TargetEncoding("y", **options), TRAINING, tmp_path)
    read = read_plan(workflow)
    expected = workflow.transform(TRAINING.to_pandas())["__fold__"]
    found = compile_polars(read, TRAINING.lazy(), ["__fold__"]).collect().to_series()
    assert found.to_list() == expected.tolist()
    assert str(found.dtype).lower() == str(expected.dtype)
    with pytest.raises(NotCompilableError, match="no ONNX form"):
        compile_onnx(read, ["__fold__"], "f")


def test_a_workflow_whose_target_was_removed_says_so(tmp_path: Path) -> None:
    workflow = fitted(lambda ops, folder: ["a"] >> ops.TargetEncoding("y", kfold=1, out_path=folder), TRAINING, tmp_path)
    without = workflow.remove_inputs(["y"])
    with pytest.raises(NotCompilableError, match="lost its target"):
        read_plan(without)
    with pytest.raises(ValueError, match="Length mismatch"):
        without.transform(TRAINING.to_pandas()[["a"]])


def test_two_groups_of_one_name_are_refused(tmp_path: Path) -> None:
    workflow = fitted(lambda ops, folder: [["a", "b"]] >> ops.TargetEncoding("y", kfold=1, out_path=folder), TRAINING, tmp_path)
    applied = Applied(workflow.output_node.op, "TE_a_b_y", ("y", "a", "b"), {}, ("a_b", ("a", "b")))
    with pytest.raises(NotCompilableError, match="two groups under the name 'a_b'"):  # NVTabular itself breaks on them
        read_target_encoding(applied)


def test_a_division_by_0_is_no_integer(tmp_path: Path) -> None:
    workflow = fitted(
        lambda ops, folder: ["a"] >> ops.TargetEncoding("y", kfold=1, p_smooth=0, out_path=folder), TRAINING, tmp_path
    )
    workflow.output_node.op.out_dtype = "int32"
    with pytest.raises(NotCompilableError, match="divides by 0"):
        read_plan(workflow)


def test_statistics_that_are_gone_or_damaged_are_named(tmp_path: Path) -> None:
    workflow = fitted(lambda ops, folder: ["a"] >> ops.TargetEncoding("y", kfold=1, out_path=folder), TRAINING, tmp_path)
    for part in Path(workflow.output_node.op.stats["a"]).iterdir():
        part.write_bytes(b"no table")
    with pytest.raises(RunError, match="cannot be read"):
        read_plan(workflow)
    workflow.clear_stats()
    with pytest.raises(RunError, match="its TargetEncoding is not fitted"):
        read_plan(workflow)
