"""The plan's types, both back ends by themselves, and how a table becomes a request and back: their conventions and their errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cartwheel.core.errors import DataError, NotCompilableError, ParityError, UsageError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.fill import Fill
from workflows.compiler.operators.list_slice import Slice
from workflows.compiler.operators.log import LogPlusOne
from workflows.compiler.operators.normalize import Standardize
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.graph import Node, Plan
from workflows.compiler.plan.onnx_frames import encode_onnx, onnx_feeds, open_session
from workflows.compiler.plan.parity import check_parity, unpadded
from workflows.compiler.plan.types import DTYPES, ColumnType, accepts, from_polars

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
def test_columns_of_other_types_are_refused(change: dict[str, pl.Expr], words: str) -> None:
    session = open_session(compile_onnx(PLAN, list(PLAN), "g", nullable=["day", "items", "name"], ragged=["items"]))
    for encode in (lambda table: compile_polars(PLAN, table.lazy()), lambda table: encode_onnx(session, table)):
        with pytest.raises(DataError, match=words):
            encode(TABLE.with_columns(**change))


@pytest.mark.parametrize(
    ("expected", "taken", "refused"),
    [
        ("int64", ["int8", "uint32", "int64"], ["uint64", "float32", "float64", "bool", "string"]),
        ("int16", ["int8", "uint8"], ["uint16", "int32"]),
        ("uint16", ["uint8"], ["int8", "int16", "uint32"]),
        ("float64", ["int8", "uint64", "int64"], ["float32", "bool", "string"]),
        ("float32", [], ["int8", "float64"]),
        ("string", [], ["int8", "bool"]),
        ("bool", [], ["int8", "uint8"]),
    ],
)
def test_what_is_taken_for_a_column_loses_no_value(expected: str, taken: list[str], refused: list[str]) -> None:
    for is_list in (False, True):
        kind = ColumnType(expected, is_list)
        assert [dtype for dtype in (*taken, *refused) if accepts(kind, ColumnType(dtype, is_list).polars)] == taken
        assert not accepts(kind, ColumnType(expected, not is_list).polars)
        assert accepts(kind, pl.List(pl.Null) if is_list else pl.Null())
    with pytest.raises(NotCompilableError):
        accepts(ColumnType("int64"), pl.Date())


def test_a_plan_of_floats_takes_integers_beside_nulls() -> None:
    """What pandas, and so a workflow that NVTabular fitted, makes of integers beside nulls."""
    kind = ColumnType("float64")
    plan = Plan((Node("n", kind, None, ()), Node("n", kind, Fill(7.0), (0,))), (), {"n": 1})
    session = open_session(compile_onnx(plan, ["n"], "g"))
    for dtype in (pl.Int8, pl.Int64, pl.UInt64):
        table = pl.DataFrame({"n": pl.Series([1, None, 3], dtype=dtype)})
        for encoded in (compile_polars(plan, table.lazy()).collect(), encode_onnx(session, table)):
            assert encoded["n"].to_list() == [1.0, 7.0, 3.0]


@pytest.mark.parametrize("width", [0, 1, 2])
@pytest.mark.parametrize("ragged", [[], ["items"]])
def test_a_list_is_a_list_whatever_its_width(width: int, ragged: list[str]) -> None:
    plan = replace(PLAN, nodes=(*PLAN.nodes, Node("items", INTS, Slice(0, width), (2,))), outputs={"items": 6})
    table = TABLE.with_columns(items=pl.Series([[1, 2], [3, 4], [5, 6]]))
    answer = encode_onnx(open_session(compile_onnx(plan, ["items"], "g", ragged=ragged)), table)
    assert answer.equals(compile_polars(plan, table.lazy()).collect())
    assert answer.schema == {"items": pl.List(pl.Int64)}


def test_a_request_of_one_element_a_list_is_one_of_lists() -> None:
    """A graph whose lists ONNX Runtime finds to be of one element each: they are filled up, or cut, to that."""
    plan = replace(PLAN, nodes=(*PLAN.nodes, Node("items", INTS, Slice(0, 1, 1, 9), (2,))), outputs={"items": 6, "raw": 2})
    table = TABLE.with_columns(items=pl.Series([[1], [2], [3]]))
    answer = encode_onnx(open_session(compile_onnx(plan, ["items", "raw"], "g")), table)
    assert answer.to_dict(as_series=False) == {"items": [[1], [2], [3]], "raw": [[1], [2], [3]]}


def test_a_graph_of_another_maker_is_refused() -> None:
    builder = GraphBuilder("g")
    builder.output(builder.input("x", "float32", ["B", 1]), "y", "float32", ["B", 1])
    with pytest.raises(UsageError, match="Give one that compile_onnx made"):
        encode_onnx(open_session(builder.model()), TABLE)


def test_strings_that_end_in_nul_are_not_cut() -> None:
    kind = ColumnType("string")
    nodes = (Node("name", kind, None, ()), Node("name", kind, Fill("x\0"), (0,)))
    plan = Plan(nodes, (), {"name": 1})
    session = open_session(compile_onnx(plan, ["name"], "g", nullable=["name"]))
    table = pl.DataFrame({"name": ["a\0", None, "\0"]})
    assert encode_onnx(session, table)["name"].to_list() == ["a\0", "x\0", "\0"]
    assert compile_polars(plan, table.lazy()).collect()["name"].to_list() == ["a\0", "x\0", "\0"]


def test_half_of_a_surrogate_pair_is_no_constant() -> None:
    with pytest.raises(NotCompilableError, match="cannot be filled with"):
        Fill("\ud800").result([ColumnType("string")])


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
