"""What is proposed for a column: its kind, its owner, and a reason; what can be no feature is left out with a reason too."""

from __future__ import annotations

import sys
from typing import Any

import polars as pl
import pytest
from own_shop import own_settings

from workflows.features.suggest import EVENTS, Columns, Suggestion, as_toml, suggest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROWS = 60


def items(**columns: Any) -> Columns:
    rows = pl.DataFrame({"key": [f"i{n}" for n in range(ROWS)], **columns}, strict=False)
    return Columns("items", "item", rows, ("key",))


def of(values: list[Any], name: str = "column") -> Suggestion:
    [found] = suggest([items(**{name: values})])
    return found


@pytest.mark.parametrize(
    ("values", "kind", "more"),
    [
        ([["red", "green", "blue"][n % 3] for n in range(ROWS)], "category", {}),
        ([["yes", "no"][n % 2] for n in range(ROWS)], "boolean", {}),
        ([n % 2 == 0 for n in range(ROWS)], "boolean", {}),
        ([f"{n % 7 / 3:.2f}" for n in range(ROWS)], "number", {}),
        ([-1.5 * n for n in range(ROWS)], "number", {}),
        ([2.0**n for n in range(ROWS)], "amount", {}),
        ([f"2024-0{1 + n % 9}-01" for n in range(ROWS)], "date", {}),
        (["|".join("abcd"[: 1 + n % 4]) for n in range(ROWS)], "tags", {"width": 4}),
        (["; ".join(["new", "sale"][: 1 + n % 2]) for n in range(ROWS)], "tags", {"width": 2, "separator": ";"}),
        ([["new", "sale"][: n % 3] for n in range(ROWS)], "tags", {"width": 2}),
        ([f"[{n}, {n + 1}, 0.5]" for n in range(ROWS)], "vector", {"width": 3}),
        ([f"{n} {n / 7:.3f} 0.5" for n in range(ROWS)], "vector", {"width": 3}),
        ([f"a fine red shoe of size {n}" for n in range(ROWS)], "text", {}),
        ([None if n % 2 else "red" for n in range(ROWS)], "category", {}),
    ],
)
def test_the_kind_of_a_column(values: list[Any], kind: str, more: dict[str, Any]) -> None:
    found = of(values)
    assert (found.kind, found.more, found.owner) == (kind, more, "item")


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("colour", ["red"] * ROWS, "it is 'red' in every row"),
        ("colour", pl.Series([None] * ROWS, dtype=pl.String), "it has no value"),
        ("sku", [f"i{n}" for n in range(ROWS)], "it equals key"),
        ("slug", [f"x{n}y" for n in range(ROWS)], "an id"),
        ("ean", list(range(40_000, 40_000 + ROWS)), "an id"),
    ],
)
def test_what_is_left_out(name: str, values: Any, reason: str) -> None:
    found = of(values, name)
    assert found.kind == ""
    assert reason in found.reason


def test_codes_by_their_name_are_categories() -> None:
    assert of([n % 5 for n in range(ROWS)], "colour_code").kind == "category"
    assert of([n % 5 for n in range(ROWS)], "doors").kind == "number"


def test_columns_of_events_belong_to_those_of_whom_they_are_constant() -> None:
    rows = [
        {
            "user_id": f"u{n % 6}",
            "item_id": f"i{n % 7}",
            "session_id": None,
            "size": ["s", "m"][n % 7 % 2],
            "country": ["de", "fr"][n % 6 % 2],
            "rating": 1 + n * n % 5,
        }
        for n in range(120)
    ]
    found = {one.name: one for one in suggest([Columns(EVENTS, "", pl.DataFrame(rows), ("user_id", "item_id", "session_id"))])}
    assert {name: one.owner for name, one in found.items()} == {"size": "item", "country": "user", "rating": ""}
    assert "changes from event to event" in found["rating"].reason


def test_the_section_is_toml_that_declares_what_was_proposed() -> None:
    table = items(**{"Größe, m": [["s", "m"][n % 2] for n in range(ROWS)], "hour": [["a", "b"][n % 2] for n in range(ROWS)]})
    text = as_toml(suggest([table, Columns("more", "item", table.rows, ("key",), always_known=True)]))
    own = tomllib.loads(text)["features"]["own"]
    assert list(own) == ["Groesse_m", "own_hour", "Groesse_m_2", "hour_2"]
    assert own_settings(own)["own_hour"].origin == "items.hour"
    assert "2 distinct in 60 rows, 0% missing; taken as always known" in text
    assert as_toml(suggest([table]), {"Groesse_m", "items.hour"}) == ""


def test_a_value_of_two_lines_stays_in_its_comment() -> None:
    text = as_toml(suggest([items(odd=["a\nb"] * ROWS)]))
    assert tomllib.loads(text) == {}
