"""What arithmetic makes is the same to the last bit in every executor, for a bucket or a hash of it makes a whole step of one bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from operator_conformance import by_nvtabular

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.column_arithmetic import Arithmetic
from workflows.compiler.fit import fit_workflow
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.read import read_plan
from workflows.compiler.quiet import quiet_nvtabular

ROWS = pl.DataFrame(
    {
        "x": [number / 100 for number in range(0, 7070, 70)],
        "f": pl.Series(np.random.default_rng(0).random(101) * 7, dtype=pl.Float32),
        "i": pl.Series(range(101), dtype=pl.UInt8),
        "zero": [0.0, -0.0, *[1.0] * 99],
    }
)
GRID = [number / 100 for number in range(101)]

ARITHMETIC: dict[str, Callable[[Any], Any]] = {
    "Normalize": lambda ops: ops.Normalize(),
    "Normalize to float32": lambda ops: ops.Normalize(out_dtype="float32"),
    "NormalizeMinMax": lambda ops: ops.NormalizeMinMax(),
    "twice": lambda ops: ops.NormalizeMinMax(),
}
NUMBERS = ["x", "f", "i"]


@pytest.mark.parametrize("name", ARITHMETIC)
def test_scaled_numbers_lie_in_the_same_buckets(tmp_path: Path, name: str) -> None:
    def graph(ops: Any, folder: str) -> Any:
        scaled = NUMBERS >> ARITHMETIC[name](ops)
        scaled = scaled >> ops.Normalize() if name == "twice" else scaled
        return scaled >> ops.Bucketize(GRID)

    workflow, (table, request) = encoded(graph, tmp_path)
    theirs = by_nvtabular(workflow, read_plan(workflow), ROWS)
    assert table.equals(request)
    assert table.equals(theirs)


@pytest.mark.parametrize("name", ARITHMETIC)
def test_scaled_numbers_have_the_same_hash(tmp_path: Path, name: str) -> None:
    """NVTabular mixes the row's place into a hash, so it is asked row by row."""

    def graph(ops: Any, folder: str) -> Any:
        scaled = [*NUMBERS, "zero"] >> ARITHMETIC[name](ops)
        scaled = scaled >> ops.Normalize() if name == "twice" else scaled
        return scaled >> ops.HashBucket(2**20)

    workflow, (table, request) = encoded(graph, tmp_path)
    plan = read_plan(workflow)
    assert table.equals(request)
    for row in range(0, ROWS.height, 9):
        assert table[row].equals(by_nvtabular(workflow, plan, ROWS[row]))


@pytest.mark.parametrize("operation", ["add", "subtract", "multiply", "divide", "absolute_difference"])
@pytest.mark.parametrize("constant", [0.0, 0.1, -7.7])
def test_what_is_computed_with_a_constant_has_the_same_hash(tmp_path: Path, operation: str, constant: float) -> None:
    def graph(ops: Any, folder: str) -> Any:
        sides = {"x": ("x", constant), "f": (constant, "f"), "zero": ("zero", constant)}
        nodes = [[name] >> Arithmetic(operation, *sides[name], name=f"{name}_made") for name in sides]
        return (nodes[0] + nodes[1] + nodes[2]) >> ops.HashBucket(2**20)

    workflow, (table, request) = encoded(graph, tmp_path)
    plan = read_plan(workflow)
    assert table.equals(request)
    for row in range(2, ROWS.height, 24):
        assert table[row].equals(by_nvtabular(workflow, plan, ROWS[row]))


def test_a_nan_that_arithmetic_made_has_the_hash_of_what_is_missing(tmp_path: Path) -> None:
    """NVTabular hashes its bits, of which processors set the sign or not."""

    def graph(ops: Any, folder: str) -> Any:
        return ["zero"] >> Arithmetic("divide", "zero", 0.0, name="made") >> ops.HashBucket(2**20)

    _, (table, request) = encoded(graph, tmp_path)
    plain, _ = encoded(lambda ops, folder: ["x"] >> ops.HashBucket(2**20), tmp_path)
    missing = compile_polars(read_plan(plain), pl.LazyFrame({"x": [None]}, schema={"x": pl.Float64})).collect()["x"][0]
    assert table["made"][:2].to_list() == request["made"][:2].to_list() == [missing, missing]


@pytest.mark.parametrize("behind", ["HashBucket", "HashedCross", "Normalize, then HashBucket"])
def test_the_hash_of_a_logarithm_is_refused(tmp_path: Path, behind: str) -> None:
    """NumPy's float32 logarithm has another last bit on other processors, so no request could be sure to meet the bucket of training."""

    def graph(ops: Any, folder: str) -> Any:
        node = ["x"] >> ops.LogOp()
        if behind == "HashedCross":
            return (node + (["i"] >> ops.Clip(0))) >> ops.HashedCross(100)
        return (node >> ops.Normalize() if "Normalize" in behind else node) >> ops.HashBucket(100)

    with pytest.raises(NotCompilableError, match="is the hash of 'x', which comes after a logarithm"):
        encoded(graph, tmp_path)


def test_a_bucket_of_a_logarithm_may_be_hashed(tmp_path: Path) -> None:
    _, (table, request) = encoded(
        lambda ops, folder: ["x"] >> ops.LogOp() >> ops.Bucketize([1, 2, 3]) >> ops.HashBucket(50), tmp_path
    )
    assert table.equals(request)


def test_a_logarithm_at_a_boundary_is_the_one_correctly_rounded(tmp_path: Path) -> None:
    """Each row is at a boundary of its own, where NVTabular may be one off: NumPy's float32 logarithm is not correctly rounded."""
    with np.errstate(all="ignore"):
        shifted = ROWS["f"].to_numpy() + np.float32(1)
        right = np.log(shifted.astype(np.float64)).astype(np.float32)
    boundaries = sorted(set(right.tolist()))
    workflow, (table, request) = encoded(lambda ops, folder: ["f"] >> ops.LogOp() >> ops.Bucketize(boundaries), tmp_path)
    expected = np.searchsorted(boundaries, right.astype(np.float64), side="right")
    assert table["f"].to_list() == request["f"].to_list() == expected.tolist()
    theirs = by_nvtabular(workflow, read_plan(workflow), ROWS)["f"].to_numpy()
    assert np.abs(theirs - expected).max() <= 1
    assert (theirs == expected)[np.log(shifted) == right].all()


def encoded(graph: Callable[[Any, str], Any], folder: Path) -> tuple[Any, tuple[pl.DataFrame, pl.DataFrame]]:
    """Fit by Polars, and return the workflow with what Polars and ONNX make of the rows."""
    with quiet_nvtabular():
        from nvtabular import Workflow, ops

        workflow = fit_workflow(Workflow(graph(ops, str(folder))), ROWS, folder)
    plan = read_plan(workflow)
    session = open_session(compile_onnx(plan, list(plan), "graph"))
    return workflow, (compile_polars(plan, ROWS.lazy()).collect(), encode_onnx(session, ROWS))
