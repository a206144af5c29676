from __future__ import annotations

import datetime as dt
import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conformance import SourceConformance

from cartwheel.core.errors import ConfigError, DataError
from workflows.events.event_log import code_events, read_events
from workflows.events.schema import EVENT_TYPES
from workflows.events.sources import SOURCES, open_source
from workflows.events.validate import check_events
from workflows.settings import EventSettings, SourceSettings


class TestTable(SourceConformance):
    kind = "table"
    file = "export.csv"
    rows = 4
    required_column = "was_wann"
    user_column = "kunde"
    price_column = "preis"
    has_local_times = True
    separator = ";"
    text_column = "aktion"
    item_column = "artikel"
    settings = {  # noqa: RUF012 - the suite never changes it
        "columns": {
            "user_id": "kunde",
            "item_id": "artikel",
            "event_type": "art",
            "timestamp": "was_wann",
            "price": "preis",
            "campaign": "aktion",
        },
        "event_types": {"gesehen": "view", "gekauft": "purchase"},
        "timestamp_format": "%d.%m.%Y %H:%M",
    }

    def write(self, folder: Path) -> None:
        (folder / self.file).write_text(
            "was_wann;kunde;artikel;art;preis;aktion;rest\n"
            "2.1.2020 10:00;007;Ä 1;gekauft;9.90;sommer;x\n"
            "01.01.2020 10:00; 7 ;Ä 1;gesehen;;;x\n"
            '01.01.2020 10:01;"a""b";"x;y";gesehen;0;;x\n'
            "01.01.2020 10:02;日本;Ä  1;view;1e2;;x\n"
        )

    def test_ids_come_back_exactly(self, folder: Path) -> None:
        summary = self.check(folder)
        events = pl.read_parquet(self.target(folder) / "events.parquet")
        assert events["user_id"].to_list() == ["7", 'a"b', "日本", "007"]
        assert events["item_id"].to_list() == ["Ä 1", "x;y", "Ä  1", "Ä 1"]
        assert events["price"].to_list() == [None, 0.0, 100.0, 9.9]
        assert events["campaign"].to_list() == [None, None, None, "sommer"]
        assert summary.own_columns == ("campaign",)
        assert summary.id_types == {"user_id": "string", "item_id": "string"}


def table(path: Path, **settings: Any) -> dict[str, Any]:
    """Check ``path`` as a table and return its summary and events."""
    source = open_source(SourceSettings(kind="table", path=path, **settings), path.parent)
    summary = check_events(source, EventSettings(), path.parent / "checked")
    return {"summary": summary, "events": pl.read_parquet(path.parent / "checked" / "events.parquet")}


def test_canonical_names_need_no_mapping(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text("\ufeffuser_id,item_id,event_type,timestamp\r\n1,2,view,2020-01-01\r\n")
    found = table(path)
    assert found["summary"].id_types == {"user_id": "int64", "item_id": "int64"}
    assert found["events"]["timestamp"].to_list() == [dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pl.Series([1, 2], dtype=pl.Int32), "int64"),
        (pl.Series([1.0, 2.0]), "int64"),
        (pl.Series(["1", "2"]), "string"),
        (pl.Series(["1", "2"], dtype=pl.Categorical), "string"),
        (pl.Series([2**64 - 1, 2], dtype=pl.UInt64), "string"),
    ],
)
def test_typed_ids_keep_their_type(tmp_path: Path, values: pl.Series, expected: str) -> None:
    path = tmp_path / "e.parquet"
    time = pl.Series([dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, 1)])
    pl.DataFrame({"user_id": values, "item_id": ["a", "b"], "timestamp": time}).write_parquet(path)
    found = table(path, default_event_type="view")
    assert found["summary"].id_types["user_id"] == expected
    assert found["events"]["user_id"].to_list() == [str(int(v)) if values.dtype.is_float() else str(v) for v in values]


