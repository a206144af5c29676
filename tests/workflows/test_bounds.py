"""Every bound in time at its instant, one microsecond before and one after: sessions, carts, horizons and splits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import numpy as np
import polars as pl
import pytest

from cartwheel.core.errors import DataError
from workflows.events.event_log import DAY_US, HOUR_US, MINUTE_US, code_events
from workflows.events.sessions import find_runs, with_sessions
from workflows.features.shopper import ShopperFeatures
from workflows.settings import LeaveOut, PrepareSettings
from workflows.tasks.cart import CartLog, choose_carts
from workflows.tasks.leave_out import LeftOut
from workflows.tasks.recommend import choose_anchors, examples_to_judge, find_anchors
from workflows.tasks.split import SPLITS, Split, split_by_dates, split_by_time

Events = Callable[..., pl.DataFrame]
KEY = np.zeros(1, dtype=np.int64)


def rows(*told: tuple[str, str, int], user: str = "a") -> list[dict[str, object]]:
    """Events of one user: (item, type, microseconds)."""
    return [{"user_id": user, "item_id": item, "event_type": kind, "time": time} for item, kind, time in told]


class TestSessions:
    GAP = 30 * MINUTE_US

    @pytest.mark.parametrize(("late", "parts"), [(-1, False), (0, False), (1, True)])
    def test_a_pause_longer_than_the_gap_parts_sessions(self, event_maker: Events, late: int, parts: bool) -> None:
        events = event_maker(rows(("x", "view", 0), ("y", "view", self.GAP + late)))
        assert with_sessions(events, 30)["session_id"].to_list() == ["a#1", "a#2" if parts else "a#1"]
        found = find_runs(np.zeros(2, dtype=np.int64), np.array([0, self.GAP + late]), 30)
        assert found.starts.tolist() == [0, 1 if parts else 0]
        assert found.gap_us == self.GAP

    def test_runs_are_of_one_key_each(self) -> None:
        key, time = np.array([0, 0, 1, 1, 1]), np.array([0, 5, 6, 7, 7 + self.GAP + 1])
        assert find_runs(key, time, 30).starts.tolist() == [0, 0, 2, 2, 4]
        assert find_runs(key[:0], time[:0], 30).starts.tolist() == []
        assert find_runs(key[:1], time[:1], 30).starts.tolist() == [0]

    @pytest.mark.parametrize(("late", "events", "minutes"), [(-1, 2, 40.0), (0, 2, 40.0), (1, 0, 0.0)])
    def test_a_question_after_the_gap_has_no_session(self, event_maker: Events, late: int, events: int, minutes: float) -> None:
        log = code_events(event_maker(rows(("x", "view", 0), ("y", "view", 10 * MINUTE_US))), ("view",))
        asked = np.array([10 * MINUTE_US + self.GAP + late])
        found = ShopperFeatures(log, 30, 5).queries(KEY, asked).continuous
        assert found["session_events"].tolist() == [events]
        assert found["session_minutes"].tolist() == [pytest.approx(minutes, abs=1e-6)]

    def test_sessions_are_numbered_by_user_and_those_of_nobody_too(self, event_maker: Events) -> None:
        told = [(None, 0), ("b", 1), (None, 2), ("b", self.GAP + 2), (None, self.GAP + 3)]
        events = event_maker([{"user_id": user, "item_id": "1", "event_type": "view", "time": time} for user, time in told])
        found = with_sessions(events, 30)["session_id"].to_list()
        assert found[1::2] == ["b#1", "b#2"]
        assert len({*found[0::2]}) == 2
        assert found[0] == found[2] != found[4]


class TestCarts:
    WINDOW = 8 * HOUR_US

    def lines(self, events: pl.DataFrame, cart: int = -1) -> dict[str, bool]:
        """The lines of one cart of one shopper, and whether they get bought."""
        log = code_events(events, ("cart",))
        carts = CartLog(log, 8)
        assert carts.window_us == self.WINDOW
        key, anchor = carts.anchors()
        found = carts.carts(key[[cart]], anchor[[cart]])
        return dict(zip(log.items.gather(found.item), found.bought.tolist(), strict=True))

    @pytest.mark.parametrize(
        ("after", "bought"), [(-1, False), (0, False), (1, True), (WINDOW - 1, True), (WINDOW, True), (WINDOW + 1, False)]
    )
    def test_a_purchase_counts_after_the_anchor_up_to_the_end_of_the_window(
        self, event_maker: Events, after: int, bought: bool
    ) -> None:
        """An add at 0 has its anchor at 1; a purchase with it, at 0, comes after it in the file."""
        events = event_maker(rows(("y", "cart", -5), ("x", "cart", 0), ("y", "purchase", 1 + after)))
        lines = self.lines(events)
        assert lines == ({"x": False} if after < 0 else {"x": False, "y": bought})

    @pytest.mark.parametrize(("late", "is_line"), [(-1, True), (0, True), (1, False)])
    def test_an_add_is_a_line_for_as_long_as_the_window(self, event_maker: Events, late: int, is_line: bool) -> None:
        anchor = self.WINDOW + late
        events = event_maker(rows(("x", "cart", 0), ("y", "cart", anchor - 1)))
        assert list(self.lines(events)) == (["y", "x"] if is_line else ["y"])

    @pytest.mark.parametrize(("at", "is_line"), [(4, False), (5, False), (6, True)])
    @pytest.mark.parametrize("kind", ["remove_from_cart", "purchase"])
    def test_what_was_taken_out_up_to_the_add_is_no_line(self, event_maker: Events, kind: str, at: int, is_line: bool) -> None:
        events = event_maker(rows(("x", "cart", 0), ("y", "cart", 5), ("x", kind, at)))
        assert ("x" in self.lines(events)) is is_line

    def test_of_touches_at_one_instant_the_last_in_the_file_counts(self, event_maker: Events) -> None:
        taken_out = rows(("x", "cart", 5), ("x", "remove_from_cart", 5), ("y", "cart", 5))
        put_back = rows(("x", "remove_from_cart", 5), ("x", "cart", 5), ("y", "cart", 5))
        assert list(self.lines(event_maker(taken_out))) == ["y"]
        assert list(self.lines(event_maker(put_back))) == ["y", "x"]

    def test_adds_at_one_instant_are_one_cart_and_those_of_others_are_not(self, event_maker: Events) -> None:
        events = event_maker([*rows(("x", "cart", 0), ("y", "cart", 0), ("x", "cart", 1)), *rows(("x", "cart", 0), user="b")])
        log = code_events(events, ("cart",))
        key, anchor = CartLog(log, 8).anchors()
        assert [(log.keys[code], at) for code, at in zip(key.tolist(), anchor.tolist(), strict=True)] == [
            ("a", 1),
            ("b", 1),
            ("a", 2),
        ]

    def test_the_purchase_of_another_shopper_or_item_is_none_of_this_cart(self, event_maker: Events) -> None:
        others = rows(("x", "purchase", 9), ("y", "cart", 1), user="b")
        assert self.lines(event_maker([*rows(("x", "cart", 0), ("y", "purchase", 9)), *others]), 0) == {"x": False}

    @pytest.mark.parametrize(("name", "end"), [("train", 100), ("valid", 200), ("test", 300)])
    def test_a_window_must_end_before_the_split(self, name: Any, end: int) -> None:
        anchor = np.array([end - 12, end - 11, end - 10, end - 9, end - 1])
        found = choose_carts(np.arange(5), anchor, 10, Split(100, 200, 300), name, PrepareSettings(), np.random.default_rng(0))
        assert (found[0].tolist(), found[1].tolist(), found[2]) == ([0, 1], [end - 12, end - 11], 3)

    def test_training_takes_the_latest_carts_and_the_others_a_sample(self) -> None:
        settings = PrepareSettings(max_train_examples=2, max_eval_anchors=3)
        anchor = np.arange(0, 300, 5)
        parts = {
            name: choose_carts(anchor, anchor, 1, Split(100, 200, 300), name, settings, np.random.default_rng(4))[1].tolist()
            for name in SPLITS
        }
        assert parts["train"] == [90, 95]
        assert all(len(parts[name]) == 3 and parts[name] == sorted(parts[name]) for name in ("valid", "test"))
        assert parts["valid"] != [185, 190, 195]


class TestHorizons:
    HORIZON = 7 * DAY_US

    def truth(self, events: pl.DataFrame, split: Split, name: Any = "valid", leave_out: LeaveOut = "recent") -> list[str]:
        """What is true for the first anchor of a split."""
        chosen = PrepareSettings()
        log = code_events(events, ("view", "purchase"))
        history = ShopperFeatures(log, 30, 5)
        rules = LeftOut(log, history, leave_out)
        anchors, _ = find_anchors(history, rules)
        found = choose_anchors(anchors, split, name, chosen, np.random.default_rng(0))
        made = examples_to_judge(history, found, split, name, chosen, rules)
        return list(log.items.gather(made.truth[: made.truth_sizes[0]]))

    @pytest.mark.parametrize(("late", "counts"), [(-1, True), (0, True), (1, False)])
    def test_what_happens_up_to_the_horizon_is_true(self, event_maker: Events, late: int, counts: bool) -> None:
        events = event_maker(rows(("z", "view", -1), ("x", "view", 0), ("y", "view", self.HORIZON + late)))
        assert self.truth(events, Split(0, 10**15, 10**15)) == (["x", "y"] if counts else ["x"])

    @pytest.mark.parametrize(("late", "counts"), [(-1, True), (0, False), (1, False)])
    def test_what_happens_in_the_next_split_is_not(self, event_maker: Events, late: int, counts: bool) -> None:
        end = 3 * DAY_US
        events = event_maker(rows(("z", "view", -1), ("x", "view", 0), ("y", "view", end + late)))
        assert self.truth(events, Split(0, end, 10**15)) == (["x", "y"] if counts else ["x"])

    def test_the_last_event_of_the_log_is_true_for_those_before_it(self, event_maker: Events) -> None:
        events = event_maker(rows(("z", "view", -1), ("x", "view", 5), ("y", "view", 9)))
        assert self.truth(events, Split(0, 5, 10), "test") == ["x", "y"]

    @pytest.mark.parametrize(("before", "own"), [(-1, False), (0, True)])
    def test_what_happened_before_the_anchor_is_history_and_no_truth(self, event_maker: Events, before: int, own: bool) -> None:
        events = event_maker(rows(("y", "view", before), ("x", "view", 0), ("y", "view", 8)))
        for rule in ("recent", "interacted"):
            assert self.truth(events, Split(0, 10**15, 10**15), leave_out=rule) == (["y", "x"] if own else ["x"])  # type: ignore[arg-type]
        for rule in ("purchased", "nothing"):
            assert set(self.truth(events, Split(0, 10**15, 10**15), leave_out=rule)) == {"x", "y"}  # type: ignore[arg-type]


class TestSplits:
    @pytest.mark.parametrize(("at", "name"), [(99, "train"), (100, "valid"), (199, "valid"), (200, "test"), (10**9, "test")])
    def test_an_instant_is_in_one_split(self, at: int, name: str) -> None:
        split = Split(100, 200, 300)
        assert [one for one in SPLITS if split.mask(one, np.array([at]))[0]] == [name]

    def test_bounds_follow_one_another(self) -> None:
        split = Split(100, 200, 300)
        assert [(split.start_of(name), split.end_of(name)) for name in SPLITS] == [
            (-(2**63), 100),
            (100, 200),
            (200, 300),
        ]

    def test_shares_leave_their_number_of_events(self) -> None:
        times = np.arange(1000) * 10
        split = split_by_time(times, 0.1, 0.2)
        assert (split.t_valid, split.t_test, split.end) == (7000, 8000, 9991)
        assert split_by_time(times[::-1], 0.1, 0.2) == split

    def test_dates_are_instants_to_the_microsecond(self) -> None:
        dates = [datetime(2024, 3, day, microsecond=1, tzinfo=timezone.utc) for day in (2, 3)]
        valid, test = (round(date.timestamp()) * 1_000_000 + 1 for date in dates)
        times = np.array([valid - 1, valid, test], dtype=np.int64)
        assert split_by_dates(times, *dates) == Split(valid, test, test + 1)
        with pytest.raises(DataError, match="none is left to train on"):
            split_by_dates(times[1:], *dates)
        with pytest.raises(DataError, match="none is left to validate on"):
            split_by_dates(times + np.array([0, -1, 0]), *dates)
        with pytest.raises(DataError, match="none is left to test on"):
            split_by_dates(times - np.array([0, 0, 1]), *dates)
