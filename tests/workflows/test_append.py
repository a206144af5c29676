"""A log that goes on: each event once, whatever the source still holds, and nothing of another schema."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest

from cartwheel.core.errors import DataError, RunError
from cartwheel.core.run_layout import EventsLayout
from workflows.events.append import Batch, append_events, read_summary
from workflows.events.identity import join_identity
from workflows.events.sources import open_source
from workflows.events.validate import check_events
from workflows.settings import EventSettings, SourceSettings, TableSettings

START = datetime(2024, 1, 1, tzinfo=timezone.utc)
ROWS = [
    ("7", "lamp", "view", 0, 9.5),
    ("7", "lamp", "purchase", 1, 9.5),
    ("7", "lamp", "purchase", 1, 9.5),
    ("8", "mug", "view", 2, None),
    ("9", "mug", "cart", 3, 4.0),
]


def written(path: Path, rows: list[tuple[str, str, str, int, float | None]], **own: list[object]) -> Path:
    columns = list(zip(*rows, strict=True))
    table = pl.DataFrame(
        {
            "user_id": columns[0],
            "item_id": columns[1],
            "event_type": columns[2],
            "timestamp": [START + timedelta(hours=hours) for hours in columns[3]],
            "price": pl.Series(columns[4], dtype=pl.Float64),
            **own,
        }
    ).with_columns(pl.col("user_id").cast(pl.Int64))
    path.parent.mkdir(parents=True, exist_ok=True)
    table.write_parquet(path)
    return path


def checked(path: Path, target: Path, *own: str, whole: bool = True) -> Batch:
    settings = SourceSettings(kind="table", path=path, columns={name: name for name in own})
    summary = check_events(open_source(settings, path.parent), EventSettings(max_bad_share=0.9), target)
    return Batch(EventsLayout(target), summary, whole)


@pytest.fixture
def earlier(tmp_path: Path) -> EventsLayout:
    return checked(written(tmp_path / "old.parquet", ROWS), tmp_path / "earlier").events


NEW = [("10", "lamp", "view", 5, 9.0), ("7", "vase", "view", 6, 1.0)]


@pytest.mark.parametrize("held", [ROWS, ROWS[3:], []], ids=["all", "some", "none"])
def test_a_log_goes_on_alike_whatever_the_source_still_holds(
    tmp_path: Path, earlier: EventsLayout, held: list[tuple[str, str, str, int, float | None]]
) -> None:
    batch = checked(written(tmp_path / "new.parquet", [*held, *NEW]), tmp_path / "batch")
    target = EventsLayout(tmp_path / "log")
    appended = append_events(earlier, [batch], target)
    anew = checked(written(tmp_path / "whole.parquet", [*ROWS, *NEW]), tmp_path / "whole")
    assert pl.read_parquet(target.events).equals(pl.read_parquet(anew.events.events))
    assert (appended.new, appended.late) == (2, 0)
    found, expected = appended.summary.as_json(), anew.summary.as_json()
    for name in ("rows", "users", "items", "first", "last", "event_types", "id_types", "own_columns"):
        assert found[name] == expected[name], name
    assert read_summary(target) == appended.summary


def test_late_events_stand_where_they_belong_and_are_counted(tmp_path: Path, earlier: EventsLayout) -> None:
    batch = checked(written(tmp_path / "new.parquet", [("8", "lamp", "view", 1, None), *NEW]), tmp_path / "batch")
    appended = append_events(earlier, [batch], EventsLayout(tmp_path / "log"))
    assert (appended.new, appended.late) == (3, 1)
    times = pl.read_parquet(tmp_path / "log" / "events.parquet")["timestamp"]
    assert times.is_sorted()


def test_what_was_refused_stays_told_with_its_reason(tmp_path: Path) -> None:
    old = checked(written(tmp_path / "old.parquet", [*ROWS, ("8", "mug", "vieww", 3, 1.0)]), tmp_path / "earlier").events
    batch = checked(written(tmp_path / "new.parquet", [*NEW, ("8", "mug", "view", 7, -1.0)]), tmp_path / "batch")
    appended = append_events(old, [batch], EventsLayout(tmp_path / "log"))
    refused = pl.read_parquet(tmp_path / "log" / "quarantine.parquet")
    assert refused["file"].to_list() == ["old.parquet", "new.parquet"]
    assert appended.summary.quarantined == 2 == sum(appended.summary.reasons.values())


def test_another_schema_is_refused_but_what_a_gateway_took_in_lacks_own_columns(tmp_path: Path) -> None:
    old = checked(written(tmp_path / "old.parquet", ROWS, colour=["red"] * len(ROWS)), tmp_path / "earlier", "colour").events
    plain = written(tmp_path / "new.parquet", NEW)
    target = EventsLayout(tmp_path / "log")
    with pytest.raises(DataError, match=r"another schema .* new\.parquet lacks the column 'colour' of the log"):
        append_events(old, [checked(plain, tmp_path / "batch")], target)
    appended = append_events(old, [checked(plain, tmp_path / "landed", whole=False)], target)
    assert appended.new == 2
    assert pl.read_parquet(target.events)["colour"].to_list()[-2:] == [None, None]
    more = written(tmp_path / "more.parquet", NEW, colour=["red"] * 2, size=["XL"] * 2)
    with pytest.raises(DataError, match="brings the column 'size', which the log has not"):
        append_events(old, [checked(more, tmp_path / "other", "colour", "size")], target)
    numbers = written(tmp_path / "numbers.parquet", NEW, colour=[1, 2])
    with pytest.raises(DataError, match="the column 'colour' is Int64, in the log String"):
        append_events(old, [checked(numbers, tmp_path / "typed", "colour")], target)


def test_customers_are_visitors_again_until_the_logins_of_today_are_joined(tmp_path: Path, earlier: EventsLayout) -> None:
    logins = tmp_path / "logins.csv"
    logins.write_text("visitor_id,customer_id\n8,80\n", encoding="utf-8")
    table = TableSettings(path=logins)
    join_identity(earlier, read_summary(earlier), table)
    target = EventsLayout(tmp_path / "log")
    batch = checked(written(tmp_path / "new.parquet", [*ROWS, *NEW]), tmp_path / "batch")
    appended = append_events(earlier, [batch], target)
    assert appended.new == 2, "the customer's events are those of the visitor"
    logins.write_text("visitor_id,customer_id\n8,80\n9,90\n", encoding="utf-8")
    join_identity(target, appended.summary, table)
    events = pl.read_parquet(target.events)
    assert events.filter(item_id="mug")["user_id"].to_list() == ["80", "90"]


def test_a_log_without_its_summary_is_refused_in_a_sentence(tmp_path: Path, earlier: EventsLayout) -> None:
    earlier.summary.unlink()
    with pytest.raises(RunError, match=r"summary\.json cannot be read"):
        read_summary(earlier)
