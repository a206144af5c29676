"""A plan is shown whole, alike each time, and what changed between two is told once and by name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from cartwheel.core.errors import NotCompilableError, UsageError
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.compiler.operators.categorify import Lookup
from workflows.compiler.operators.described import describe_value, described
from workflows.compiler.operators.keys import Keys
from workflows.compiler.operators.list_slice import Slice
from workflows.compiler.operators.log import LogPlusOne
from workflows.compiler.operators.normalize import Standardize
from workflows.compiler.operators.step import RowStep, Step, Value
from workflows.compiler.plan.difference import difference
from workflows.compiler.plan.drawing import draw
from workflows.compiler.plan.graph import Node, Plan, RowFilter
from workflows.compiler.plan.show import as_dot, as_json, as_mermaid, as_text
from workflows.compiler.plan.types import ColumnType
from workflows.compiler.plan.vocabularies import compare_vocabularies, vocabulary

FLOAT, STRING, IDS = ColumnType("float32"), ColumnType("string"), ColumnType("int64", is_list=True)


@dataclass(frozen=True)
class Ratio(Step):
    """A step of two columns."""

    note: str = "a"

    def result(self, types: Sequence[ColumnType]) -> ColumnType:
        return types[0]

    def onnx(self, builder: GraphBuilder, values: Sequence[Value]) -> Value:
        raise NotImplementedError

    def polars(self, columns: Sequence[pl.Expr], types: Sequence[ColumnType]) -> pl.Expr:
        raise NotImplementedError


@dataclass(frozen=True)
class Above(RowStep):
    """Rows whose price is above a bound."""

    bound: float

    def keeps(self, columns: Mapping[str, pl.Expr], types: Mapping[str, ColumnType]) -> pl.Expr:
        return columns["price"] > self.bound

    def inputs(self, available: Sequence[str]) -> tuple[str, ...]:
        return ("price",)


def lookup(*keys: str) -> Lookup:
    return Lookup("item", ("item",), Keys((pl.Series(keys, dtype=pl.String),)), blank_pads=True)


def plan(*, mean: float = 1.5, keys: Sequence[str] = ("b", "a"), bound: float = 0.0, note: str = 'say "#<a>"') -> Plan:
    """Two raw columns, a list of ids, a filter, and a ratio of a price and its logarithm."""
    nodes = (
        Node("items", ColumnType("string", is_list=True), None, ()),
        Node("price", FLOAT, None, ()),
        Node("items", ColumnType("string", is_list=True), None, (0,), 1),
        Node("price", FLOAT, None, (1,), 1),
        Node("items", IDS, lookup(*keys), (2,), 1),
        Node("log", FLOAT, LogPlusOne(), (3,), 1),
        Node("price", FLOAT, Standardize(mean, 0.5, "float32"), (3,), 1),
        Node("ratio", FLOAT, Ratio(note), (6, 5), 1),
    )
    return Plan(nodes, (RowFilter(Above(bound), {"price": 1}, 0),), {"items": 4, "ratio": 7, "price": 6})


TEXT = """\
%0 items: list[string]
%1 price: float32
rows 1 = Above(bound=0.0)(price=%1) of rows 0
%2 items: list[string] = %0 in rows 1
%3 price: float32 = %1 in rows 1
%4 items: list[int64] = {lookup}(%2)
%5 log: float32 = LogPlusOne()(%3)
%6 price: float32 = Standardize(mean=1.5, std=0.5, dtype='float32')(%3)
%7 ratio: float32 = Ratio(note='say "#<a>"')(%6, %5)
output items = %4
output ratio = %7
output price = %6"""


def test_text_has_a_line_a_node_filter_and_output() -> None:
    assert as_text(plan()) == TEXT.format(lookup=described(lookup("b", "a")))
    assert as_text(plan()) == as_text(plan())


def test_one_column_is_shown_with_what_it_is_made_from_and_under_the_same_numbers() -> None:
    whole, part = as_text(plan()).splitlines(), as_text(plan(), ["price"]).splitlines()
    assert [line for line in whole if line in part] == part
    assert [line.split()[0] for line in part] == ["%1", "rows", "%3", "%6", "output"]
    for form in (as_text, as_json, as_mermaid, as_dot, draw):
        with pytest.raises(NotCompilableError, match="makes no column 'prize'"):
            form(plan(), ["prize"])


def drawn(shown: Plan) -> list[str]:
    console = Console(width=1000)
    with console.capture() as captured:
        console.print(draw(shown))
    return captured.get().splitlines()


def test_a_drawing_leads_from_raw_columns_to_encoded_ones() -> None:
    lines = drawn(plan())
    assert [line for line in lines if line.startswith("%")] == ["%0 items: list[string]", "%1 price: float32"]
    for place in range(len(plan().nodes)):
        assert sum(bool(re.match(rf"[ │├└─]*%{place} ", line)) for line in lines) == 1
    for column in plan():
        assert sum(f"═▶ {column}: {plan().type(column)}" in line for line in lines) == 1
    assert sum(line.endswith("↪ %7 ratio") for line in lines) == 1


def test_json_holds_the_graph() -> None:
    told = json.loads(as_json(plan(mean=float("nan"))))
    assert [node["place"] for node in told["nodes"]] == list(range(8))
    assert told["nodes"][6] == {
        "place": 6,
        "name": "price",
        "type": "float32",
        "step": "Standardize",
        "parameters": {"mean": "nan", "std": 0.5, "dtype": "float32"},
        "inputs": [3],
        "rows": 1,
    }
    assert told["filters"] == [{"rows": 1, "of": 0, "step": "Above(bound=0.0)", "inputs": {"price": 1}}]
    assert told["outputs"] == {"items": 4, "ratio": 7, "price": 6}


EDGES = {("n0", "n2"), ("n1", "n3"), ("n2", "n4"), ("n3", "n5"), ("n3", "n6"), ("n6", "n7"), ("n5", "n7")}
ENDS = {("n4", "o0"), ("n7", "o1"), ("n6", "o2")}


def test_mermaid_and_dot_have_every_edge_and_escape_every_label() -> None:
    mermaid, dot = as_mermaid(plan()), as_dot(plan())
    assert set(re.findall(r"^  (n\d+) --> (n\d+)$", mermaid, re.MULTILINE)) == EDGES
    assert set(re.findall(r"^  (n\d+) ==> (o\d+)\[\[", mermaid, re.MULTILINE)) == ENDS
    assert set(re.findall(r"^  (n\d+) -> ([no]\d+);$", dot, re.MULTILINE)) == EDGES | ENDS
    assert all(line.count('"') in (0, 2) for line in mermaid.splitlines())
    assert "Ratio(note='say #quot;#35;#lt;a#gt;#quot;')" in mermaid
    assert """label="Ratio(note='say \\"#<a>\\"')\"""" in dot


