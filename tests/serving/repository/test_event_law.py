"""The law of events: a snapshot and the events since then give what a snapshot with those events in its log gives, whatever they are."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_shop import KINDS, LENGTH, MINUTES, Shop, encoded, query, random_log
from synthetic_run import AS_OF_US, SESSION_GAP_US

from cartwheel.core.errors import UsageError
from serving.contract.left_out import FILE, LeftOut
from serving.export.parity import unpacked
from serving.export.repository import write_repository
from serving.local import LocalRepository
from serving.settings import ExportSettings
from serving.store.event import Recent, Tracked, shopper_key
from serving.store.sqlite_store import SqliteStore
from serving.store.store import Kept
from workflows.events.event_log import EVENT_COLUMNS, MINUTE_US, EventLog, code_events
from workflows.features.columns import FORMS
from workflows.features.recompute import left_out_items
from workflows.settings import PrepareSettings

IDLE_US = 45 * MINUTE_US
"""How long before the snapshot the last event is that it knows: a shop's state is that of the next refresh."""
SOLD = ("purchase", "view", "refund", "cart")
RULES = ("interacted", "purchased", "recent", "nothing")


@pytest.fixture(scope="module", params=RULES)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, pl.DataFrame, LocalRepository]:
    number = RULES.index(request.param)
    log = random_log(11 + number, IDLE_US, SOLD if request.param == "purchased" else KINDS)
    made = Shop(tmp_path_factory.mktemp("law") / "run", log, request.param)
    made.write()
    return made, log, LocalRepository(write_repository(made.path, ExportSettings()))


events = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(["u0", "u0", "u1", "fresh"]),
            "item_id": st.sampled_from([*(str(1000 + item) for item in (3, 4, 5, 6)), "unknown", "ünbekannt"]),
            "event_type": st.sampled_from([*KINDS, "purchase", "purchase", "refund", "refund", "refund", "never heard of"]),
            "pause": st.sampled_from([0, 1, 5 * MINUTE_US, SESSION_GAP_US, SESSION_GAP_US + 1]),
            "price": st.one_of(st.none(), st.floats(0, 99, width=32)),
        }
    ),
    min_size=6,
    max_size=24,
)


def timed(drawn: list[dict[str, Any]], start: int) -> list[dict[str, Any]]:
    times = start + 1 + np.cumsum([event["pause"] for event in drawn], dtype=np.int64)
    return [{**event, "time": int(time)} for event, time in zip(drawn, times, strict=True)]


def as_log(given_events: list[dict[str, Any]], shop: Shop) -> pl.DataFrame:
    """The events as the log has them; of an item it has category and brand of the snapshot, and so of a price that is not given."""
    items = {row["item_id"]: row for row in pl.DataFrame(shop.items).iter_rows(named=True)}
    nothing = {"item_category": "", "item_brand": "", "item_price": None}
    facts = [items.get(event["item_id"], nothing) for event in given_events]
    columns = {name: [event[name] for event in given_events] for name in ("user_id", "item_id", "event_type")}
    stamps = pl.Series([event["time"] for event in given_events], dtype=pl.Int64).cast(pl.Datetime("us"))
    return pl.DataFrame(
        {
            **columns,
            "timestamp": stamps.dt.replace_time_zone("UTC"),
            "session_id": pl.Series([None] * len(facts), dtype=pl.String),
            "category": [fact["item_category"] or None for fact in facts],
            "brand": [fact["item_brand"] or None for fact in facts],
            "price": [
                fact["item_price"] if event["price"] is None else event["price"]
                for event, fact in zip(given_events, facts, strict=True)
            ],
            "quantity": [None] * len(facts),
        },
        schema=EVENT_COLUMNS,
    )


def inputs(batch: list[list[dict[str, Any]]], users: list[str], asked: list[int]) -> dict[str, np.ndarray]:
    """What a request for these users gives, each with their own events."""
    width = max(1, *map(len, batch))

    def padded(name: str, filler: Any, dtype: Any) -> np.ndarray:
        rows = [[filler if event[name] is None else event[name] for event in row] for row in batch]
        return np.array([[*row, *[filler] * (width - len(row))] for row in rows], dtype=dtype)

    return {
        "user_id": np.array([[user] for user in users], dtype=object),
        "timestamp": np.array([[time] for time in asked], np.int64),
        "events_item": padded("item_id", "", object),
        "events_type": padded("event_type", "", object),
        "events_time": padded("time", 0, np.int64),
        "events_price": padded("price", np.nan, np.float32),
    }


