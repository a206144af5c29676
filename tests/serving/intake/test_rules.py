"""The rules of tracked events are those by which ``prepare`` checks a log."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.intake.rules import NOT_AN_OBJECT, TOO_LONG, UNKNOWN_FIELD, Refused, checked
from serving.store.event import Tracked
from workflows.events.kinds import EVENT_TYPES
from workflows.events.rules import REASON, UNPARSEABLE_TIME, check
from workflows.events.schema import ASIDE, CANONICAL, FILE, FLAW, ROW
from workflows.events.tidy import Tidy

NOW = dt.datetime(2024, 5, 1, 12, tzinfo=dt.timezone.utc)
NOW_US = 1_714_564_800_000_000

names = st.sampled_from(
    [
        None,
        "",
        " ",
        "a",
        " a ",
        "null",
        "NaN",
        "7.0",
        "07.0",
        "-3.00",
        "1.5",
        "ü",
        "a b",
        "0.0",
        "\ufeffa",
        "\u200b",
        "a\u200b",
        "none",
        "#REF!",
    ]
)
numbers = st.one_of(
    st.none(),
    st.sampled_from(["", "1.5", "-1", "0", "+2", ".5", "1e3", "inf", "-inf", "nan", "abc", "null", "1e999", "--1", "5 x"]),
    st.floats(-10, 1000).map(str),
)
rows = st.fixed_dictionaries(
    {
        "user_id": names,
        "item_id": names,
        "event_type": st.sampled_from([*EVENT_TYPES, "own", "View", "looked", None, " view "]),
        "timestamp": st.sampled_from(
            ["2024-05-01T11:59:00Z", "2024-05-01 10:00:00", "2024-05-01T12:00:00+02:00", "2025-01-01T00:00:00Z",
             "2024-02-30", "yesterday", "2024-04-30T00:00:00.123456"]
        ),
        "session_id": names,
        "category": names,
        "brand": names,
        "price": numbers,
        "quantity": numbers,
    }
)  # fmt: skip


def by_prepare(raws: list[dict[str, Any]]) -> list[dict[str, Any]]:
    frame = pl.DataFrame(
        [{**{name: raw[name] for name in CANONICAL}, FILE: "f", ROW: place} for place, raw in enumerate(raws)],
        schema={**dict.fromkeys(CANONICAL, pl.String), FILE: pl.String, ROW: pl.Int64},
    ).with_columns(pl.lit(None, pl.String).alias(FLAW), pl.lit(None, pl.String).alias(ASIDE))
    return (
        check(
            Tidy().apply(frame.lazy()),
            timestamp_formats=("iso",),
            zone="UTC",
            files_with_comma=(),
            text_numbers=("price", "quantity"),
            until=NOW + dt.timedelta(microseconds=1),
            anonymous_baskets=True,
            extra_types=("own",),
        )
        .collect()
        .to_dicts()
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, min_size=1, max_size=12))
def test_an_event_is_refused_for_the_reason_for_which_prepare_refuses_it(raws: list[dict[str, Any]]) -> None:
    for raw, expected in zip(raws, by_prepare(raws), strict=True):
        found = checked(raw, NOW_US, (*EVENT_TYPES, "own"))
        assert (found.reason if isinstance(found, Refused) else None) == expected[REASON], raw
        if isinstance(found, Tracked):
            values = {name: getattr(found, name) for name in CANONICAL if name != "timestamp"}
            assert values == {name: expected[name] for name in values}, raw
            assert found.time_us == expected["timestamp"].timestamp() * 10**6


SOUND = {"user_id": "anna", "item_id": 7, "event_type": "view"}


@pytest.mark.parametrize(
    ("raw", "reason", "detail"),
    [
        ("no event", NOT_AN_OBJECT, "An event is an object with fields, not str."),
        ({**SOUND, "item": 1}, UNKNOWN_FIELD, "There is no field 'item'; fields are brand, category, event_id"),
        ({**SOUND, "price": True}, NOT_AN_OBJECT, "price is of the type bool; give a text or a number."),
        ({**SOUND, "user_id": ["a"]}, NOT_AN_OBJECT, "user_id is of the type list"),
        ({**SOUND, "user_id": "\ud800"}, NOT_AN_OBJECT, "user_id is not valid text"),
        ({**SOUND, "brand": "x" * 1025}, TOO_LONG, "brand has 1,025 characters; at most 1,024 are taken."),
        ({**SOUND, "timestamp": 1_714_564_800}, UNPARSEABLE_TIME, "timestamp is 1714564800; give Unix microseconds"),
        ({**SOUND, "timestamp": float("nan")}, UNPARSEABLE_TIME, "timestamp is nan"),
        ({**SOUND, "timestamp": "9999999999999999999999"}, UNPARSEABLE_TIME, "timestamp is"),
        ({**SOUND, "timestamp": NOW_US + 6_000_000}, "future time", "leave it out for now"),
        ({**SOUND, "event_type": "look"}, "unknown event type", "event_type is 'look'; known are add_to_wishlist"),
        ({**SOUND, "quantity": 0}, "quantity is not a positive number", "quantity is 0.0; give a number above 0."),
        ({**SOUND, "price": 10**400}, TOO_LONG, "price is a number of more than 300 digits."),
        ({**SOUND, "price": float("inf")}, "non-finite price", "price is inf"),
    ],
)
def test_what_is_wrong_is_said(raw: Any, reason: str, detail: str) -> None:
    found = checked(raw, NOW_US, EVENT_TYPES)
    assert isinstance(found, Refused)
    assert found.reason == reason
    assert detail in found.detail


def test_an_event_without_a_time_is_now_and_one_without_an_id_gets_one() -> None:
    first, second = (checked(SOUND, NOW_US, EVENT_TYPES) for _ in range(2))
    assert isinstance(first, Tracked)
    assert isinstance(second, Tracked)
    assert first.time_us == NOW_US
    assert first.item_id == "7"
    assert first.event_id != second.event_id, "two clicks at one instant are two"
    told, again = (checked({**SOUND, "timestamp": NOW_US - 5}, NOW_US + step, EVENT_TYPES) for step in (0, 9))
    assert isinstance(told, Tracked)
    assert told == again, "the same event of the same instant, told twice, is one"
    assert told.event_id != getattr(checked({**SOUND, "timestamp": NOW_US - 4}, NOW_US, EVENT_TYPES), "event_id", "")
