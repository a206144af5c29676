"""The running session of a request ends where that of a training row does: at the gap, one microsecond before and after it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from synthetic_run import SESSION_GAP_US

from serving.export.parity import unpacked
from serving.local import LocalRepository
from workflows.events.event_log import EVENT_COLUMNS, code_events
from workflows.features.shopper import ShopperFeatures

AROUND = np.array([-1, 0, 1])
MINUTES = SESSION_GAP_US // 60_000_000


@pytest.fixture(scope="module")
def shopper(run: Path) -> dict[str, object]:
    """A shopper of the snapshot with a stored session of several events."""
    users = pl.read_parquet(run / "snapshot" / "users.parquet").filter(pl.col("session_events") > 1)
    return users.with_columns(pl.col("last_seen", "session_start").dt.epoch("us")).row(0, named=True)


def served(local: LocalRepository, user: str, asked: np.ndarray, items: str = "") -> dict[str, np.ndarray]:
    inputs = {
        "user_id": np.array([[user]] * len(asked), dtype=object),
        "cart_items": np.array([[items]] * len(asked), dtype=object),
        "timestamp": asked.reshape(-1, 1).astype(np.int64),
    }
    return unpacked(local.run("recommend_encode", inputs), 15)


def trained(shopper: dict[str, object], asked: np.ndarray) -> list[bool]:
    """Whether a training row has a running session at each instant, of a shopper last seen when this one was."""
    seen = shopper["last_seen"]
    row = {"user_id": "a", "item_id": "x", "event_type": "view", "timestamp": seen}
    frame = pl.DataFrame([{name: row.get(name) for name in EVENT_COLUMNS}], schema={**EVENT_COLUMNS, "timestamp": pl.Int64})
    stamp = pl.col("timestamp").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    history = ShopperFeatures(code_events(frame.with_columns(stamp), ("view",)), MINUTES, 5)
    found = history.queries(np.zeros(len(asked), dtype=np.int64), asked).continuous
    return [bool(events > 0) for events in found["session_events"]]


def test_request_and_training_agree_at_the_gap(local: LocalRepository, shopper: dict[str, object]) -> None:
    asked = shopper["last_seen"] + SESSION_GAP_US + AROUND  # type: ignore[operator]
    assert trained(shopper, asked) == [True, True, False]
    found = served(local, str(shopper["user_id"]), asked)
    stranger = served(local, "nobody", asked)
    for name in ("session_events", "session_minutes"):
        value, none = found[name].ravel(), stranger[name].ravel()
        assert value[0] == pytest.approx(value[1], rel=1e-5), name
        assert value[1] != pytest.approx(none[1], rel=1e-3), name
        assert value[2] == none[2], name


def test_so_do_they_where_the_request_tells_of_an_item(local: LocalRepository, shopper: dict[str, object]) -> None:
    """What a request tells of happened one microsecond before it: the pause ends then, and so the bound is one later."""
    asked = shopper["last_seen"] + SESSION_GAP_US + AROUND + 1  # type: ignore[operator]
    found, stranger = (
        served(local, user, asked, "1001")["session_events"].ravel() for user in (str(shopper["user_id"]), "nobody")
    )
    assert found[0] == found[1] != stranger[1]
    assert found[2] == stranger[2]