def test_a_plan_does_not_differ_from_itself() -> None:
    assert difference(plan(), plan()) == []
    assert difference(plan(mean=float("nan")), plan(mean=float("nan"))) == []


def changed(after: Plan) -> list[str]:
    return difference(plan(), after)


def test_a_changed_parameter_is_told_once_with_both_values() -> None:
    assert changed(plan(mean=2.0)) == ["~ price: Standardize mean 1.5 -> 2.0"]


def test_a_changed_vocabulary_is_told_by_its_keys_and_ids() -> None:
    assert changed(plan(keys=("b", "a", "c"))) == ["~ vocabulary item: +1 keys, -0 keys; 2 ids kept, 0 moved"]
    assert changed(plan(keys=("a", "b"))) == ["~ vocabulary item: +0 keys, -0 keys; 0 ids kept, 2 moved"]
    assert changed(plan(keys=("b", "c"))) == ["~ vocabulary item: +1 keys, -1 keys; 1 ids kept, 0 moved"]
    many = [f"i{number}" for number in range(50)]
    (line,) = difference(plan(keys=many), plan(keys=[*many[:-2], "i49", "i48"]))
    assert line == "~ vocabulary item: +0 keys, -0 keys; 48 ids kept, 2 moved"


def test_vocabularies_of_combinations_and_of_other_types_are_compared() -> None:
    def pairs(*rows: tuple[str, int | None]) -> Lookup:
        columns = pl.DataFrame(rows, schema={"a": pl.String, "b": pl.Int64}, orient="row").get_columns()
        return Lookup("a_b", ("a", "b"), Keys(tuple(columns)), first=5, buckets=3)

    before = pairs(("x", 1), ("x", None), ("y", 1))
    assert (
        compare_vocabularies(before, pairs(("x", 1), ("x", None), ("z", 1), ("y", 1))) == "+1 keys, -0 keys; 2 ids kept, 1 moved"
    )
    assert compare_vocabularies(before, lookup("x")) == "+1 keys, -3 keys; 0 ids kept, 0 moved"
    assert compare_vocabularies(before, replace(before, first=3, buckets=1)) == "+0 keys, -0 keys; 0 ids kept, 3 moved"