def test_a_log_of_orders_in_columns_of_blanks_needs_no_item(tmp_path: Path) -> None:
    path = tmp_path / "orders.txt"
    path.write_bytes(b" customer  date number  value\r\n 00001 19970101  1   11.77\r\n 00002 19970112  12  1.50 \r\n")
    found = table(
        path,
        separator=" ",
        columns={"user_id": "customer", "timestamp": "date", "quantity": "number", "value": "value"},
        default_event_type="purchase",
        default_item_id="order",
        timestamp_format="%Y%m%d",
    )
    events = found["events"]
    assert events.select("user_id", "item_id", "event_type", "quantity", "value").rows() == [
        ("00001", "order", "purchase", 1.0, "11.77"),
        ("00002", "order", "purchase", 12.0, "1.50"),
    ]
    with pytest.raises(DataError, match="no column 'item_id'"):
        table(path, separator=" ", columns={"user_id": "customer", "timestamp": "date"}, default_event_type="purchase")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_unix_times(tmp_path: Path, unit: str, suffix: str) -> None:
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    rows = pl.DataFrame({"user_id": ["a"], "item_id": ["b"], "timestamp": [1_577_836_800 * scale]})
    path = tmp_path / f"e{suffix}"
    if suffix == ".csv":
        rows.write_csv(path)
    else:
        rows.write_parquet(path)
    events = table(path, default_event_type="view", timestamp_format=unit)["events"]
    assert events["timestamp"].to_list() == [dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)]


def test_typed_times_need_no_format(tmp_path: Path) -> None:
    zoned = pl.Series([dt.datetime(2020, 1, 1, 12, 0, 0, 123456)]).dt.replace_time_zone("Europe/Berlin")
    path = tmp_path / "e.parquet"
    pl.DataFrame({"user_id": ["a"], "item_id": ["b"], "timestamp": zoned}).write_parquet(path)
    events = table(path, default_event_type="view", timestamp_format="ms")["events"]
    assert events["timestamp"].to_list() == [dt.datetime(2020, 1, 1, 11, 0, 0, 123456, tzinfo=dt.timezone.utc)]


