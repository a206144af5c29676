"""The law of events for declared tasks: the columns that the gateway gives are those of an export whose log has the events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live_tasks import batch_columns, forms, write_log
from tritonclient.grpc import service_pb2

from cartwheel.core.run_layout import RunLayout
from cartwheel.testing.logs import random_log
from serving.contract.behaviour import EVENTS, Behaviour
from serving.contract.tasks import TaskForm
from serving.export.behaviour import write_behaviour
from serving.gateway.refusal import RefusedError
from serving.gateway.task_columns import TaskColumns
from serving.gateway.tensor_values import add_tensor, read_texts
from serving.store.event import Tracked, shopper_key
from serving.store.item_state import ItemState
from serving.store.sqlite_store import SqliteStore
from serving.store.store import Kept

USERS, ITEMS = [f"u{number}" for number in range(6)], [f"i{number}" for number in range(10)]


@pytest.fixture
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[pl.DataFrame], TaskColumns]:
    def make(known: pl.DataFrame) -> TaskColumns:
        run = tmp_path_factory.mktemp("run")
        write_log(run, known)
        write_behaviour(run, RunLayout(run), forms())
        return TaskColumns(Behaviour.read(run), forms())

    return make


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(seed=st.integers(0, 2**31 - 1), order=st.randoms(use_true_random=False))
def test_a_log_replayed_into_the_store_gives_the_columns_of_the_batch(
    made: Callable[[pl.DataFrame], TaskColumns], tmp_path_factory: pytest.TempPathFactory, seed: int, order: Any
) -> None:
    whole = random_log(seed)
    times = whole["timestamp"].dt.epoch("us").to_numpy()
    border = int(times[int(np.random.default_rng(seed).integers(20, 110))])
    columns = made(whole.filter(pl.Series(times <= border)))
    assert columns.last_event_us == border
    later = list(enumerate(whole.with_columns(pl.col("timestamp").dt.epoch("us")).iter_rows(named=True)))
    later = [(place, row) for place, row in later if row["timestamp"] > border]
    if len({row["timestamp"] for _, row in later}) == len(later):
        order.shuffle(later)
    now = int(times[-1]) + 1
    with SqliteStore(tmp_path_factory.mktemp("store") / "events.db", Kept(days=400)) as store:
        names = ("user_id", "item_id", "event_type", "session_id", "price", "quantity")
        tracked = [
            Tracked(event_id=f"e{place}", time_us=row["timestamp"], **{name: row[name] for name in names}) for place, row in later
        ]
        for start in range(0, len(tracked), 25):  # each a commit, which is on the disk
            store.add(tracked[start : start + 25], now)
        recent = store.recent([shopper_key(user) for user in USERS], border)
        of_items = dict(zip(ITEMS, store.of_items(ITEMS, border), strict=True))
    news = [place for place, row in enumerate(recent) if row]
    acted = [USERS[place] for place in news]
    if acted:
        _check("churn", columns.of_shoppers("churn", acted, [recent[place] for place in news], {}, now), whole, acted, now)
        found = columns.of_shoppers("intent", acted, [recent[place] for place in news], of_items, now)
        _check("intent", found, whole, acted, now)
    moved = [item for item in ITEMS if of_items[item]]
    if moved:
        _check("demand", columns.of_items("demand", moved, [of_items[item] for item in moved], now), whole, moved, now)


def _check(task: str, found: dict[str, list[Any]], events: pl.DataFrame, entities: list[str], now: int) -> None:
    expected = batch_columns(task, events, entities, now)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        wanted = np.array([np.nan if value is None else value for value in values], float)
        given = np.array([np.nan if value is None else value for value in found[name]], float)
        np.testing.assert_allclose(given, wanted, rtol=1e-6, atol=1e-6, err_msg=f"{task}: {name} of {entities}")


def test_where_nothing_happened_a_row_is_as_of_the_export(made: Callable[[pl.DataFrame], TaskColumns]) -> None:
    whole = random_log(3)
    columns = made(whole)
    now = columns.last_event_us + 9 * 86_400_000_000
    with SqliteStore(Path(str(columns._behaviour.events.filename)).parent / "s.db", Kept(days=400)) as store:  # type: ignore[attr-defined]
        event = Tracked("e", "u0", "i1", "view", now - 5)
        store.add([event], now)
        rows = store.recent([shopper_key("u0"), shopper_key("u1")], columns.last_event_us)
    assert columns.of_shoppers("churn", ["u1"], rows[1:], {}, now) == {}
    found = columns.of_shoppers("churn", ["u0", "u1"], rows, {}, now)
    expected = batch_columns("churn", whole, ["u1"], columns.last_event_us + 1)
    for name, values in expected.items():
        assert found[name][1] == pytest.approx(values[0], rel=1e-6) if values[0] is not None else found[name][1] is None, name
    assert found["user_days_since_event"][0] == pytest.approx(5 / 86_400_000_000)


def test_a_price_that_the_shop_sets_is_what_an_item_costs(made: Callable[[pl.DataFrame], TaskColumns]) -> None:
    columns = made(random_log(4))
    now = columns.last_event_us + 1
    assert columns.of_items("demand", ["i1"], [[]], now) == {}
    columns.set_items([ItemState("i1", price=2.0), ItemState("i2", stock=3.0)])
    found = columns.of_items("demand", ["i1", "i2"], [[], []], now)
    before = batch_columns("demand", random_log(4), ["i1", "i2"], now)
    assert found["item_price"] == [2.0, pytest.approx(before["item_price"][1], rel=1e-6)]
    ratios = [before[name][0] or np.nan for name in ("item_price", "item_price_ratio")]
    assert found["item_price_ratio"][0] == pytest.approx(2.0 / (ratios[0] / ratios[1]), rel=1e-6)
    columns.set_items([ItemState("i1", stock=3.0)])
    assert columns.of_items("demand", ["i1"], [[]], now)["item_price"] == [2.0]


def test_what_a_request_gives_stays_and_the_shopper_of_a_session_is_taken_out(
    made: Callable[[pl.DataFrame], TaskColumns],
) -> None:
    columns = made(random_log(5))
    for raw in (True, False):
        asked = service_pb2.ModelInferRequest(model_name="intent")
        add_tensor(asked, "entity", "BYTES", np.array([[b"u1"]], dtype=object), raw=raw)
        add_tensor(asked, "session_events", "FP32", np.array([[7.0]], np.float32), raw=raw)
        found = columns.of_shoppers("intent", ["u1"], [[]], {}, columns.last_event_us + 1)
        whole = columns.added("intent", asked.SerializeToString(), asked, found)
        read = service_pb2.ModelInferRequest.FromString(whole)
        names = [tensor.name for tensor in read.inputs]
        assert "entity" not in names
        assert sorted(names) == sorted(found)
        assert len(read.raw_input_contents) == (len(names) if raw else 0)
        assert read_texts(read, "entity") is None


def test_a_session_task_of_other_families_wants_its_columns(made: Callable[[pl.DataFrame], TaskColumns]) -> None:
    columns = made(random_log(5))
    form = columns._forms["intent"]
    columns._forms["intent"] = TaskForm(**{**vars(form), "families": (*form.families, "my_shop:Weather")})
    with pytest.raises(RefusedError, match="intent reads the feature families my_shop:Weather, which the events of a shopper do"):
        columns.of_shoppers("intent", ["u1"], [[]], {}, 1)


def test_a_run_without_such_tasks_has_no_such_files(tmp_path: Path) -> None:
    write_log(tmp_path, random_log(1))
    write_behaviour(tmp_path, RunLayout(tmp_path), [])
    assert not (tmp_path / EVENTS).exists()