def test_more_buckets_are_told_with_the_ids_that_they_move() -> None:
    before = plan()
    changed_lookup = replace(before.nodes[4], step=replace(lookup("b", "a"), first=5, buckets=3))
    after = replace(before, nodes=(*before.nodes[:4], changed_lookup, *before.nodes[5:]))
    assert difference(before, after) == [
        "~ vocabulary item: +0 keys, -0 keys; 0 ids kept, 2 moved",
        "~ items: Lookup first 3 -> 5, buckets 1 -> 3",
    ]


def test_a_changed_filter_is_told() -> None:
    lines = changed(plan(bound=1.0))
    assert lines[:2] == ["- rows: Above(bound=0.0)", "+ rows: Above(bound=1.0)"]


def test_a_step_put_in_or_taken_out_is_told_and_shifts_nothing() -> None:
    before = plan()
    nodes = (*before.nodes[:6], replace(before.nodes[6], inputs=(8,)), *before.nodes[7:])
    more = (
        *nodes[:6],
        Node("price", FLOAT, LogPlusOne(), (3,), 1),
        replace(nodes[6], inputs=(6,)),
        replace(nodes[7], inputs=(7, 5)),
    )
    after = Plan(more, before.filters, {"items": 4, "ratio": 8, "price": 7})
    assert difference(before, after) == ["+ price: LogPlusOne()"]
    assert difference(after, before) == ["- price: LogPlusOne()"]


def test_columns_that_come_and_go_are_told_with_their_steps() -> None:
    before = plan()
    fewer = Plan(before.nodes, before.filters, {"items": 4, "price": 6})
    told = [
        "ratio: float32 = price > LogPlusOne() > Standardize(mean=1.5, std=0.5, dtype='float32') > Ratio(note='say \"#<a>\"')"
    ]
    assert difference(before, fewer) == [f"- column {line}" for line in told]
    assert difference(fewer, before) == [f"+ column {line}" for line in told]


def test_raw_columns_types_and_order_are_told() -> None:
    wide = Plan((Node("x", FLOAT, None, ()), Node("y", STRING, None, ())), (), {"x": 0, "y": 1})
    other = Plan((Node("x", ColumnType("float64"), None, ()), Node("z", STRING, None, ())), (), {"x": 0, "z": 1})
    assert difference(wide, other)[:3] == [
        "- raw column y: string",
        "+ raw column z: string",
        "~ raw column x: float32 -> float64",
    ]
    assert "~ column x: float32 -> float64" in difference(wide, other)
    assert difference(wide, replace(wide, outputs={"y": 1, "x": 0})) == ["~ order of the columns: x, y -> y, x"]