def test_numbers_where_iso_was_expected_are_explained(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    pl.DataFrame({"user_id": ["a"], "item_id": ["b"], "timestamp": [1]}).write_parquet(path)
    with pytest.raises(DataError, match=r"Set source\.timestamp_format to the unit"):
        table(path, default_event_type="view")


def test_mapped_sessions_allow_anonymous_baskets(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text("visit,item_id,timestamp\nv 1,2,2020-01-01\n")
    found = table(path, columns={"session_id": "visit"}, default_event_type="view")
    assert found["events"].row(0)[:5] == (None, "2", "view", dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc), "v 1")
    assert found["summary"].users == 0
    assert found["summary"].id_types["user_id"] == "string"


def test_event_types_of_every_log_and_of_the_shop_are_events(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    kinds = [*EVENT_TYPES, "scan", "scann"]
    path.write_text(
        "user_id,item_id,event_type,timestamp\n" + "".join(f"u,i{n},{kind},2020-01-01\n" for n, kind in enumerate(kinds))
    )
    source = open_source(SourceSettings(kind="table", path=path, event_types={"gescannt": "scan"}), tmp_path, ("scan",))
    summary = check_events(source, EventSettings(extra_types=("scan",), max_bad_share=0.5), tmp_path / "events")
    assert summary.event_types == dict.fromkeys((*EVENT_TYPES, "scan"), 1)
    assert summary.reasons == {"unknown event type": 1}


def test_ratings_and_dwell_times_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text(
        "user_id,item_id,timestamp,stars,dwell_seconds\nu,1,2020-01-01,4.5,10\nu,2,2020-01-01,,\nu,3,2020-01-01,good,1\nu,4,2020-01-01,5,-1\n"
    )
    columns = {"rating": "stars", "dwell_seconds": "dwell_seconds"}
    source = open_source(SourceSettings(kind="table", path=path, default_event_type="view", columns=columns), tmp_path)
    summary = check_events(source, EventSettings(max_bad_share=0.9), tmp_path / "events")
    events = pl.read_parquet(tmp_path / "events/events.parquet")
    assert events.select("rating", "dwell_seconds").rows() == [(4.5, 10.0), (None, None)]
    assert events.schema["rating"] == pl.Float64
    assert "_raw_rating" not in events.columns
    assert summary.reasons == {"rating is not a number": 1, "dwell_seconds is not a number from 0 on": 1}
    refused = pl.read_parquet(tmp_path / "events/quarantine.parquet")
    assert refused.select("rating", "dwell_seconds").rows() == [("good", "1"), ("5", "-1")]


def test_nested_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    pl.DataFrame({"user_id": [["a"]], "item_id": ["b"], "timestamp": ["2020-01-01"]}).write_parquet(path)
    with pytest.raises(DataError, match=r"'user_id' holds List\(String\)"):
        table(path, default_event_type="view")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"event_types": {"seen": "veiw"}}, "Did you mean 'view'"),
        ({"default_event_type": "buy"}, "not an event type"),
        ({"timestamp_format": "seconds"}, "no time format"),
        ({"timestamp_format": "%Y-%m-%d %H:%M:%S %Z"}, r"has %Z.*set source\.timezone"),
        ({"columns": {"categroy": "category"}}, r"source\.columns\.categroy.*Did you mean 'category'"),
        ({"columns": {"Brand": "marke"}}, "Did you mean 'brand'"),
        ({"columns": {"userid": "kunde"}}, "Did you mean 'user_id'"),
        ({"columns": {"_row": "x"}}, "reserved"),
        ({"columns": {"reason": "x"}}, "reserved"),
    ],
)
def test_settings_that_cannot_work(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_source(SourceSettings(kind="table", path=tmp_path, **settings), tmp_path)


def test_an_unknown_kind_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'movielens'") as raised:
        open_source(SourceSettings(kind="movilens", path=tmp_path), tmp_path)
    assert all(kind in str(raised.value) for kind in SOURCES)


def test_settings_of_a_table_do_not_suit_a_publisher(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"source\.columns is set"):
        open_source(SourceSettings(kind="rees46", path=tmp_path, columns={"user_id": "x"}), tmp_path)


def test_relative_paths_start_at_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("user_id,item_id,event_type,timestamp\n1,2,view,2020-01-01\n")
    source = open_source(SourceSettings(kind="table", path=Path("e.csv")), tmp_path)
    assert source.scan().collect().height == 1


LOG = "user_id,item_id,event_type,timestamp,colour,category_id,old_price,quantity\n1,2,view,2020-01-01 10:00:03,red,7,4.5,0.35\n"


def test_own_columns_reach_the_coded_log(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text(LOG + "1,2,purchase,2020-01-01 10:00:01,NULL,8,,\n")
    columns = {"shade": "colour", "category_id": "category_id", "price_before": "old_price"}
    assert table(path, columns=columns)["summary"].own_columns == ("shade", "category_id", "price_before")
    events = tmp_path / "checked" / "events.parquet"
    log = code_events(read_events(events), ("view",))
    assert log.own.rows() == [(None, "8", None), ("red", "7", "4.5")]
    assert log.own.columns == ["shade", "category_id", "price_before"]
    assert (math.isnan(log.quantity[0]), log.quantity[1]) == (True, 0.35)
    assert code_events(read_events(events, own=()), ("view",)).own.columns == []
    assert read_events(events, own=("shade",)).columns[-1] == "shade"
    with pytest.raises(DataError, match="there is no own column 'shape'; found are shade, category_id, price_before"):
        read_events(events, own=("shape",))


def test_an_own_column_that_no_file_has_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text(LOG)
    with pytest.raises(DataError, match=r"e\.csv: there is no column 'color' for colour.*Did you mean 'colour'"):
        table(path, columns={"colour": "color"})


@pytest.mark.parametrize(("declared", "actual"), [("ms", "s"), ("s", "ms"), ("ns", "ms"), ("us", "ns")])
def test_the_wrong_unit_is_named_with_the_right_one(tmp_path: Path, declared: str, actual: str) -> None:
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[actual]
    path = tmp_path / "e.csv"
    rows = [f"u{n},i,view,{(1_577_836_800 + n * 977) * scale}" for n in range(9)]
    path.write_text("\n".join(["user_id,item_id,event_type,timestamp", *rows]) + "\n")
    with pytest.raises(DataError) as raised:
        table(path, timestamp_format=declared)
    assert raised.value.found.startswith(f"e.csv, row 1: {1_577_836_800 * scale} is ")
    assert "2020-01-01T00:00:00+00:00" in raised.value.found
    assert f"Set source.timestamp_format to '{actual}'" in raised.value.fix
    assert table(path, timestamp_format=actual)["summary"].first.startswith("2020-01-01T00:00:00")


def test_unix_times_before_2000_are_read_where_no_unit_is_better(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text("user_id,item_id,event_type,timestamp\n1,2,view,874724710\n")
    assert table(path, timestamp_format="s")["summary"].first.startswith("1997-09-20")


def test_seconds_that_were_written_as_nanoseconds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    stamp = pl.Series([1_577_836_800, 1_577_836_900]).cast(pl.Datetime("ns"))
    pl.DataFrame({"user_id": ["a", "b"], "item_id": ["b", "c"], "timestamp": stamp}).write_parquet(path)
    with pytest.raises(DataError, match=r"it would be 2019-12-31T23:46:40.*in seconds had been taken for nanoseconds"):
        table(path, default_event_type="view")


def test_odd_instants_are_remarked_on(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    rows = [f"u{n},i,view,2020-01-01 10:00:{n % 60:02d}" for n in range(100)]
    path.write_text("\n".join(["user_id,item_id,event_type,timestamp", *rows]) + "\n")
    assert "it may be the time of the export" in table(path)["summary"].remarks[0]
    path.write_text(path.read_text() + "u,i,view,1970-01-01\n")
    assert table(path)["summary"].remarks == (
        "timestamp: 1 events lie before 2000, the first at 1970-01-01T00:00:00+00:00, and half of all after "
        "2020-01-01T10:00:24+00:00; a missing time may have been written as a date.",
    )


def test_hours_of_a_clock_change_and_several_currencies_are_remarked_on(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    rows = [
        "1,2,view,2021-10-31 02:30:01,$5",
        "2,2,view,2021-03-28 02:30:01,€ 5",
        "3,2,view,2021-03-28 12:30:01,5",
        "4,2,view,x,£5",
    ]
    path.write_text("\n".join(["user_id,item_id,event_type,timestamp,price", *rows]) + "\n")
    source = open_source(SourceSettings(kind="table", path=path, timezone="Europe/Berlin"), tmp_path)
    remarks = check_events(source, EventSettings(max_bad_share=0.5), tmp_path / "checked").remarks
    assert [remark.split(";")[0] for remark in remarks] == [
        "timestamp: the local time of 1 events, the first '2021-03-28 02:30:01', never was, for clocks were set forward",
        "timestamp: the local time of 1 events, the first '2021-10-31 02:30:01', came twice, for clocks were set back",
        "price: several currencies ($ in 1 rows, € in 1 rows) are read as one",
    ]


def test_a_day_granular_log_of_orders_keeps_its_pieces(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    rows = [f"u{n % 7},i{n % 5},purchase,2025-01-{1 + n % 3:02d}" for n in range(210)]
    path.write_text("\n".join(["user_id,item_id,event_type,timestamp", *rows]) + "\n")
    found = table(path)
    assert (found["summary"].rows, found["summary"].merged, found["summary"].quarantined) == (105, 105, 0)
    assert set(found["events"]["quantity"]) == {2.0}
    assert found["summary"].remarks == ("105 rows repeat another and are added to its quantity (events.repeats = 'auto').",)


def test_ids_of_floats_beyond_what_a_float_can_tell_are_quarantined(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    stamp = pl.Series([dt.datetime(2020, 1, 1, 1, 1, n) for n in range(2)])
    pl.DataFrame({"user_id": [2.0**53, 7.0], "item_id": ["a", "b"], "timestamp": stamp}).write_parquet(path)
    source = open_source(SourceSettings(kind="table", path=path, default_event_type="view"), tmp_path)
    assert check_events(source, EventSettings(max_bad_share=0.5), tmp_path / "out").reasons == {
        "user_id beyond 2^53 in a column of floats": 1
    }


def test_the_line_at_the_start_names_zone_decimal_sign_and_what_is_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "e.csv"
    path.write_text("user_id;item_id;event_type;timestamp;price;Brand;x y\n1;2;view;2020-01-01 10:00:03;4,5;a;b\n")
    table(path, timezone="Europe/Berlin")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("reading e.csv: ")]
    assert "decimal sign comma, times without a zone in Europe/Berlin" in line
    assert line.endswith("columns not read: 'Brand' 'x y' (source.columns can bring them along)")
    table(path, columns={"brand": "Brand", "note": "x y"})
    assert "not read" not in capsys.readouterr().err


def test_rows_that_count_in_another_unit_are_quarantined_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    seconds = [1_577_836_800 + n * 977 for n in range(9)]
    rows = [f"u{n},i,view,{1000 * stamp if n > 2 else stamp}" for n, stamp in enumerate(seconds)]
    path.write_text("\n".join(["user_id,item_id,event_type,timestamp", *rows, "u,i,view,0"]) + "\n")
    source = open_source(SourceSettings(kind="table", path=path, timestamp_format="ms"), tmp_path)
    summary = check_events(source, EventSettings(max_bad_share=0.5), tmp_path / "out")
    assert (summary.rows, summary.reasons) == (7, {"time in another unit": 3})
    with pytest.raises(
        DataError, match=r"for time in another unit of '1577836800' \(e\.csv, row 1\), export all times in one unit"
    ):
        table(path, timestamp_format="ms")


@pytest.mark.parametrize(
    ("number", "meant"),
    [
        ("43831.5", "days since 1899-12-30, as spreadsheets do, it is 2020-01-01T12:00:00"),
        ("18262", "days since 1970, it is 2020-01-01T00:00:00"),
        ("438288", "hours since 1970, it is 2020-01-01T00:00:00"),
        ("26297280", "minutes since 1970, it is 2020-01-01T00:00:00"),
        ("599529600", "seconds since 2001, as Apple does, it is 2020-01-01T00:00:00"),
    ],
)
def test_numbers_that_count_something_else_are_told_with_what_they_count(tmp_path: Path, number: str, meant: str) -> None:
    path = tmp_path / "e.csv"
    path.write_text(f"user_id,item_id,event_type,timestamp\nu,i,view,{number}\n")
    (remark,) = table(path, timestamp_format="s")["summary"].remarks
    assert remark.startswith(f"timestamp: half of all events lie before 2000; e.csv, row 1, has {number}, which is 19")
    assert f"if it counts {meant}" in remark
    with pytest.raises(DataError, match=rf"'{number}' .*\(if it counts {meant}"):
        table(path)


def test_an_id_with_nul_is_quarantined_whatever_holds_it(tmp_path: Path) -> None:
    log = pl.DataFrame({"user_id": ["a\0b", "c"], "item_id": ["i", "i"], "timestamp": ["2020-01-01"] * 2})
    log.write_parquet(tmp_path / "e.parquet")
    source = open_source(SourceSettings(kind="table", path=tmp_path / "e.parquet", default_event_type="view"), tmp_path)
    summary = check_events(source, EventSettings(max_bad_share=0.5), tmp_path / "out")
    assert (summary.rows, summary.reasons) == (1, {"user_id with NUL bytes": 1})


def test_a_year_is_told_to_be_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text("user_id,item_id,event_type,timestamp\nu,i,view,2025\n")
    with pytest.raises(DataError, match="'2025'") as raised:
        table(path)
    assert "counts" not in str(raised.value)


def test_a_number_where_text_was_expected_is_told_with_its_unit(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_text("user_id,item_id,event_type,timestamp\nu,i,view,1577836800000\n")
    with pytest.raises(DataError, match=r"counted in milliseconds \('ms'\) it is 2020-01-01T00:00:00"):
        table(path)


def test_floats_of_half_and_single_size(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    stamp = pl.Series([dt.datetime(2020, 1, 1, 1, 1, n) for n in range(2)])
    log = pl.DataFrame({"user_id": ["a", "b"], "item_id": ["i", "j"], "timestamp": stamp})
    log.with_columns(
        price=pl.Series([1.5, 2.0], dtype=pl.Float16), quantity=pl.Series([0.35, 3.0], dtype=pl.Float32)
    ).write_parquet(path)
    events = table(path, default_event_type="view")["events"]
    assert events.select("price", "quantity").rows() == [(1.5, 0.35), (2.0, 3.0)]
    log.with_columns(timestamp=pl.Series([1_577_836_800.0] * 2, dtype=pl.Float32)).write_parquet(path)
    with pytest.raises(DataError, match="'timestamp' holds Float32, which has too few digits"):
        table(path, default_event_type="view", timestamp_format="s")


@pytest.mark.parametrize("rows", [1, 600_000])
def test_objects_within_parquet_are_reached_by_dots_as_those_of_json(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "e.parquet"
    user = pl.struct(pl.lit(7).alias("id"), pl.struct(pl.lit("x@y.z").alias("mail")).alias("more")).alias("user")
    item = pl.struct(pl.lit("i").alias("id")).alias("item")
    others = pl.lit("k").alias("item.id"), pl.lit(dt.datetime(2020, 1, 1)).alias("when"), pl.lit([1]).alias("tags")
    noise = pl.DataFrame({"noise": np.arange(rows)})  # long files are read in another way than short ones
    noise.with_columns(user, item, *others).write_parquet(path, compression="uncompressed")
    assert (path.stat().st_size > 1 << 22) == (rows > 1)
    columns = {"user_id": "user.id", "item_id": "item.id", "timestamp": "when", "mail": "user.more.mail"}
    source = open_source(SourceSettings(kind="table", path=path, columns=columns, default_event_type="view"), tmp_path)
    raw = source.scan().select("user_id", "item_id", "mail").head(1).collect()
    assert raw.rows() == [("7", "k", "x@y.z")]
    with pytest.raises(DataError, match=r"no column 'user' for user_id; found are .*Did you mean 'user\.id'"):
        table(path, columns={**columns, "user_id": "user"}, default_event_type="view")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.csv.gz", gzip.compress(gzip.compress(LOG.encode())), "packed twice, as gzip within gzip"),
        ("e.json", b'{"events": [{"user_id": 1}], "more": []}', r"one JSON object around lists \('events', 'more'\)"),
        ("e.csv", LOG.replace("user_id", "USER_ID").encode(), "Did you mean 'USER_ID'"),
        (
            "e.csv",
            LOG.encode() + LOG.splitlines()[1].encode() + b",surplus\n",
            r"where the header lacks a name, give all in source\.header",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_cause(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        table(path)


def test_two_columns_of_one_name_in_parquet_are_named(tmp_path: Path) -> None:
    names = ["user_id", "item_id", "item_id"]
    pq.write_table(pa.Table.from_arrays([pa.array(["a"])] * 3, names=names), tmp_path / "e.parquet")
    with pytest.raises(DataError, match=r"two columns have one name .*item_id.* Rename one"):
        table(tmp_path / "e.parquet")


def test_room_at_the_end_of_a_file_costs_one_row(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_bytes(LOG.encode() + b"\0" * 4096)
    source = open_source(SourceSettings(kind="table", path=path), tmp_path)
    summary = check_events(source, EventSettings(max_bad_share=0.5), tmp_path / "out")
    assert (summary.rows, summary.reasons) == (1, {"NUL bytes": 1})


def test_an_encoding_laid_over_utf_8_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "e.csv"
    path.write_text(LOG.replace("red", "grün"))
    table(path, encoding="latin-1")
    assert "although it is UTF-8 as well, which iso8859-1 text hardly is" in capsys.readouterr().err
    path.write_bytes(LOG.replace("red", "grün").encode("latin-1"))
    table(path, encoding="latin-1")
    assert "although" not in capsys.readouterr().err
