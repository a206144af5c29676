"""The law of a request: its features are those of the log with what the request tells of appended as events."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_run import AS_OF_US, HOUR_US, SESSION_GAP_US, SyntheticRun

from serving.export.parity import unpacked
from serving.export.repository import write_repository
from serving.local import LocalRepository
from serving.settings import ExportSettings
from workflows.compiler.onnx_graph import ENCODED_SUFFIX
from workflows.events.event_log import EVENT_COLUMNS, EventLog, code_events
from workflows.features.columns import QUERY, QUERY_CONTINUOUS, QUERY_LISTS, STRINGS
from workflows.features.item import ItemHistory
from workflows.features.requests import request_kinds
from workflows.features.shopper import History
from workflows.prepare.snapshot import users_frame
from workflows.tasks.catalogue import catalogue_frame
from workflows.tasks.leave_out import LeftOut, left_out_codes

LENGTH = 5
KINDS = ("view", "cart", "purchase", "rating")
MINUTES = SESSION_GAP_US // 60_000_000
NEW = "new"
"""A key that the log does not know."""


def random_log() -> pl.DataFrame:
    """Events up to the snapshot: sessions that are still running, missing prices, changing categories."""
    rng = np.random.default_rng(3)
    items = rng.integers(0, 30, 400)
    gaps = rng.choice([0, 1, 5, MINUTES, MINUTES + 1, 600], 400)
    users = np.sort(rng.integers(0, 12, 400))
    minutes = np.concatenate([np.cumsum(gaps[users == user][::-1])[::-1] for user in range(12)])
    prices = np.where(rng.random(400) < 0.3, np.nan, np.round(5.0 + items + rng.random(400), 2))
    return pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in users],
            "item_id": [str(1000 + item) for item in items],
            "event_type": rng.choice(KINDS, 400, p=[0.6, 0.2, 0.1, 0.1]).tolist(),
            "timestamp": pl.Series(AS_OF_US - 1 - minutes * 60_000_000).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            "session_id": None,
            "category": [None if item % 5 == 0 else ("books", "garden", "music")[item % 3] for item in items],
            "brand": [None if item % 4 == 0 else ("acme", "zeta")[item % 2] for item in items],
            "price": pl.Series(prices, nan_to_null=True),
            "quantity": None,
        },
        schema=EVENT_COLUMNS,
    ).sort("timestamp", maintain_order=True)


class Shop(SyntheticRun):
    """A synthetic run whose snapshot is that of a log."""

    def __init__(self, path: Path, events: pl.DataFrame) -> None:
        super().__init__(path, items=30, users=12, seed=7, cart=True, dimension=8, recents=LENGTH)
        log = code_events(events, KINDS)
        catalogue = catalogue_frame(ItemHistory(log, 7.0), AS_OF_US)
        history = History(log, MINUTES, LENGTH)
        users = users_frame(log, history, AS_OF_US)
        keys = np.flatnonzero((log.users != "").to_numpy())
        at = np.full(len(keys), AS_OF_US)
        hidden = LeftOut(log, history, "interacted").pairs(keys, at, history.recent(*history.bounds(keys, at)))
        users = users.hstack([left_out_codes(*hidden, len(keys))])
        self.items = catalogue.to_dict(as_series=False)
        self.item_ids = self.items["item_id"]
        self.users = users.with_columns(
            pl.col("last_seen", "session_start").dt.epoch("us"), pl.col("session_events").cast(pl.Float32)
        ).to_dict(as_series=False)
        self.user_ids = self.users["user_id"]
        assert request_kinds(log) == {"recent_items": "view", "cart_items": "cart"}


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    return random_log()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, events: pl.DataFrame) -> Shop:
    made = Shop(tmp_path_factory.mktemp("law") / "run", events)
    made.write()
    return made


@pytest.fixture(scope="module")
def repository(shop: Shop) -> LocalRepository:
    return LocalRepository(write_repository(shop.path, ExportSettings()))


ids = st.sampled_from([*(str(1000 + item) for item in range(12)), "", "unknown", "ünbekannt"])
lists = st.one_of(st.just([""]), st.lists(ids, min_size=1, max_size=9))
requests = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from([*(f"u{user}" for user in range(12)), "", "nobody"]),
        "recent_items": lists,
        "cart_items": lists,
        "later": st.one_of(st.integers(0, 2), st.integers(SESSION_GAP_US - 2, SESSION_GAP_US + 2), st.integers(0, 300 * HOUR_US)),
    }
)


def told_events(request: dict[str, Any], items: dict[str, dict[str, Any]]) -> pl.DataFrame:
    """What a request tells of, as events of the microsecond before it."""
    told = [
        (item, kind) for name, kind in (("recent_items", "view"), ("cart_items", "cart")) for item in last_mentions(request[name])
    ]
    facts = [items.get(item, {"item_category": "", "item_brand": "", "item_price": None}) for item, _ in told]
    instant = AS_OF_US + request["later"] - 1
    return pl.DataFrame(
        {
            "user_id": [request["user_id"] if request["user_id"].startswith("u") else NEW] * len(told),
            "item_id": [item for item, _ in told],
            "event_type": [kind for _, kind in told],
            "timestamp": pl.Series([instant] * len(told), dtype=pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
            "session_id": pl.Series([None] * len(told), dtype=pl.String),
            "category": [fact["item_category"] or None for fact in facts],
            "brand": [fact["item_brand"] or None for fact in facts],
            "price": [fact["item_price"] for fact in facts],
            "quantity": [None] * len(told),
        },
        schema=EVENT_COLUMNS,
    )


def last_mentions(items: list[str]) -> list[str]:
    return list(dict.fromkeys(item for item in reversed(items) if item))[::-1]


def query(log: EventLog, request: dict[str, Any]) -> dict[str, Any]:
    """The raw QUERY columns of the shopper in a log at the instant of the request."""
    history = History(log, MINUTES, LENGTH)
    name = request["user_id"] if request["user_id"].startswith("u") else NEW
    key = np.flatnonzero((log.users == name).to_numpy())
    found = history.queries(key if len(key) else np.array([-1]), np.array([AS_OF_US + request["later"]]))
    row = history.frame(found, lists=True).row(0, named=True)
    return row | {"user_id": request["user_id"] if request["user_id"].startswith("u") else ""}


def feed(name: str, values: list[Any]) -> np.ndarray:
    if name in QUERY_LISTS:
        return np.array([[*value, *[""] * (LENGTH - len(value))] for value in values], dtype=object)
    if name in STRINGS:
        return np.array(values, dtype=object).reshape(-1, 1)
    filled = [np.nan if value is None else value for value in values]
    return np.array(filled, np.float32 if name in QUERY_CONTINUOUS else np.int64).reshape(-1, 1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(batch=st.lists(requests, min_size=1, max_size=3))
def test_a_request_is_encoded_as_the_log_with_its_events_appended(
    repository: LocalRepository, shop: Shop, events: pl.DataFrame, batch: list[dict[str, Any]]
) -> None:
    items = {row["item_id"]: row for row in pl.DataFrame(shop.items).iter_rows(named=True)}
    queries = [query(code_events(pl.concat([events, told_events(request, items)]), KINDS), request) for request in batch]
    width = {name: max(len(request[name]) for request in batch) for name in ("recent_items", "cart_items")}
    inputs = {
        name: np.array([[*request[name], *[""] * (size - len(request[name]))] for request in batch], dtype=object)
        for name, size in width.items()
    }
    inputs["user_id"] = np.array([[request["user_id"]] for request in batch], dtype=object)
    inputs["timestamp"] = np.array([[AS_OF_US + request["later"]] for request in batch], np.int64)
    served = unpacked(repository.run("recommend_encode", inputs), LENGTH)
    workflow = onnxruntime.InferenceSession(str(shop.path / "workflow/query.onnx"))
    names = [output.name for output in workflow.get_outputs()]
    expected = workflow.run(names, {name: feed(name, [query[name] for query in queries]) for name in QUERY})
    for name, value in zip(names, expected, strict=True):
        np.testing.assert_allclose(served[name.removesuffix(ENCODED_SUFFIX)], value, rtol=1e-6, atol=1e-9, err_msg=name)