def test_the_same_steps_of_other_columns_are_told() -> None:
    before = plan()
    after = replace(before, nodes=(*before.nodes[:7], replace(before.nodes[7], inputs=(5, 6))))
    assert difference(before, after) == ["~ ratio: the same steps, of other columns or in other places"]


def test_nested_diamonds_are_shown_and_compared_in_no_time() -> None:
    nodes = [Node("x", FLOAT, None, ())]
    for level in range(0, 120, 3):
        nodes += [Node("x", FLOAT, LogPlusOne(), (level,)), Node("x", FLOAT, LogPlusOne(), (level,))]
        nodes.append(Node("x", FLOAT, Ratio(), (level + 1, level + 2)))
    deep = Plan(tuple(nodes), (), {"x": len(nodes) - 1})
    assert len(as_text(deep).splitlines()) == len(nodes) + 1
    assert len(drawn(deep)) == len(nodes) + 40  # at each level one pointer to the join below the other branch
    other = replace(deep, nodes=(nodes[0], replace(nodes[1], step=Standardize(0.0, 1.0, "float32")), *nodes[2:]))
    assert difference(deep, other) == ["- x: LogPlusOne()", "+ x: Standardize(mean=0.0, std=1.0, dtype='float32')"]


def test_long_parameters_are_told_by_number_and_content() -> None:
    many = list(range(100))
    assert re.fullmatch(r"100 values #[0-9a-f]{12}", describe_value(many))
    assert describe_value(many) == describe_value(np.array(many)) == describe_value(pl.Series(many))
    assert describe_value(many) != describe_value([*many[1:], many[0]])
    assert describe_value(["ab", "c"] * 9) != describe_value(["a", "bc"] * 9)
    assert describe_value((1, "a", None)) == "(1, 'a', None)"
    assert describe_value({"b": [1.5], "a": {3, 2}}) == "{'b': (1.5), 'a': {2, 3}}"
    assert describe_value(np.float32(0.5)) == "0.5"
    assert describe_value(Ratio("n")) == "Ratio(note='n')"


def test_ids_turn_back_to_keys() -> None:
    found = vocabulary(plan(), "items")
    assert found.decode([3, 4, 0, 1, 2]).to_list() == ["b", "a", None, None, None]
    assert found.decode(pl.Series([4, 3], dtype=pl.Int32)).to_list() == ["a", "b"]
    assert (found.domain, len(found)) == ("item", 5)
    for wrong in (5, -1):
        with pytest.raises(UsageError, match=f"'item' has no id {wrong}; its ids are 0 to 4"):
            found.decode([3, wrong])


def test_ids_are_carried_through_slices_of_lists() -> None:
    before = plan()
    sliced = Plan((*before.nodes, Node("items", IDS, Slice(-3, None), (4,), 1)), before.filters, {"items": 8})
    assert vocabulary(sliced, "items").decode([3]).to_list() == ["b"]


def test_a_column_without_a_vocabulary_is_refused_with_those_that_have_one() -> None:
    with pytest.raises(UsageError, match=r"'ratio' has no vocabulary.* Ask for one of items\."):
        vocabulary(plan(), "ratio")
    with pytest.raises(UsageError, match="Apply Categorify to it"):
        vocabulary(Plan((Node("x", FLOAT, None, ()),), (), {"x": 0}), "x")
    with pytest.raises(NotCompilableError, match="makes no column 'prize'"):
        vocabulary(plan(), "prize")


def test_keys_are_told_by_number_and_content() -> None:
    one, other = (Keys((pl.Series(keys),)) for keys in (["a", "b"], ["b", "a"]))
    assert re.fullmatch(r"Keys\(columns=2 values, digest=#[0-9a-f]{12}\)", described(one))
    assert described(one) == described(Keys((pl.Series(["a", "b"]),))) != described(other)
