"""The law of a request: its features are those of the log with what the request tells of appended as events."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_shop import KINDS, LENGTH, NEW, Shop, encoded, query, random_log
from synthetic_run import AS_OF_US, HOUR_US, SESSION_GAP_US

from serving.export.parity import unpacked
from serving.export.repository import write_repository
from serving.local import LocalRepository
from serving.settings import ExportSettings
from workflows.events.event_log import EVENT_COLUMNS, code_events


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
    for name, value in encoded(shop.path, queries).items():
        np.testing.assert_allclose(served[name], value, rtol=1e-6, atol=1e-9, err_msg=name)
