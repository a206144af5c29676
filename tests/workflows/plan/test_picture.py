"""The picture of a plan: every column stands right of what it is made from, and all that was asked for is there."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from matplotlib.figure import Figure

from cartwheel.core.errors import NotCompilableError
from workflows.compiler.operators.clip import Bounds
from workflows.compiler.operators.log import LogPlusOne
from workflows.compiler.plan.graph import Node, Plan
from workflows.compiler.plan.picture import draw_plan, positions
from workflows.compiler.plan.types import ColumnType

FLOAT = ColumnType("float32", False)


def plan() -> Plan:
    """Two raw columns; ``x`` ends in two encoded columns, one of them under two names."""
    nodes = (
        Node("x", FLOAT, None, ()),
        Node("y", FLOAT, None, ()),
        Node("x", FLOAT, LogPlusOne(), (0,)),
        Node("x", FLOAT, Bounds(0, None), (2,)),
        Node("y", FLOAT, LogPlusOne(), (1,)),
    )
    return Plan(nodes, (), {"x": 3, "again": 3, "logged": 2, "y": 4})


def texts(columns: Any = None) -> list[str]:
    axis = Figure().subplots()
    draw_plan(axis, plan(), columns)
    return [text.get_text() for text in axis.texts]


def test_each_node_stands_right_of_its_inputs_and_none_on_another() -> None:
    spots = positions(plan(), range(5))
    for place, node in enumerate(plan().nodes):
        assert all(spots[source][0] < spots[place][0] for source in node.inputs)
    assert all(one != other for one, other in itertools.combinations(spots.values(), 2))


def test_every_column_is_named_with_its_type() -> None:
    told = texts()
    assert {"x\nfloat32", "again\nfloat32", "logged\nfloat32", "y\nfloat32"} <= set(told)
    assert told.count("LogPlusOne") == 2
    assert told.count("Bounds") == 1


def test_only_what_a_column_is_made_from_is_drawn() -> None:
    assert sorted(texts(["logged"])) == ["LogPlusOne", "logged\nfloat32", "x\nfloat32"]


def test_a_column_that_there_is_not_is_refused() -> None:
    with pytest.raises(NotCompilableError, match="makes no column 'z'"):
        texts(["z"])
