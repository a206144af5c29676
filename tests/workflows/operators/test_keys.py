"""The places of keys, in both back ends, against a dictionary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from operator_conformance import FLOAT64, INT64, TEXT, WORDS

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.operators.keys import Keys
from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.graph import Node, Plan
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.types import from_polars

ENDS = [-(2**63), 2**63 - 1, 0, 2**53 + 1, -7]
DENSE = [3, 1, 2, 9, -4]


class Both:
    """Keys in both back ends, which must agree.

    Args:
        keys: the keys.
        types: the types of the columns that are looked up.
    """

    def __init__(self, keys: Keys, types: Sequence[Any]) -> None:
        kinds = list(map(from_polars, types))
        raw = [Node(f"x{place}", kind, None, ()) for place, kind in enumerate(kinds)]
        self._plan = Plan((*raw, Node("place", keys.result(kinds), keys, tuple(range(len(raw))))), (), {"place": len(raw)})
        self._schema = {node.name: node.type.polars for node in raw}
        self._session = open_session(
            compile_onnx(self._plan, ["place"], "keys", nullable=list(self._schema), ragged=list(self._schema))
        )

    def places(self, rows: Sequence[tuple[Any, ...]], *, streaming: bool = False) -> list[Any]:
        frame = pl.DataFrame(rows, schema=self._schema, orient="row")
        table = compile_polars(self._plan, frame.lazy()).collect(engine="streaming" if streaming else "in-memory")
        assert encode_onnx(self._session, frame).equals(table)
        return table["place"].to_list()


def same(value: Any) -> Any:
    """A value as a dictionary should see it: NaN as None, and no float equal to an integer that it only rounds to."""
    if isinstance(value, tuple):
        return tuple(map(same, value))
    return None if isinstance(value, float) and math.isnan(value) else value


def expected(keys: Sequence[Any], values: Sequence[Any]) -> list[int]:
    known = {same(key): place for place, key in enumerate(keys)}
    return [known.get(same(value), -1) for value in values]


KINDS = [
    pytest.param(WORDS, pl.String, st.one_of(TEXT, st.none()), id="strings"),
    pytest.param(["b", None, "", "a"], pl.String, st.one_of(TEXT, st.none()), id="strings and null"),
    pytest.param(ENDS, pl.Int64, st.one_of(INT64, st.sampled_from(ENDS), st.none()), id="ends"),
    pytest.param([*ENDS[:2], None, *ENDS[2:]], pl.Int64, st.one_of(st.sampled_from(ENDS), st.none()), id="ends and null"),
    pytest.param(DENSE, pl.Int64, st.one_of(st.integers(-9, 12), INT64, st.none()), id="dense"),
    pytest.param([4, None, *DENSE], pl.Int8, st.one_of(st.integers(-128, 127), st.none()), id="dense and null"),
    pytest.param(
        DENSE[:4], pl.UInt64, st.one_of(st.integers(0, 2**64 - 1), st.integers(2**64 - 9, 2**64 - 1), st.none()), id="unsigned"
    ),
    pytest.param(
        [*ENDS[:3], None], pl.Float64, st.one_of(FLOAT64, st.sampled_from([0.0, -0.0, 2.0**63, -(2.0**63)])), id="floats"
    ),
    pytest.param([*DENSE, None], pl.Float32, st.one_of(st.sampled_from([3.0, 1.5, math.nan]), st.none()), id="floats, dense"),
    pytest.param([1, None], pl.Boolean, st.one_of(st.booleans(), st.none()), id="booleans"),
    pytest.param([], pl.String, st.one_of(TEXT, st.none()), id="no strings"),
    pytest.param([None], pl.Int64, st.one_of(INT64, st.none()), id="null alone"),
    pytest.param([], pl.Float32, st.sampled_from([1.0, math.nan]), id="no floats"),
]


@pytest.mark.parametrize(("keys", "dtype", "values"), KINDS)
@pytest.mark.parametrize("lists", [False, True])
def test_a_key_of_one_column_is_found_where_it_stands(
    keys: list[Any], dtype: Any, values: st.SearchStrategy[Any], lists: bool
) -> None:
    both = Both(
        Keys((pl.Series(keys, dtype=pl.String if dtype == pl.String else pl.Int64),)), [pl.List(dtype) if lists else dtype]
    )

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.lists(values, max_size=4) if lists else values, max_size=8))
    def law(rows: list[Any]) -> None:
        assert both.places([(row,) for row in rows]) == ([expected(keys, row) for row in rows] if lists else expected(keys, rows))

    law()


TUPLES = [("a", 1, 0), ("b", 1, 5), ("a", 2, 0), (None, 1, 5), ("", None, None), (None, None, None), ("b", 2**60, 2**60)]


@pytest.mark.parametrize("width", [2, 3])
def test_a_key_of_several_columns_is_found_where_it_stands(width: int) -> None:
    keys = list(dict.fromkeys(key[:width] for key in TUPLES))
    parts = [list(dict.fromkeys(part)) for part in zip(*keys, strict=True)]
    schema = {"x": pl.String, "y": pl.Int64, "z": pl.Int64}
    step = Keys(tuple(pl.DataFrame(TUPLES, schema=schema, orient="row")[:, :width].unique(maintain_order=True).get_columns()))
    both = Both(step, list(schema.values())[:width])
    row = st.one_of(
        st.sampled_from(keys),
        st.tuples(*[st.sampled_from([*part, new]) for part, new in zip(parts, ["new", 77, 78][:width], strict=True)]),
    )

    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(row, max_size=8))
    def law(rows: list[Any]) -> None:
        assert both.places(rows) == expected(keys, rows)

    law()
    assert both.places(keys, streaming=True) == list(range(len(keys)))


def test_numbers_of_one_s_own_choice() -> None:
    step = Keys((pl.Series(["a", None, "b"]), pl.Series([1, 1, 2])))
    frame = pl.DataFrame({"x": ["b", None, "new"], "y": [2, 1, 1]})
    number = step.polars([pl.col("x"), pl.col("y")], [from_polars(dtype) for dtype in frame.schema.values()], first=3, unknown=2)
    assert frame.select(number).to_series().to_list() == [5, 4, 2]


def test_no_row_and_no_key() -> None:
    both = Both(Keys((pl.Series([], dtype=pl.Null), pl.Series([], dtype=pl.Int64))), [pl.String, pl.Int64])
    assert both.places([("a", 1), (None, 2)]) == [-1, -1]
    assert both.places([]) == []


def test_streaming_gives_the_same() -> None:
    for keys, values in ((DENSE, [-4, 2, 7]), (ENDS, [0, 2**63 - 1, 5]), (WORDS, ["a", "日本", "new"])):
        both = Both(Keys((pl.Series(keys),)), [pl.Series(keys).dtype])
        rows = [(value,) for value in values] * 3
        assert both.places(rows, streaming=True) == both.places(rows) == expected(keys, values) * 3


def test_equality_is_that_of_the_keys() -> None:
    step = Keys((pl.Series("name", [1.0, float("nan")]),))
    assert step == Keys((pl.Series("other", [1, None], dtype=pl.Int8),))
    assert hash(step) == hash(Keys((pl.Series([1, None]),)))
    assert step != Keys((pl.Series([None, 1]),))
    assert step != Keys((pl.Series(["1", None]),))
    assert len(step) == 2


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ([["a", "b", "a"]], "The key 'a' stands twice"),
        ([["a", "a"], [None, None]], r"The key \('a', None\) stands twice"),
        ([[0.5, 1.0]], "no whole numbers"),
        ([[math.inf]], "no whole numbers"),
        ([[2.0**63]], "int64 does not hold"),
        ([[2**63]], "int64 does not hold"),
        ([[[1], [2]]], "of type List"),
    ],
)
def test_what_is_no_key_is_refused(columns: list[list[Any]], words: str) -> None:
    with pytest.raises(NotCompilableError, match=words):
        Keys(tuple(map(pl.Series, columns)))


@pytest.mark.parametrize(
    ("keys", "types", "words"),
    [
        ([["a"]], [pl.Int64], "Values of type int64 are looked up among strings"),
        ([[1]], [pl.String], "Strings are looked up among integers"),
        ([["a"], ["b"]], [pl.String, pl.List(pl.String)], "A list is one of several columns"),
    ],
)
def test_values_that_cannot_be_keys_are_refused(keys: list[list[Any]], types: list[Any], words: str) -> None:
    with pytest.raises(NotCompilableError, match=words):
        Keys(tuple(map(pl.Series, keys))).result(list(map(from_polars, types)))
