"""A shop's own columns of items become categories and numbers as of an instant, and listed items are candidates before they are seen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import polars as pl
import pytest

from cartwheel.core.errors import ConfigError
from workflows.events.event_log import EVENT_COLUMNS, EventLog, code_events
from workflows.features.column import Column, Kind, Owner
from workflows.features.family import FeatureFamily, Moments, Past
from workflows.features.feature_set import BUILT_IN, FeatureSet
from workflows.features.item import NEVER, ItemHistory
from workflows.features.own_items import OwnItems
from workflows.tasks.catalogue import catalogue_frame

START = datetime(2024, 1, 1, tzinfo=timezone.utc)
COLOURS = {"a": "red", "b": "blue", "listed": "green"}
TAGS = {"a": ["new", "sale"], "b": ["sale"], "listed": []}


class Catalogue(FeatureFamily):
    name = "catalogue"
    owner = Owner.ITEM
    columns = (
        Column("colour", Owner.ITEM, Kind.CATEGORY, "colour"),
        Column("weight", Owner.ITEM, Kind.AMOUNT, "weight"),
        Column("tags", Owner.ITEM, Kind.TAGS, "tags", width=2),
        Column("picture", Owner.ITEM, Kind.VECTOR, "picture", width=2),
    )

    def compute(self, log: EventLog, at: Moments) -> pl.DataFrame:
        ids = log.items.gather(at.entity)
        return pl.DataFrame(
            {
                "colour": [COLOURS.get(item, "") for item in ids],
                "weight": pl.Series([{"a": 2.0}.get(item) for item in ids], dtype=pl.Float32),
                "tags": pl.Series([TAGS.get(item, []) for item in ids], dtype=pl.List(pl.String)),
                "picture": pl.Series([[1.0, 2.0] if item == "a" else [] for item in ids], dtype=pl.List(pl.Float32)),
            }
        )

    def recompute(self, past: Past) -> Mapping[str, Any]:
        raise NotImplementedError


def event(item: str, day: int) -> dict[str, Any]:
    return dict.fromkeys(EVENT_COLUMNS) | {
        "user_id": "u", "item_id": item, "event_type": "view", "timestamp": START + timedelta(days=day)
    }  # fmt: skip


@pytest.fixture
def items() -> ItemHistory:
    frame = pl.DataFrame([event("a", 0), event("b", 2), event("c", 3)], schema=EVENT_COLUMNS)
    log = code_events(frame, ["view"], listed=["listed", "later", "a"])
    assert log.items.to_list() == ["a", "b", "c", "later", "listed"]
    since = {"listed": 0, "later": micros(9)}
    listed = np.array([since.get(item, NEVER) for item in log.items], np.int64)
    return ItemHistory(log, 7, OwnItems([Catalogue()], log, micros(3)), listed)


def micros(day: int) -> int:
    return round((START + timedelta(days=day)).timestamp() * 1_000_000)


def test_lists_and_vectors_become_numbers(items: ItemHistory) -> None:
    table = catalogue_frame(items, micros(4))
    assert items.own is not None
    features = FeatureSet(items.own.columns)
    assert table.columns == list(features.item)
    assert features.item_continuous[6:] == ("weight", "tags_0", "tags_1", "picture_0", "picture_1")
    assert [column.title for column in features.own][2:4] == ["tags: sale", "tags: new"]
    rows = {row["item_id"]: row for row in table.to_dicts()}
    assert [rows["a"][name] for name in ("colour", "weight", "tags_0", "tags_1", "picture_0", "picture_1")] == [
        "red",
        2,
        1,
        1,
        1,
        2,
    ]
    assert [rows["b"][name] for name in ("colour", "weight", "tags_0", "tags_1", "picture_0")] == ["blue", None, 1, 0, None]
    assert rows["c"]["colour"] == ""
    assert table.schema["colour"] == pl.String
    assert table.schema["tags_0"] == pl.Float32


def test_listed_items_are_candidates_before_anyone_saw_them(items: ItemHistory) -> None:
    assert catalogue_frame(items, micros(1))["item_id"].to_list() == ["a", "listed"]
    table = catalogue_frame(items, micros(10))
    assert table["item_id"].to_list() == ["a", "b", "c", "later", "listed"]
    unseen = table.row(by_predicate=pl.col("item_id") == "listed", named=True)
    assert unseen["colour"] == "green"
    assert unseen["item_events"] == unseen["item_age_days"] == 0
    assert unseen["item_price"] is None


def test_codes_of_categories_stay_as_new_values_are_met(items: ItemHistory) -> None:
    assert items.own is not None
    whole = items.arrays(np.array([0, 1, 4]), np.full(3, micros(4)))
    again = items.arrays(np.array([4, 0]), np.full(2, micros(4)))
    assert items.own.series(whole)["colour"].to_list() == ["red", "blue", "green"]
    assert items.own.series(again)["colour"].to_list() == ["green", "red"]


def test_a_name_that_a_built_in_column_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="two features are called 'item_price'"):
        FeatureSet((Column("item_price", Owner.ITEM, Kind.AMOUNT, "mine"),))


def test_the_declaration_survives_its_file() -> None:
    features = FeatureSet(Catalogue.columns[:2])
    assert FeatureSet.from_json(features.to_json()) == features
    assert BUILT_IN.item == FeatureSet().item
