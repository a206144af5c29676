"""The snapshot: what serving starts from says what the offline features say."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from cartwheel.core.errors import RunError
from workflows.features import columns
from workflows.features.recompute import left_out_items
from workflows.prepare.examples import build_examples
from workflows.prepare.snapshot import read_id_types, snapshot_instant
from workflows.settings import LeaveOut, PrepareSettings

MINUTE = 60_000_000


def test_the_instant_is_the_first_refresh_after_the_last_event() -> None:
    step = 1440 * MINUTE
    assert [snapshot_instant(last, 1440) for last in (0, step - 2, step - 1, step)] == [step, step, step, 2 * step]


def test_the_state_says_how_to_compute(shop_run: Path, shop_events: pl.DataFrame, shop_settings: PrepareSettings) -> None:
    state = json.loads((shop_run / "snapshot" / "state.json").read_text())
    last = shop_events["timestamp"].dt.epoch("us").max()
    assert state["as_of_us"] == snapshot_instant(last, shop_settings.state_minutes)  # type: ignore[arg-type]
    assert state["session_gap_us"] == 30 * MINUTE
    assert state["recent_items"] == shop_settings.recent_items
    assert state["leave_out"] == "interacted"
    assert state["has_cart"] is True
    assert state["request_kinds"] == {"recent_items": "view", "cart_items": "cart"}
    assert state["id_types"] == {"user_id": "string", "item_id": "int64"}


def test_items_are_all_there_in_order(shop_run: Path, shop_events: pl.DataFrame) -> None:
    items = pl.read_parquet(shop_run / "snapshot" / "items.parquet")
    assert items.columns == list(columns.ITEM)
    assert items["item_id"].to_list() == sorted(shop_events["item_id"].unique().to_list())
    assert (items["item_age_days"] > 0).all()


def test_parity_queries_follow_from_the_users_table(shop_run: Path) -> None:
    """Serving computes these from the users table and the clock; so does this test."""
    users = pl.read_parquet(shop_run / "snapshot" / "users.parquet")
    queries = pl.read_parquet(shop_run / "snapshot" / "queries.parquet")
    state = json.loads((shop_run / "snapshot" / "state.json").read_text())
    assert queries.columns == [*columns.QUERY, "left_out"]
    stranger = queries.row(-1, named=True)
    assert stranger["user_id"] not in users["user_id"]
    assert (stranger["user_events"], stranger["user_recency_hours"], stranger["recent_items"]) == (0, None, [])
    known = queries[:-1].join(users, on="user_id", suffix="_stored", maintain_order="left")
    assert len(known) == len(queries) - 1 == len(users)
    for row in known.with_columns(pl.col("last_seen", "session_start").dt.epoch("us")).iter_rows(named=True):
        since = state["as_of_us"] - row["last_seen"]
        running = since <= state["session_gap_us"]
        assert row["user_recency_hours"] == pytest.approx(since / 3.6e9)
        assert row["session_events"] == (row["session_events_stored"] if running else 0)
        assert row["session_minutes"] == pytest.approx((state["as_of_us"] - row["session_start"]) / 6e7 if running else 0)
        for column in ("user_events", "user_views", "user_carts", "user_purchases", "user_mean_price", *columns.QUERY_LISTS):
            assert row[column] == row[f"{column}_stored"]


def test_only_identified_users_are_stored(shop_run: Path, shop_events: pl.DataFrame, shop_settings: PrepareSettings) -> None:
    users = pl.read_parquet(shop_run / "snapshot" / "users.parquet")
    interacting = shop_events.filter(pl.col("event_type").is_in(shop_settings.interaction_types))
    assert users["user_id"].to_list() == sorted(interacting["user_id"].drop_nulls().unique().to_list())


def test_catalogues_hold_what_was_seen_before_their_split(shop_run: Path, shop_events: pl.DataFrame) -> None:
    report = json.loads((shop_run / "examples" / "report.json").read_text())
    for name in ("valid", "test"):
        start = pl.lit(report[f"t_{name}"]).str.to_datetime(time_unit="us", time_zone="UTC")
        catalogue = pl.read_parquet(shop_run / "examples" / name / "catalogue.parquet")
        before = shop_events.filter(pl.col("timestamp") < start)
        assert catalogue["item_id"].to_list() == sorted(before["item_id"].unique().to_list())
        assert catalogue.columns == list(columns.ITEM)


def test_a_summary_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    events = tmp_path / "events.parquet"
    assert read_id_types(events) == {"user_id": "string", "item_id": "string"}
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(RunError, match=r"summary\.json has no readable id_types"):
        read_id_types(events)


def _of_rule(folder: Path, events: pl.DataFrame, settings: PrepareSettings, rule: LeaveOut) -> Path:
    (folder / "events").mkdir(parents=True)
    events.write_parquet(folder / "events" / "events.parquet")
    build_examples(folder / "events" / "events.parquet", folder, settings, 3, rule)
    return folder / "snapshot"


@pytest.mark.parametrize("rule", ["recent", "purchased", "interacted", "nothing"])
def test_what_is_left_out_is_stored_as_rows_of_the_items_and_told_by_id_for_the_queries(
    tmp_path: Path, shop_events: pl.DataFrame, shop_settings: PrepareSettings, rule: LeaveOut
) -> None:
    folder = _of_rule(tmp_path, shop_events, shop_settings, rule)
    items, users, queries = (pl.read_parquet(folder / f"{name}.parquet") for name in ("items", "users", "queries"))
    end = json.loads((folder / "state.json").read_text())["as_of_us"]
    events = shop_events.with_columns(pl.col("timestamp").dt.epoch("us").alias("time"))
    assert users.schema["left_out"] == pl.List(pl.Int32)
    for user, stored in users.select("user_id", "left_out").iter_rows():
        expected = left_out_items(events.filter(pl.col("user_id") == user).to_dicts(), end, shop_settings, rule)
        assert sorted(items["item_id"].gather(stored)) == (sorted(expected) if rule != "recent" else [])
        told = queries.filter(pl.col("user_id") == user)["left_out"].to_list()
        assert told == [sorted(expected)]
    assert queries["left_out"][-1].to_list() == []


def test_the_longest_histories_are_among_the_parity_queries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shop_events: pl.DataFrame, shop_settings: PrepareSettings
) -> None:
    monkeypatch.setattr("workflows.prepare.snapshot.PARITY_USERS", 9)
    monkeypatch.setattr("workflows.prepare.snapshot.PARITY_LONGEST", 4)
    folder = _of_rule(tmp_path, shop_events, shop_settings, "interacted")
    users, queries = (pl.read_parquet(folder / f"{name}.parquet") for name in ("users", "queries"))
    longest = users.sort("user_events", descending=True).head(4)["user_id"].to_list()
    assert set(longest) <= set(queries["user_id"])
    assert len(queries) == 10
    assert queries["user_id"][:-1].is_sorted()
