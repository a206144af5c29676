"""The operators that name, tag, select and put together columns: values, names and types stay what NVTabular makes of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import strategies as st
from numeric_conformance import NumericConformance, table
from operator_conformance import OperatorConformance, by_nvtabular, fitted

from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.parity import check_parity
from workflows.compiler.plan.read import read_plan

FLOATS = pl.DataFrame({"x": [0.5, None, 3.5], "y": [1.0, 2.0, None]}, schema={"x": pl.Float32, "y": pl.Float32})
MIXED = pl.DataFrame({"x": [1, 2, 3], "y": [0.5, None, 2.0], "z": ["a", "b", ""], "many": [[1, 2], [], [3]]})


class TestRenamedTaggedAndSubset(OperatorConformance):
    training = FLOATS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        both = ["x", "y"] >> ops.FillMissing() >> ops.Rename(postfix="_log") >> ops.LogOp() >> ops.AddTags(["logged"])
        return both[["y_log"]] + (["x"] >> ops.FillMissing(fill_val=3))


class TestFilledByTextThatEndsInNul(OperatorConformance):
    """NVTabular fills with the text before the NUL, and so with the id of that."""

    training = pl.DataFrame({"word": ["a", "z", None, "z\0", "z", None]})
    values = st.one_of(st.none(), st.sampled_from(["a", "z", "z\0", "\0", "?"]))

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        encoded = ["word"] >> ops.FillMissing("z\0") >> ops.Categorify(out_path=folder) >> ops.Rename(postfix="_id")
        return encoded + (["word"] >> ops.FillMissing("z\0"))

    @staticmethod
    def upstream(raw: pl.DataFrame) -> bool:
        return raw.height > raw["word"].null_count()


class TestTwoMakersOfOneColumn(OperatorConformance):
    training = FLOATS

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return (["x", "y"] >> ops.FillMissing(fill_val=1)) + (["x"] >> ops.FillMissing(fill_val=2))


class TestTagsOfEveryType(NumericConformance):
    training = table({dtype: [1, 0, 1] for dtype in ("bool", "int8", "uint64", "float32")})

    @staticmethod
    def graph(ops: Any, folder: str) -> Any:
        return list(TestTagsOfEveryType.training.columns) >> ops.TagAsItemID() >> ops.Rename(f=str.upper)


def _merlin(name: str, *arguments: Any) -> Callable[[Any], Any]:
    def graph(ops: Any) -> Any:
        from merlin.dag.ops import add_metadata, rename

        return ["x", "z", "many"] >> getattr(rename if name == "Rename" else add_metadata, name)(*arguments)

    return graph


@pytest.mark.parametrize(
    ("graph", "names"),
    [
        (lambda ops: ["x", "z", "many"] >> ops.AddMetadata(tags=["t"], properties={"p": 1}), ["x", "z", "many"]),
        (lambda ops: ["x", "z", "many"] >> ops.AddProperties({"p": 1}), ["x", "z", "many"]),
        (lambda ops: ["x", "z", "many"] >> ops.AddTags(["t"]), ["x", "z", "many"]),
        (lambda ops: ["x", "z", "many"] >> ops.TagAsItemFeatures(), ["x", "z", "many"]),
        (lambda ops: ["x", "z", "many"] >> ops.TagAsItemID(), ["x", "z", "many"]),
        (lambda ops: ["x", "z", "many"] >> ops.TagAsUserFeatures(), ["x", "z", "many"]),
        (lambda ops: ["x", "z", "many"] >> ops.TagAsUserID(), ["x", "z", "many"]),
        (_merlin("AddMetadata", ["t"]), ["x", "z", "many"]),
        (_merlin("AddProperties", {"p": 1}), ["x", "z", "many"]),
        (_merlin("AddTags", ["t"]), ["x", "z", "many"]),
        (_merlin("TagAsItemFeatures"), ["x", "z", "many"]),
        (_merlin("TagAsItemID"), ["x", "z", "many"]),
        (_merlin("TagAsUserFeatures"), ["x", "z", "many"]),
        (_merlin("TagAsUserID"), ["x", "z", "many"]),
        (_merlin("Rename", None, "_b"), ["x_b", "z_b", "many_b"]),
        (lambda ops: ["x", "z", "many"] >> ops.Rename(f=lambda name: f"a {name}"), ["a x", "a z", "a many"]),
        (lambda ops: ["z"] >> ops.Rename(name="x"), ["x"]),
        (lambda ops: (["x", "z"] >> ops.Rename(postfix="_b")) + ["x", "many"], ["x", "many", "x_b", "z_b"]),
        (lambda ops: (["x", "z", "many"] >> ops.AddTags(["t"]))[["many", "x"]], ["many", "x"]),
        (lambda ops: (["x", "z", "many"] >> ops.AddTags(["t"])) - (["z"] >> ops.AddTags(["t"])), ["x", "many"]),
        (lambda ops: [["x", "z"], "many"] >> ops.AddTags(["t"]), ["x", "z", "many"]),
        (lambda ops: (["y"] >> ops.FillMissing()) + [["x", "z"]], ["x", "z", "y"]),
    ],
)
def test_the_columns_are_those_of_nvtabular(graph: Callable[[Any], Any], names: list[str], tmp_path: Path) -> None:
    workflow = fitted(lambda ops, _: graph(ops), MIXED, tmp_path)
    plan = read_plan(workflow)
    assert sorted(plan) == sorted(workflow.output_schema.column_names) == sorted(names)
    answer = compile_polars(plan, MIXED.lazy()).collect()
    check_parity(plan, MIXED, by_nvtabular(workflow, plan, MIXED), answer, ("NVTabular", "Polars"))
    ragged = [name for name, kind in plan.raw.items() if kind.is_list]
    check_parity(
        plan,
        MIXED,
        answer,
        encode_onnx(open_session(compile_onnx(plan, list(plan), "g", ragged=ragged)), MIXED),
        ("Polars", "ONNX"),
    )
    types = {"x": pl.Int64(), "y": pl.Float64(), "z": pl.String(), "many": pl.List(pl.Int64())}
    assert answer.schema == {name: types[plan.sources(name)[0]] for name in plan}
