"""Coding a log, and looking back on it."""

from datetime import datetime, timezone

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import event_tables, few, logs
from recommender_conformance import ask, small

from cartwheel.core.errors import DataError
from models.questions.interactions import Interactions, from_events


@few
@given(event_tables())
def test_the_ids_come_back_in_order_of_user_and_time(events: pl.DataFrame) -> None:
    log = from_events(events)
    expected = events.sort("user_id", "timestamp", maintain_order=True)
    assert log.user_ids.gather(log.user).to_list() == expected["user_id"].to_list()
    assert log.item_ids.gather(log.item).to_list() == expected["item_id"].to_list()
    assert log.time.tolist() == expected["timestamp"].to_list()
    assert (log.users, log.items) == (events["user_id"].n_unique(), events["item_id"].n_unique())


@few
@given(event_tables())
def test_sessions_are_told_apart_by_user_and_session(events: pl.DataFrame) -> None:
    log = from_events(events)
    rows = events.sort("user_id", "timestamp", maintain_order=True).select("user_id", "session_id").rows()
    by_code = dict(zip(log.session.tolist(), rows, strict=True))
    assert [by_code[code] for code in log.session.tolist()] == rows
    assert len(by_code) == len(set(rows))


@few
@given(logs())
def test_each_user_begins_where_starts_says(log: Interactions) -> None:
    for user in range(log.users):
        assert set(log.user[log.starts[user] : log.starts[user + 1]].tolist()) == {user}
    assert log.starts[-1] == len(log)


@few
@given(logs(), st.randoms(use_true_random=False))
def test_taking_some_keeps_users_and_items(log: Interactions, random: object) -> None:
    mask = np.arange(len(log)) % 2 == 0
    some = log.take(mask)
    assert len(some) == mask.sum()
    assert (some.users, some.items) == (log.users, log.items)
    assert some.starts[-1] == len(some)


@few
@given(logs())
def test_the_matrix_says_who_turned_to_what_and_how_strongly(log: Interactions) -> None:
    dense = np.zeros((log.users, log.items))
    np.add.at(dense, (log.user, log.item), 1.0)
    np.testing.assert_array_equal(log.matrix(weighted=True).toarray(), dense)
    np.testing.assert_array_equal(log.matrix().toarray(), dense > 0)


HISTORIES = st.lists(st.lists(st.integers(0, 7), max_size=5), max_size=6)


@given(HISTORIES, st.integers(1, 7))
def test_the_last_items_are_filled_from_the_left(histories: list[list[int]], length: int) -> None:
    expected = [([-1] * length + history)[-length:] for history in histories]
    np.testing.assert_array_equal(ask(*histories).last(length), np.array(expected, np.int64).reshape(len(histories), length))


@given(HISTORIES, st.data())
def test_taking_questions_takes_their_histories(histories: list[list[int]], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(histories) - 1), max_size=8)) if histories else []
    taken, expected = ask(*histories).take(np.array(chosen, np.int64)), ask(*(histories[number] for number in chosen))
    for one, other in ((taken.history, expected.history), (taken.starts, expected.starts), (taken.times, expected.times)):
        np.testing.assert_array_equal(one, other)
    dense = np.zeros((len(chosen), 8))
    for row, number in enumerate(chosen):
        dense[row, histories[number]] = 1.0
    np.testing.assert_array_equal(taken.matrix(8).toarray(), dense)


def test_a_time_is_microseconds_whatever_its_unit() -> None:
    moment = datetime(2024, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
    for unit in ("ms", "us", "ns"):
        events = pl.DataFrame(
            {"user_id": ["a"], "item_id": ["x"], "timestamp": pl.Series([moment]).cast(pl.Datetime(unit, "UTC"))}
        )
        assert from_events(events).time.tolist() == [round(moment.timestamp() * 1e6)]


def test_an_items_category_is_the_last_one_known() -> None:
    events = pl.DataFrame(
        {
            "user_id": [1, 2, 1, 2],
            "item_id": ["a", "a", "a", "b"],
            "timestamp": [1, 3, 2, 1],
            "category": ["tea", None, "cup", None],
        }
    )
    assert from_events(events).category.tolist() == [1, 0]
    assert small([(0, 0, 1)]).category.tolist() == [0]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ({"user_id": ["a"], "item_id": ["x"]}, "have no column 'timestamp'"),
        ({"user_id": ["a", None], "item_id": ["x", "y"], "timestamp": [1, 2]}, "'user_id' of the interactions has 1 nulls"),
        ({"user_id": [], "item_id": [], "timestamp": []}, "There are no interactions"),
    ],
)
def test_a_log_that_cannot_be_coded_is_refused(events: dict[str, list[object]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_events(pl.DataFrame(events))
