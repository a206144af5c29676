"""``cartwheel compile``: what has an exact form compiles, and what has none is left out by name alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from typer.testing import CliRunner

import cartwheel
from cartwheel.cli.main import app
from cartwheel.core.errors import NotCompilableError, ParityError, UsageError
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.quiet import quiet_nvtabular

TABLE = pd.DataFrame(
    {
        "item": ["a", "b", "a", "c", "b", "a"],
        "price": np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0], np.float32),
        "rating": np.array([1, 5, 4, 2, 3, 5]),
        "when": pd.to_datetime(["2024-01-01"] * 6),
    }
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workflow as a user writes it: a label by a Python function, a subclass of their own, a datetime that is carried along."""
    folder = tmp_path_factory.mktemp("saved")
    with quiet_nvtabular():
        import nvtabular as nvt
        from merlin.io import Dataset
        from nvtabular import ops

        graph = ["item"] >> ops.Categorify(out_path=str(folder))
        graph += ["price"] >> ops.LogOp() >> ops.Normalize()
        graph += ["item"] >> ops.JoinGroupby(cont_cols=["price"], stats=["mean"], out_path=str(folder))
        graph += ["rating"] >> ops.LambdaOp(lambda column: (column > 3).astype("int64")) >> ops.Rename(postfix="_high")
        graph += ["when"] >> ops.Rename(postfix="_seen")
        nvt.Workflow(graph).fit(Dataset(TABLE)).save(str(folder / "workflow"))
    return folder / "workflow"


RAW = pl.DataFrame(
    {"item": ["c", "a", "z"], "price": [3.0, 5.0, 7.0], "rating": [4, 3, 5]}, schema_overrides={"price": pl.Float32}
)


def test_every_column_without_an_exact_form_is_named_at_once(saved: Path) -> None:
    with pytest.raises(NotCompilableError) as error:
        cartwheel.compile_workflow(saved)
    assert "LambdaOp" in error.value.found
    assert "'when' is of type datetime64" in error.value.found
    assert "--except rating_high --except when_seen" in error.value.fix


def test_the_rest_compiles_and_equals_nvtabular(saved: Path) -> None:
    compiled = cartwheel.compile_workflow(saved, leave_out=["rating_high", "when_seen"])
    assert list(compiled.columns) == ["item", "price", "item_price_mean"]
    assert list(compiled.left_out) == ["rating_high", "when_seen"]
    with quiet_nvtabular():
        import nvtabular as nvt

        table = RAW.to_pandas().assign(when=pd.Timestamp("2024-01-01"))
        expected = nvt.Workflow.load(str(saved)).transform(table)
    tables = compiled.transform(RAW)
    requests = encode_onnx(open_session(compiled.onnx()), RAW)
    for found in (tables, requests):
        assert found["item"].to_list() == expected["item"].tolist()
        for name in ("price", "item_price_mean"):
            np.testing.assert_allclose(found[name].to_numpy(), expected[name].to_numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    "given", ["CAST(rating > 3 AS BIGINT)", pl.when(pl.col("rating") > 3).then(1).otherwise(0).cast(pl.Int64)]
)
def test_an_expression_stands_for_a_function_that_it_equals(saved: Path, given: Any) -> None:
    compiled = cartwheel.compile_workflow(saved, leave_out=["when_seen"], lambdas={"rating": given})
    assert compiled.transform(RAW)["rating_high"].to_list() == [1, 0, 1]
    assert encode_onnx(open_session(compiled.onnx()), RAW)["rating_high"].to_list() == [1, 0, 1]


def test_an_expression_that_gives_otherwise_is_refused_with_the_row(saved: Path) -> None:
    with pytest.raises(ParityError, match=r"gives 1 for rating=3, and its Python function 0"):
        cartwheel.compile_workflow(saved, leave_out=["when_seen"], lambdas={"rating": "CAST(rating >= 3 AS BIGINT)"})
    with pytest.raises(UsageError, match="No LambdaOp makes a column 'item'"):
        cartwheel.compile_workflow(saved, lambdas={"item": "1"})
    with pytest.raises(UsageError, match="is not valid SQL"):
        cartwheel.compile_workflow(saved, lambdas={"rating": "rating >"})


def test_a_column_that_is_not_there_cannot_be_left_out(saved: Path) -> None:
    with pytest.raises(UsageError, match=r"makes no columns \['label'\]"):
        cartwheel.compile_workflow(saved, leave_out=["label"])


def test_the_command_warns_of_the_pickle_first_and_writes_what_compiles(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "compiled"
    options = ["--except", "when_seen", "--lambda", "rating=CAST(rating > 3 AS BIGINT)"]
    done = CliRunner().invoke(app, ["compile", str(saved), "--out", str(out), *options])
    assert done.exit_code == 0, done.output
    assert "is a Python pickle" in done.output.splitlines()[0]
    told = json.loads((out / "columns.json").read_text())
    assert told["encoded"] == {"item": "int64", "price": "float64", "item_price_mean": "float32", "rating_high": "int64"}
    assert list(told["left_out"]) == ["when_seen"]
    assert encode_onnx(open_session_of(out / "features.onnx"), RAW)["item"].to_list()[2] == 2


def open_session_of(path: Path) -> Any:
    import onnx

    return open_session(onnx.load(path))


def subclassed(**methods: Callable[..., Any]) -> Any:
    with quiet_nvtabular():
        import nvtabular as nvt
        from merlin.io import Dataset
        from nvtabular import ops

        kind = type("Ours", (ops.LogOp,), methods)
        return nvt.Workflow(["price"] >> kind()).fit(Dataset(TABLE))


def test_a_subclass_that_changes_no_value_counts_as_what_it_extends() -> None:
    workflow = subclassed(output_tags=property(lambda self: []), describe=lambda self: "ours")
    compiled = cartwheel.compile_workflow(workflow)
    np.testing.assert_allclose(compiled.transform(RAW)["price"].to_numpy(), np.log1p([3, 5, 7]), rtol=1e-6)


def test_a_subclass_that_transforms_by_itself_is_another_operator() -> None:
    with pytest.raises(NotCompilableError, match="Ours"):
        cartwheel.compile_workflow(subclassed(transform=lambda self, selector, table: table * 2))
