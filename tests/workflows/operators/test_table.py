"""What cannot be compiled is refused by name, with its column and what to use instead."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cartwheel.core.errors import NotCompilableError, RunError
from workflows.compiler.operators.step import require_number
from workflows.compiler.operators.table import READERS
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.read import read_plan
from workflows.compiler.plan.types import ColumnType
from workflows.compiler.quiet import quiet_nvtabular

TABLE = pl.DataFrame({"price": [1.0, 2.0, None], "color": ["red", "blue", "red"], "day": [1, 2, 3]})


def workflow(graph: Callable[[Any], Any], *, fit: bool = True) -> Any:
    with quiet_nvtabular():
        from merlin.io import Dataset
        from nvtabular import Workflow, ops

        made = Workflow(graph(ops))
        return made.fit(Dataset(TABLE.to_pandas())) if fit else made


def refused(graph: Callable[[Any], Any]) -> str:
    with pytest.raises(NotCompilableError) as caught:
        read_plan(workflow(graph))
    assert caught.value.fix
    return str(caught.value)


def test_a_lambda_is_refused_by_name_and_column() -> None:
    message = refused(lambda ops: ["price"] >> ops.LambdaOp(lambda column: column * 2))
    assert "'price'" in message
    assert "LambdaOp" in message
    assert "use workflows.compiler.column_arithmetic.Arithmetic for arithmetic" in message
    assert "when the examples are made" in message


def test_a_lambda_in_the_middle_of_a_chain_is_refused() -> None:
    message = refused(lambda ops: ["price"] >> ops.FillMissing() >> ops.LambdaOp(lambda column: column) >> ops.LogOp())
    assert "LambdaOp" in message


def test_an_unlisted_operator_is_refused_with_what_is_listed() -> None:
    def graph(ops: Any) -> Any:
        class Unheard(ops.Operator):
            pass

        return ["price"] >> Unheard()

    message = refused(graph)
    assert "Unheard" in message
    for listed in ("Arithmetic", "Bucketize", "Categorify", "LogOp", "NormalizeMinMax", "ReduceDtypeSize"):
        assert listed in message


def test_a_subclass_that_transforms_by_itself_is_another_operator() -> None:
    def graph(ops: Any) -> Any:
        class Doubled(ops.LogOp):
            def transform(self, col_selector: Any, df: Any) -> Any:
                return super().transform(col_selector, df) * 2

        return ["price"] >> Doubled()

    assert "Doubled" in refused(graph)


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (lambda ops: ["color"] >> ops.FillMissing(fill_val=0), "of type string cannot be filled with 0"),
        (lambda ops: ["price"] >> ops.Normalize(out_dtype="float16"), "gives float16"),
    ],
)
def test_an_option_without_an_onnx_form_is_refused(
    graph: Callable[[Any], Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "OUT", str(tmp_path))
    assert words in refused(graph)


OUT = ""


def test_strings_are_refused_where_numbers_belong() -> None:
    with pytest.raises(NotCompilableError, match="LogOp is applied to strings"):
        require_number([ColumnType("string")], "LogOp")


def test_a_fractional_bound_on_integers_is_refused() -> None:
    with pytest.raises(NotCompilableError, match="whole number"):
        read_plan(workflow(lambda ops: ["day"] >> ops.Clip(min_value=0.5)))


def test_a_column_that_the_workflow_does_not_make_is_named() -> None:
    plan = read_plan(workflow(lambda ops: ["price"] >> ops.LogOp()))
    with pytest.raises(NotCompilableError, match=r"makes no column 'prize'; it makes \['price'\]"):
        compile_onnx(plan, ["prize"], "g")


def test_an_unfitted_workflow_is_refused() -> None:
    with pytest.raises(RunError, match="not fitted"):
        read_plan(workflow(lambda ops: ["price"] >> ops.LogOp(), fit=False))


@pytest.mark.parametrize("name", ["FillMedian", "Normalize", "Categorify"])
def test_a_cleared_operator_is_refused(name: str, tmp_path: Path) -> None:
    made = workflow(lambda ops: ["day"] >> getattr(ops, name)(**({"out_path": str(tmp_path)} if name == "Categorify" else {})))
    made.clear_stats()
    with pytest.raises(RunError, match=f"its {name} is not fitted"):
        read_plan(made)


def test_every_listed_class_exists() -> None:
    with quiet_nvtabular():
        import importlib

        for name in READERS:
            module, kind = name.rsplit(".", 1)
            assert hasattr(importlib.import_module(module), kind), name
