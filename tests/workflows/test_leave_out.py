"""What must not come back, held to the plain loop over the events, and a history of a bot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.events.asof import Ints
from workflows.events.event_log import EVENT_COLUMNS, EventLog, code_events
from workflows.features.recompute import left_out_items
from workflows.features.shopper import ShopperFeatures
from workflows.settings import LeaveOut, PrepareSettings
from workflows.tasks.leave_out import LeftOut, left_out_codes, left_out_lists

KINDS = ("view", "purchase", "refund", "cart", "remove_from_cart")
SETTINGS = PrepareSettings(recent_items=2, interaction_types=("view", "cart", "purchase"))


def opened(rows: list[dict[str, Any]], rule: LeaveOut) -> tuple[EventLog, ShopperFeatures, LeftOut]:
    events = pl.DataFrame(rows, schema={"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "time": pl.Int64})
    events = events.sort("time", maintain_order=True).with_columns(
        timestamp=pl.col("time").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        **{
            name: pl.lit(None, kind)
            for name, kind in EVENT_COLUMNS.items()
            if name in ("session_id", "category", "brand", "price", "quantity")
        },
    )
    log = code_events(events.select(list(EVENT_COLUMNS)), SETTINGS.interaction_types)
    history = ShopperFeatures(log, SETTINGS.session_gap_minutes, SETTINGS.recent_items)
    return log, history, LeftOut(log, history, rule)


def found(log: EventLog, history: ShopperFeatures, rules: LeftOut, key: Ints, anchor: Ints) -> list[list[str]]:
    recent = history.recent(*history.bounds(key, anchor))
    pairs = rules.pairs(key, anchor, recent)
    lists = left_out_lists(log.items, *pairs, len(key)).to_list()
    assert [log.items.gather(row).to_list() for row in left_out_codes(*pairs, len(key))] == lists
    asked, item = (part.ravel() for part in np.indices((len(key), len(log.items))))
    hides = rules.hides(key[asked], anchor[asked], item, recent[asked])
    assert [log.items.filter(pl.Series(row)).to_list() for row in hides.reshape(len(key), -1)] == lists
    return lists


events = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(["a", "b", "c"]),
            "item_id": st.sampled_from(["p", "q", "r", "s"]),
            "event_type": st.sampled_from(KINDS),
            "time": st.integers(0, 12),
        }
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=120, deadline=None)
@given(rows=events, rule=st.sampled_from(["recent", "purchased", "interacted", "nothing"]))
def test_it_is_the_plain_loop_at_every_instant(rows: list[dict[str, Any]], rule: LeaveOut) -> None:
    log, history, rules = opened(rows, rule)
    key, anchor = (part.ravel().astype(np.int64) for part in np.meshgrid(np.arange(-1, len(log.keys)), np.arange(0, 14)))
    names = [*log.keys.to_list(), None]
    ordered = sorted(rows, key=lambda row: row["time"])
    unpriced = dict.fromkeys(("price", "category", "brand"))
    for row, asker, instant in zip(found(log, history, rules, key, anchor), key, anchor, strict=True):
        own = [{**each, **unpriced} for each in ordered if each["user_id"] == names[asker]]
        assert row == sorted(left_out_items(own, int(instant), SETTINGS, rule))


def bought(*kinds: str) -> list[dict[str, Any]]:
    return [{"user_id": "a", "item_id": "p", "event_type": kind, "time": time} for time, kind in enumerate(kinds)]


@pytest.mark.parametrize(
    ("kinds", "owned"),
    [
        (("view", "cart"), False),
        (("purchase",), True),
        (("purchase", "refund"), False),
        (("purchase", "purchase", "refund"), True),
        (("purchase", "purchase", "refund", "refund"), False),
        (("refund", "purchase"), True),
        (("refund", "refund", "purchase", "refund"), False),
        (("purchase", "refund", "purchase"), True),
    ],
)
def test_a_refund_undoes_one_purchase_before_it(kinds: tuple[str, ...], owned: bool) -> None:
    log, history, rules = opened(
        [*bought(*kinds), {"user_id": "b", "item_id": "q", "event_type": "view", "time": 0}], "purchased"
    )
    assert found(log, history, rules, np.array([0]), np.array([99])) == [["p"] if owned else []]


def test_what_happens_at_the_instant_itself_does_not_count() -> None:
    for rule in ("recent", "purchased", "interacted"):
        log, history, rules = opened(bought("purchase"), rule)  # type: ignore[arg-type]
        assert found(log, history, rules, np.array([0, 0]), np.array([0, 1])) == [[], ["p"]]


def test_pairs_are_found_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch, log_maker: Callable[..., pl.DataFrame]) -> None:
    log = code_events(log_maker(600, seed=2), SETTINGS.interaction_types)
    history = ShopperFeatures(log, 30, 3)
    rules = LeftOut(log, history, "interacted")
    rng = np.random.default_rng(0)
    key, anchor = rng.integers(0, len(log.keys), 200), rng.choice(log.time, 200)
    recent = history.recent(*history.bounds(key, anchor))
    whole = rules.pairs(key, anchor, recent)
    assert len(whole[0]) > 500
    for size in (1, 7, 100):
        monkeypatch.setattr("workflows.tasks.leave_out._PAIRS", size)
        for one, other in zip(rules.pairs(key, anchor, recent), whole, strict=True):
            np.testing.assert_array_equal(one, other)


def test_of_no_queries_nothing_is_left_out() -> None:
    _, _, rules = opened(bought("view"), "interacted")
    none = np.empty(0, dtype=np.int64)
    assert [len(part) for part in rules.pairs(none, none, np.empty((0, 2), dtype=np.int64))] == [0, 0]
