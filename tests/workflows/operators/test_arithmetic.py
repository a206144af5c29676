"""``Arithmetic`` as NVTabular runs it: what it computes, and what it refuses. Its compiled form is compared in ``test_numeric``."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from cartwheel.core.errors import DataError, NotCompilableError, UsageError
from workflows.compiler.operators.arithmetic import Combine
from workflows.compiler.plan.types import ColumnType
from workflows.compiler.quiet import quiet_nvtabular

INF, NAN = float("inf"), float("nan")
LEFT = [6.0, -1.0, 0.0, NAN, INF, NAN]
RIGHT = [3.0, 0.0, 0.0, 2.0, INF, NAN]


def made(*arguments: Any, frame: pl.DataFrame | None = None, **options: Any) -> Any:
    """Return the schema of the column ``result`` and its values, as a fitted workflow makes them."""
    table = pl.DataFrame({"a": LEFT, "b": RIGHT}) if frame is None else frame
    with quiet_nvtabular():
        from merlin.io import Dataset
        from nvtabular import Workflow

        from workflows.compiler.column_arithmetic import Arithmetic

        operator = Arithmetic(*arguments, name="result", **options)
        workflow = Workflow(operator.columns >> operator).fit(Dataset(table.to_pandas()))
        return workflow.output_schema["result"], workflow.transform(table.to_pandas())["result"].tolist()


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("add", [9.0, -1.0, 0.0, NAN, INF, NAN]),
        ("subtract", [3.0, -1.0, 0.0, NAN, NAN, NAN]),
        ("multiply", [18.0, 0.0, 0.0, NAN, INF, NAN]),
        ("divide", [2.0, -INF, NAN, NAN, NAN, NAN]),
        ("minimum", [3.0, -1.0, 0.0, NAN, INF, NAN]),
        ("maximum", [6.0, 0.0, 0.0, NAN, INF, NAN]),
        ("absolute_difference", [3.0, 1.0, 0.0, NAN, NAN, NAN]),
    ],
)
def test_the_arithmetic_is_that_of_ieee(operation: str, expected: list[float]) -> None:
    schema, values = made(operation, "a", "b")
    np.testing.assert_array_equal(values, expected)
    assert schema.dtype.name == "float64"
    assert [tag.value for tag in schema.tags] == ["continuous"]


def test_a_constant_stands_on_either_side() -> None:
    assert made("subtract", 1, "b")[1][:2] == [-2.0, 1.0]
    schema, values = made("subtract", "b", 1, dtype="float32")
    assert values[:2] == [2.0, -1.0]
    assert schema.dtype.name == "float32"


def test_integers_do_not_wrap_around() -> None:
    frame = pl.DataFrame({"a": [100, 3], "b": [100, 5]}, schema={"a": pl.Int8, "b": pl.UInt8})
    assert made("add", "a", "b", frame=frame)[1] == [200.0, 8.0]
    assert made("subtract", "b", "a", frame=frame)[1] == [0.0, 2.0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("power", "a", "b", "c"), "operation 'power'. Use one of add, subtract"),
        (("add", 1, 2.5, "c"), "given two constants, 1 and 2.5"),
        (("add", "a", "b", "c", "int64"), "cannot give 'int64'"),
    ],
)
def test_an_argument_that_means_nothing_is_refused(arguments: tuple[Any, ...], words: str) -> None:
    from workflows.compiler.column_arithmetic import Arithmetic

    with pytest.raises(UsageError, match=words):
        Arithmetic(*arguments)


def test_columns_that_it_does_not_compute_with_are_refused() -> None:
    from nvtabular import ColumnSelector

    from workflows.compiler.column_arithmetic import Arithmetic

    operator = Arithmetic("add", "a", "b", "c")
    with pytest.raises(UsageError, match=r"'c' computes with \['a', 'b'\] and is applied to \['a', 'z'\]"):
        operator.column_mapping(ColumnSelector(["a", "z"]))


def test_lists_are_combined_with_constants_only() -> None:
    from nvtabular import ColumnSelector

    from workflows.compiler.column_arithmetic import Arithmetic

    frame = pl.DataFrame({"a": [[1.0], [2.0]]}).to_pandas()
    with pytest.raises(DataError, match=r"combines the lists \['a'\] with a column"):
        Arithmetic("add", "a", "a", "c").transform(ColumnSelector(["a"]), frame)
    lists, step = ColumnType("float64", is_list=True), Combine("add", None, None, "float64")
    with pytest.raises(NotCompilableError, match=r"applied to list\[float64\] and float64"):
        step.result([lists, ColumnType("float64")])


def test_a_constant_that_is_subtracted_sets_the_scale_of_what_is_left() -> None:
    assert Combine("subtract", None, -1e6, "float64").offset == 1e6
    assert Combine("divide", None, 1e6, "float64").offset == 0
    assert Combine("add", None, INF, "float64").offset == 0
