"""Tables beside the events are checked as events are: nothing is lost, nothing is guessed, and what cannot be decided is one sentence."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cartwheel.core.errors import ConfigError, DataError
from cartwheel.core.run_layout import TablesLayout
from workflows.events.side_tables import TableSummary, check_table
from workflows.settings import TableSettings

UTC = dt.timezone.utc


@pytest.fixture
def events(tmp_path: Path, event_maker: Callable[[list[dict[str, object]]], pl.DataFrame]) -> Path:
    """Two users and three items; the last event is of 2023-11-14 22:43:20."""
    rows = [
        {
            "user_id": f"u{n % 2}",
            "item_id": f"{n % 3}",
            "event_type": "view",
            "time": 1_700_000_000_000_000 + n * 10**8,
            "brand": "b",
        }
        for n in range(19)
    ]
    path = tmp_path / "events.parquet"
    event_maker(rows).write_parquet(path)
    return path


def check(
    events: Path, text: str, name: str = "items", suffix: str = "csv", **settings: Any
) -> tuple[TableSummary, TablesLayout]:
    path = events.parent / f"{name}.{suffix}"
    path.write_text(text, encoding="utf-8")
    layout = TablesLayout(events.parent)
    return check_table(name, TableSettings(path=path, **settings), events, layout), layout


def test_a_table_is_read_and_its_keys_are_counted(events: Path) -> None:
    found, layout = check(events, "item_id;farbe;preis\n0;rot;1,5\n1; ;\n7;NULL;2\n", columns={"colour": "farbe"})
    table = pl.read_parquet(layout.table("items"))
    assert table.rows() == [("0", None, "rot", "1,5"), ("1", None, None, None), ("7", None, None, "2")]
    assert table.columns == ["key", "valid_from", "colour", "preis"]
    assert (found.rows, found.keys, found.not_in_log, found.not_in_table, found.keys_of_log) == (3, 3, 1, 1, 3)
    assert found.always_known
    assert "taken as always known" in found.warnings[0]
    assert "lacks 1 of the 3 keys of the events" in found.warnings[1]
    assert "1 of 3 keys that no event has" in found.warnings[2]


def test_none_is_what_an_attribute_may_well_be(events: Path) -> None:
    _, layout = check(events, "item_id,offer\n0,none\n1,None\n2,summer\n")
    assert pl.read_parquet(layout.table("items"))["offer"].to_list() == ["none", None, "summer"]


@pytest.mark.parametrize(
    ("suffix", "text"),
    [("jsonl", '{"item_id": 0, "tags": ["a", "b"]}\n{"item_id": 1.0, "tags": []}\n'), ("tsv", "item_id\ttags\n0\ta|b\n1.0\t\n")],
)
def test_every_format_of_events_is_a_format_of_tables(events: Path, suffix: str, text: str) -> None:
    found, layout = check(events, text, suffix=suffix)
    assert pl.read_parquet(layout.table("items"))["key"].to_list() == ["0", "1"]
    assert found.columns == ("tags",)


def test_parquet_keeps_its_types_and_its_lists(events: Path) -> None:
    path = events.parent / "items.parquet"
    since = [dt.datetime(2023, 11, 1), dt.datetime(2023, 11, 2), None]
    pl.DataFrame({"sku": [0.0, 0.0, 1.0], "since": since, "vector": [[1.0], [2.0], [3.0]]}).write_parquet(path)
    layout = TablesLayout(events.parent)
    found = check_table("items", TableSettings(path=path, key="sku", valid_from="since", max_bad_share=0.5), events, layout)
    assert pl.read_parquet(layout.table("items")).rows() == [
        ("0", dt.datetime(2023, 11, 1, tzinfo=UTC), [1.0]),
        ("0", dt.datetime(2023, 11, 2, tzinfo=UTC), [2.0]),
    ]
    assert found.reasons == {"missing valid_from": 1}
    assert not found.always_known


def test_bad_rows_are_quarantined_each_with_its_reason(events: Path) -> None:
    text = "item_id,since,size\n0,2023-11-01,s\n,2023-11-01,s\n1,soon,s\n1,,s\n0,2023-11-01,s\n2,2023-11-02,s\n2,2023-11-02,m\n"
    found, layout = check(events, text, valid_from="since", max_bad_share=0.9)
    refused = pl.read_parquet(layout.quarantine("items"))
    assert dict(zip(refused["row"], refused["reason"], strict=True)) == {
        2: "missing key",
        3: "unparseable valid_from",
        4: "missing valid_from",
        5: "duplicate row",
        6: "rows of one key differ",
        7: "rows of one key differ",
    }
    assert refused.filter(pl.col("row") == 3).row(0) == ("1", "soon", "s", "unparseable valid_from", "items.csv", 3)
    assert (found.rows_read, found.rows, found.quarantined) == (7, 1, 6)


def test_a_day_and_a_brand_can_be_keys(events: Path) -> None:
    found, layout = check(
        events, "date,holiday\n14.11.2023,yes\n25.12.2023,yes\nx,no\n", "calendar", timestamp_format="%d.%m.%Y", max_bad_share=0.5
    )
    assert pl.read_parquet(layout.table("calendar"))["key"].to_list() == ["2023-11-14", "2023-12-25"]
    assert found.reasons == {"key is no date": 1}
    found, _ = check(events, "brand,premium\nb,yes\n", "makers", on="brand")
    assert (found.on, found.not_in_table) == ("brand", 0)


@pytest.mark.parametrize(
    ("text", "settings", "sentence"),
    [
        ("itemid,size\n0,s\n", {}, "no column 'item_id' for the key of tables.items; found are 'itemid', 'size'. Did you mean 'itemid'?"),
        ("item_id,size\n0,s\n", {"valid_from": "sice"}, "there is no column 'sice' for the valid_from of tables.items"),
        ("item_id,size\n0,s\n", {"columns": {"x": "siz"}}, "no column 'siz' for tables.items.columns.x; found are 'item_id', 'size'."),
        ("item_id,size\n8,s\n9,m\n", {}, "none of its 2 keys ('8', '9') is one of the 3 that the events have ('0', '1', '2')"),
        ("item_id,since\n0,2024-01-01\n1,2024-02-01\n", {"valid_from": "since"}, "every valid_from lies at or after the last event"),
        ("item_id,since\n0,2023-01-01\n1,1.2.2023\n", {"valid_from": "since"}, "(50.00%: unparseable valid_from 1), more"),
        ("item_id,size\n0,s\n0,m\n1,s\n", {}, "give tables.items.valid_from the column that says from when on a row holds"),
        ("item_id,size\n", {}, "there is not a single row of data"),
        ("", {}, "tables.items: "),
    ],
)  # fmt: skip
def test_what_cannot_be_joined_is_one_sentence(events: Path, text: str, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        check(events, text, **settings)
    assert sentence in str(caught.value)
    assert "source." not in str(caught.value)


def test_a_column_that_two_columns_are_called_is_refused(events: Path) -> None:
    with pytest.raises(ConfigError, match="the columns 'farbe' and 'colour' of the file are both called 'colour'"):
        check(events, "item_id,farbe,colour\n0,a,b\n", columns={"colour": "farbe"})


def test_a_table_of_another_name_must_tell_what_its_key_names(events: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing says what its key names\. Did you mean 'items'"):
        check(events, "item_id\n0\n", "item")


def test_a_missing_file_is_told_of_the_table(events: Path) -> None:
    with pytest.raises(
        DataError, match=r"tables\.items: .*absent\.csv: there is no such file or folder\..* Correct tables\.items\.path"
    ):
        check_table("items", TableSettings(path=events.parent / "absent.csv"), events, TablesLayout(events.parent))


def test_some_rows_after_all_events_are_told(events: Path) -> None:
    found, _ = check(events, "item_id,since\n0,2023-01-01\n0,2030-01-01\n", valid_from="since")
    assert found.valid_after_log == 1
    assert any("1 of 2 rows hold only from the last event on" in line for line in found.warnings)