def expected_left_out(shop: Shop, log: pl.DataFrame, user: str, anchor: int) -> set[str]:
    rows = log.filter(pl.col("user_id") == user).with_columns(time=pl.col("timestamp").dt.epoch("us")).to_dicts()
    chosen = PrepareSettings(recent_items=LENGTH, interaction_types=KINDS, session_gap_minutes=MINUTES)
    return left_out_items(rows, anchor, chosen, shop.leave_out) & set(shop.item_ids)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    drawn=st.one_of(st.just([]), events, events, events),
    users=st.lists(st.sampled_from(["u0", "u1", "u9", "fresh", "nobody", ""]), min_size=1, max_size=3),
    later=st.sampled_from([0, 1, 2, 10 * MINUTE_US, SESSION_GAP_US, SESSION_GAP_US + 1, 2000 * MINUTE_US]),
    order=st.randoms(use_true_random=False),
)
def test_events_since_the_snapshot_are_as_events_of_its_log(
    shop: tuple[Shop, pl.DataFrame, LocalRepository], drawn: list[dict[str, Any]], users: list[str], later: int, order: Any
) -> None:
    made, log, repository = shop
    given_events = timed(drawn, made.last_event_us)
    anchor = (given_events[len(given_events) * 4 // 5]["time"] if given_events else AS_OF_US) + later
    whole = pl.concat([log, as_log(given_events, made)])
    coded: EventLog = code_events(whole, KINDS)
    batch = [[event for event in given_events if event["user_id"] == user] for user in users]
    # What the snapshot knows already is given again, and the order of what arrives is not that in which it happened.
    known = {"item_id": "1000", "event_type": "purchase", "time": made.last_event_us, "price": 5.0}
    given_rows = [sorted([known, *row], key=lambda event: event["time"]) for row in batch]
    for row in given_rows:
        times = [event["time"] for event in row]
        if len(set(times)) == len(times):
            order.shuffle(row)
    answer = repository.run("recommend_encode", inputs(given_rows, users, [anchor] * len(users)))
    served = unpacked(answer, LENGTH)
    queries = [
        query(coded, {"user_id": user, "later": anchor - AS_OF_US}, stored={*made.user_ids, *new_users(given_events, anchor)})
        for user in users
    ]
    for name, value in encoded(made.path, queries).items():
        np.testing.assert_allclose(served[name], value, rtol=1e-6, atol=1e-9, err_msg=name)
    for place, user in enumerate(users):
        left_out = {made.item_ids[index] for index in answer["excluded"][place] if 0 <= index < len(made.item_ids)}
        assert left_out == expected_left_out(made, whole, user, anchor), user
        assert FORMS[int(answer["form"][place, 0])] == ("known user" if queries[place]["user_id"] else "stranger")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(drawn=events, user=st.sampled_from(["u0", "u1", "u9", "fresh"]))
def test_what_the_gateway_leaves_out_beside_an_item_is_what_the_batch_leaves_out(
    shop: tuple[Shop, pl.DataFrame, LocalRepository], drawn: list[dict[str, Any]], user: str
) -> None:
    made, log, repository = shop
    given_events = timed(drawn, made.last_event_us)
    since = [
        Recent(event["item_id"], event["event_type"], event["time"], None) for event in given_events if event["user_id"] == user
    ]
    kept = LeftOut.read(repository.path / FILE)
    places = {item: place for place, item in enumerate(made.item_ids)}
    found = {made.item_ids[place] for place in kept.of(user, since, places.get) if place < len(made.item_ids)}
    anchor = max(event["time"] for event in given_events) + 1
    assert found == expected_left_out(made, pl.concat([log, as_log(given_events, made)]), user, anchor)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(drawn=events, order=st.randoms(use_true_random=False))
def test_a_log_that_is_replayed_event_by_event_into_the_store_gives_the_features_of_the_batch(
    shop: tuple[Shop, pl.DataFrame, LocalRepository],
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[dict[str, Any]],
    order: Any,
) -> None:
    made, log, repository = shop
    given_events = timed(drawn, made.last_event_us)
    coded = code_events(pl.concat([log, as_log(given_events, made)]), KINDS)
    known = {event["user_id"] for event in given_events if event["event_type"] in KINDS}
    users = ["u0", "u1", "fresh", "nobody"]
    replayed = list(enumerate(given_events))
    if len({event["time"] for event in given_events}) == len(given_events):
        order.shuffle(replayed)  # late ones go where they belong
    with SqliteStore(tmp_path_factory.mktemp("store") / "events.db", Kept()) as store:
        for number, event in replayed:
            values = {name: event[name] for name in ("user_id", "item_id", "event_type", "price")}
            tracked = Tracked(event_id=f"e{number}", time_us=event["time"], **values)
            assert store.add([tracked], event["time"]) == [True]
            assert store.add([tracked], event["time"]) == [False], "told twice, counted once"
        found = store.recent([shopper_key(user) for user in users], made.last_event_us)
    rows = [
        [{"item_id": one.item_id, "event_type": one.event_type, "time": one.time_us, "price": one.price} for one in row]
        for row in found
    ]
    anchor = max(event["time"] for event in given_events) + 1
    answer = repository.run("recommend_encode", inputs(rows, users, [anchor] * len(users)))
    served = unpacked(answer, LENGTH)
    queries = [query(coded, {"user_id": user, "later": anchor - AS_OF_US}, stored={*made.user_ids, *known}) for user in users]
    for name, value in encoded(made.path, queries).items():
        np.testing.assert_allclose(served[name], value, rtol=1e-6, atol=1e-9, err_msg=name)


def new_users(given_events: list[dict[str, Any]], anchor: int) -> set[str]:
    """Who is known by what happened since the snapshot."""
    return {event["user_id"] for event in given_events if event["time"] < anchor and event["event_type"] in KINDS}


def test_a_request_that_says_no_time_is_asked_just_after_the_last_event(
    shop: tuple[Shop, pl.DataFrame, LocalRepository],
) -> None:
    made, _, repository = shop
    seen = {"item_id": "1001", "event_type": "view", "price": None}
    for time in (made.last_event_us + 5, AS_OF_US + 90 * MINUTE_US):
        given_events = [{**seen, "time": time}]
        said = repository.run("recommend_encode", inputs([given_events], ["u1"], [max(time + 1, AS_OF_US)]))
        unsaid = repository.run("recommend_encode", inputs([given_events], ["u1"], [0]))
        for name, value in said.items():
            np.testing.assert_array_equal(unsaid[name], value, err_msg=name)


def test_events_that_say_no_type_time_or_price_are_recent_items(shop: tuple[Shop, pl.DataFrame, LocalRepository]) -> None:
    made, _, repository = shop
    asked = {"user_id": np.array([["u1"]], dtype=object), "timestamp": np.array([[AS_OF_US + 7]], np.int64)}
    items = np.array([["1003", "", "unknown", "1001"]], dtype=object)
    as_events = repository.run("recommend_encode", {**asked, "events_item": items})
    told = repository.run("recommend_encode", {**asked, "recent_items": items})
    for name in ("query_categorical", "query_continuous", "query_lists", "recents", "user_mean_price"):
        np.testing.assert_allclose(as_events[name], told[name], rtol=1e-6, err_msg=name)
    if made.leave_out == "purchased":
        assert set(as_events["excluded"].ravel().tolist()) == set(told["excluded"].ravel().tolist())


def test_lists_of_events_that_differ_in_length_are_refused(shop: tuple[Shop, pl.DataFrame, LocalRepository]) -> None:
    _, _, repository = shop
    with pytest.raises(UsageError, match=r"differ in the length of their lists: \{'events_item': 2, 'events_type': 1\}"):
        repository.ask("recommend", user_id=[["u1"]], events_item=[["1000", "1001"]], events_type=[["view"]])


def test_as_many_refunds_undo_a_purchase_as_it_was_bought(shop: tuple[Shop, pl.DataFrame, LocalRepository]) -> None:
    made, _, repository = shop
    if made.leave_out != "purchased":
        pytest.skip("no refund undoes anything by this rule")
    place = made.user_ids.index("u0")
    bought = dict(zip(made.users["left_out"][place], made.users["left_out_times"][place], strict=True))
    assert max(bought.values()) > 1
    for item, times in bought.items():
        refund = {"item_id": made.item_ids[item], "event_type": "refund", "price": None}
        for refunds in range(1, times + 1):
            rows = [{**refund, "time": made.last_event_us + 1 + number} for number in range(refunds)]
            answer = repository.run("recommend_encode", inputs([rows], ["u0"], [AS_OF_US]))
            assert (item in answer["excluded"]) == (refunds < times), (item, refunds)
