"""The plan's types, both back ends by themselves, and how a table becomes a request and back: their conventions and their errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cartwheel.errors import DataError, NotCompilableError, ParityError
from workflows.operators.fill import Fill
from workflows.operators.log import LogPlusOne
from workflows.operators.normalize import Standardize
from workflows.plan.compile_onnx import compile_onnx
from workflows.plan.compile_polars import compile_polars
from workflows.plan.graph import Node, Plan
from workflows.plan.onnx_frames import encode_onnx, onnx_feeds, open_session
from workflows.plan.parity import check_parity, unpadded
from workflows.plan.types import DTYPES, ColumnType, from_polars

FLOAT = ColumnType("float32")
INTS = ColumnType("int64", is_list=True)
PLAN = Plan(
    (
        Node("price", FLOAT, None, ()),
        Node("day", ColumnType("int64"), None, ()),
        Node("items", INTS, None, ()),
        Node("name", ColumnType("string"), None, ()),
        Node("log", FLOAT, LogPlusOne(), (0,)),
        Node("day", ColumnType("int64"), Fill(7), (1,)),
    ),
    (),
    {"log": 4, "day": 5, "items": 2, "name": 3},
)
TABLE = pl.DataFrame(
    {"price": [0.0, None, 3.0], "day": [1, None, 3], "items": [[1, None], [], [2]], "name": ["a", None, ""]},
    schema={"price": pl.Float32, "day": pl.Int64, "items": pl.List(pl.Int64), "name": pl.String},
)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_type_is_one_in_onnx_numpy_and_polars(dtype: str) -> None:
    for kind in (ColumnType(dtype), ColumnType(dtype, is_list=True)):
        assert from_polars(kind.polars) == kind
        assert str(kind) == (f"list[{dtype}]" if kind.is_list else dtype)
        assert kind.of("bool").is_list == kind.is_list
        assert kind.is_number == (kind.is_float or kind.is_integer) == (dtype not in ("string", "bool"))
    if dtype != "string":
        assert pl.Series(np.zeros(1, ColumnType(dtype).numpy)).dtype == ColumnType(dtype).polars


def test_what_has_no_type_in_a_plan_is_refused() -> None:
    assert from_polars(pl.Categorical()) == from_polars(pl.Enum(["a"])) == ColumnType("string")
    assert from_polars(pl.Array(pl.Int8, 2)) == ColumnType("int8", is_list=True)
    with pytest.raises(NotCompilableError, match="'float16' has no place"):
        ColumnType("float16")
    with pytest.raises(NotCompilableError, match="Date has no place"):
        from_polars(pl.Date())
    with pytest.raises(NotCompilableError, match="Flatten lists of lists"):
        from_polars(pl.List(pl.List(pl.Int8)))


def test_a_plan_knows_what_a_column_needs() -> None:
    assert PLAN.sources("log") == ("price",)
    assert PLAN.steps("day") == (Fill(7),)
    assert PLAN.steps("items") == ()
    assert PLAN.raw == {"price": FLOAT, "day": ColumnType("int64"), "items": INTS, "name": ColumnType("string")}
    assert "log" in PLAN
    assert "price" not in PLAN


def test_polars_makes_the_columns_asked_for_and_keeps_others_as_they_are() -> None:
    table = compile_polars(PLAN, TABLE.lazy(), ["day", "log"], keep=["name", "price"]).collect()
    assert table.columns == ["day", "log", "name", "price"]
    assert table["day"].to_list() == [1, 7, 3]
    assert table["log"].null_count() == 1
    assert table.select("name", "price").equals(TABLE.select("name", "price"))


def test_polars_takes_narrower_integers_nulls_without_a_type_and_missing_lists() -> None:
    narrow = TABLE.with_columns(pl.col("day").cast(pl.Int8), name=pl.lit(None), items=pl.lit(None, pl.List(pl.Int64)))
    table = compile_polars(PLAN, narrow.lazy()).collect()
    assert table["day"].to_list() == [1, 7, 3]
    assert table["name"].to_list() == [None] * 3
    assert table["items"].to_list() == [[]] * 3
    assert table.schema == {name: PLAN.type(name).polars for name in PLAN}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"day": pl.lit(1.0)}, "Column 'day' is Float64, expected int64"),
        ({"day": pl.lit(1, pl.UInt64)}, "Column 'day' is UInt64, expected int64"),
        ({"price": pl.lit(1.0, pl.Float64)}, "Column 'price' is Float64, expected float32"),
        ({"items": pl.lit(1)}, "Column 'items' is Int32, expected list"),
    ],
)
def test_polars_refuses_columns_of_other_types(change: dict[str, pl.Expr], words: str) -> None:
    with pytest.raises(DataError, match=words):
        compile_polars(PLAN, TABLE.with_columns(**change).lazy())


def test_polars_refuses_tables_without_the_columns_and_names_that_clash() -> None:
    with pytest.raises(DataError, match="no column 'price'"):
        compile_polars(PLAN, TABLE.drop("price").lazy(), ["log"])
    with pytest.raises(DataError, match=r"\['day'\] are to be kept as they are and to be encoded"):
        compile_polars(PLAN, TABLE.lazy(), keep=["day"])
    with pytest.raises(NotCompilableError, match="makes no column 'price'"):
        compile_polars(PLAN, TABLE.lazy(), ["price"])


def test_a_request_says_what_is_missing_and_how_long_lists_are() -> None:
    model = compile_onnx(PLAN, list(PLAN), "g", nullable=["day", "items", "name", "price"], ragged=["items"])
    inputs = [value.name for value in model.graph.input]
    assert sorted(inputs) == sorted(
        ["price", "day", "day__missing", "items", "items__missing", "items__lengths", "name", "name__missing"]
    )
    outputs = [value.name for value in model.graph.output]
    assert "items__encoded__lengths" in outputs
    assert "name__encoded__missing" in outputs
    assert "day__encoded__missing" not in outputs
    session = open_session(model)
    assert encode_onnx(session, TABLE).equals(compile_polars(PLAN, TABLE.lazy()).collect())
    required = {name: value for name, value in onnx_feeds(session, TABLE).items() if "__" not in name}
    answers = session.run(["day__encoded", "items__encoded__lengths", "name__encoded__missing"], required)
    assert [answer.ravel().tolist() for answer in answers] == [[1, 0, 3], [2, 2, 2], [False] * 3]


def test_what_lies_beyond_a_list_comes_out_as_nothing() -> None:
    session = open_session(compile_onnx(PLAN, ["items"], "g", ragged=["items"]))
    feeds = {"items": np.array([[5, 9], [6, 9]]), "items__lengths": np.array([[2], [1]])}
    assert session.run(["items__encoded"], feeds)[0].tolist() == [[5, 9], [6, 0]]


def test_a_graph_takes_no_more_than_it_was_compiled_for() -> None:
    session = open_session(compile_onnx(PLAN, ["day", "items"], "g"))
    with pytest.raises(DataError, match=r"'day' has nulls.*Compile it with nullable"):
        encode_onnx(session, TABLE)
    with pytest.raises(DataError, match=r"'items' has lists of unequal length.*ragged"):
        encode_onnx(session, TABLE.with_columns(day=pl.lit(1, pl.Int64), items=pl.col("items").list.drop_nulls()))


def test_a_step_without_an_onnx_form_names_its_column() -> None:
    class OnTablesOnly(LogPlusOne):
        def onnx(self, builder, values):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            raise NotCompilableError("It works on tables.", "Use another.")

    nodes = (*PLAN.nodes[:4], replace(PLAN.nodes[4], step=OnTablesOnly()), PLAN.nodes[5])
    with pytest.raises(NotCompilableError, match="Feature column 'log': It works on tables"):
        compile_onnx(replace(PLAN, nodes=nodes), ["log"], "g")


WHOLE = compile_polars(PLAN, TABLE.lazy()).collect()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (pl.col("log") + 1e-5, r"'log', row 0: A gives 0.0, B .* for price=0.0"),
        (pl.col("log").fill_null(1.0), "'log', row 1: A gives None, B 1.0 for price=None"),
        (pl.col("day") + 1, "'day', row 0: A gives 1, B 2"),
        (pl.col("name").fill_null(""), "'name', row 1"),
        (pl.col("items").list.head(1), r"'items', row 0: A gives \[1, None\], B \[1\]"),
        (pl.col("items").list.eval(pl.element().fill_null(0)), "'items', row 0"),
        (pl.col("log").cast(pl.Float64), "A gives 3 rows of Float32, B 3 of Float64"),
    ],
)
def test_parity_tells_where_two_differ(change: pl.Expr, words: str) -> None:
    with pytest.raises(ParityError, match=words):
        check_parity(PLAN, TABLE, WHOLE, WHOLE.with_columns(change), ("A", "B"))


def test_parity_leaves_out_what_rounding_does() -> None:
    check_parity(PLAN, TABLE, WHOLE, WHOLE.with_columns(pl.col("log") + 5e-7), ("A", "B"))
    with pytest.raises(ParityError, match="A gives 3 rows of Float32, B 2"):
        check_parity(PLAN, TABLE, WHOLE, WHOLE[:2], ("A", "B"))
    large = replace(PLAN, nodes=(*PLAN.nodes[:4], replace(PLAN.nodes[4], step=Standardize(1e4, 1.0, "float32")), PLAN.nodes[5]))
    check_parity(large, TABLE, WHOLE, WHOLE.with_columns(pl.col("log") + 1e-3), ("A", "B"))
    infinite = pl.DataFrame({"log": [np.inf, -np.inf]}, schema={"log": pl.Float32})
    check_parity(PLAN, TABLE, infinite, infinite, ("A", "B"))
    with pytest.raises(ParityError, match="row 0"):
        check_parity(PLAN, TABLE, infinite, infinite.select(-pl.col("log")), ("A", "B"))


def test_only_padding_is_cut() -> None:
    expected = pl.DataFrame({"x": [[1], [2, 3]]})
    assert unpadded(pl.DataFrame({"x": [[1, 0], [2, 3]]}), expected).equals(expected)
    wrong = pl.DataFrame({"x": [[1, 4], [2, 3]]})
    assert unpadded(wrong, expected).equals(wrong)
