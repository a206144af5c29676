from __future__ import annotations

import datetime as dt
import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from cartwheel.core.errors import DataError
from workflows.events import rules
from workflows.events.schema import CANONICAL, EVENT_SCHEMA, EventSummary
from workflows.events.sources import open_source
from workflows.events.sources.base import Part
from workflows.events.sources.table import Table
from workflows.events.validate import check_events
from workflows.settings import EventSettings, SourceSettings

HEADER = "user_id,item_id,event_type,timestamp,session_id,category,brand,price,quantity"
SOUND = "u1,i1,view,2020-01-01T00:00:07Z,,c,b,1.5,1"


def write(path: Path, *lines: str, header: str = HEADER) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join((header, *lines)) + "\n")
    return path


def check(
    path: Path, target: Path, *, rows_at_once: int = 1_000_000, now: dt.datetime | None = None, **settings: Any
) -> EventSummary:
    settings.setdefault("max_bad_share", 0.99)
    source = open_source(SourceSettings(kind="table", path=path), path.parent)
    return check_events(source, EventSettings(**settings), target, rows_at_once=rows_at_once, now=now)


def quarantine(target: Path) -> pl.DataFrame:
    return pl.read_parquet(target / "quarantine.parquet")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",i1,view,2020-01-01,,,,,", rules.MISSING_USER),
        ("  ,i1,view,2020-01-01,,,,,", rules.MISSING_USER),
        ('"",i1,view,2020-01-01,,,,,', rules.MISSING_USER),
        ("u1,,view,2020-01-01,,,,,", rules.MISSING_ITEM),
        ("u1,i1,view,,,,,,", rules.MISSING_TIME),
        ("u1,i1,view,yesterday,,,,,", rules.UNPARSEABLE_TIME),
        ("u1,i1,view,2020-02-30,,,,,", rules.UNPARSEABLE_TIME),
        ("u1,i1,view,2020-01-01T25:00:00,,,,,", rules.UNPARSEABLE_TIME),
        ("u1,i1,view,2999-01-01,,,,,", rules.FUTURE_TIME),
        ("u1,i1,watch,2020-01-01,,,,,", rules.UNKNOWN_TYPE),
        ("u1,i1,View,2020-01-01,,,,,", rules.UNKNOWN_TYPE),
        ("u1,i1,,2020-01-01,,,,,", rules.UNKNOWN_TYPE),
        ("u1,i1,view,2020-01-01,,,,cheap,", rules.BAD_PRICE),
        ("u1,i1,view,2020-01-01,,,,-0.01,", rules.NEGATIVE_PRICE),
        ("u1,i1,view,2020-01-01,,,,inf,", rules.NON_FINITE_PRICE),
        ("u1,i1,view,2020-01-01,,,,-inf,", rules.NON_FINITE_PRICE),
        ("u1,i1,view,2020-01-01,,,,,0", rules.BAD_QUANTITY),
        ("u1,i1,view,2020-01-01,,,,,-1", rules.BAD_QUANTITY),
        ("u1,i1,view,2020-01-01,,,,,inf", rules.BAD_QUANTITY),
        ("u1,i1,view,2020-01-01,,,,,many", rules.BAD_QUANTITY),
        (SOUND, rules.DUPLICATE),
        ("u1,i1,view,2020-01-01,,,,,,surplus", "too many fields"),
        ("", "empty row"),
    ],
)
def test_a_bad_row_is_quarantined_with_its_reason(tmp_path: Path, row: str, reason: str) -> None:
    path = write(tmp_path / "log.csv", SOUND, row, "u2" + SOUND[2:])
    summary = check(path, tmp_path / "out")
    assert summary.reasons == {reason: 1}
    is_bad = reason != "empty row"
    assert (summary.rows, summary.rows_read, summary.set_aside) == (2, 3, 1 - is_bad)
    assert summary.bad_share == is_bad / 3
    found = quarantine(tmp_path / "out")
    assert found.columns == [*CANONICAL, "reason", "file", "row"]
    assert found.select("reason", "file", "row").rows() == [(reason, "log.csv", 2)]


def test_the_quarantine_keeps_original_values(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", SOUND, "u 1,007,refund, soon ,s,c,b, -1.50 ,-02", " x,1,view,01.02.2020,,,,1e400,2.0")
    check(path, tmp_path / "out")
    assert quarantine(tmp_path / "out").rows() == [
        ("u 1", "007", "refund", " soon ", "s", "c", "b", " -1.50 ", "-02", rules.UNPARSEABLE_TIME, "log.csv", 2),
        (" x", "1", "view", "01.02.2020", None, None, None, "1e400", "2.0", rules.UNPARSEABLE_TIME, "log.csv", 3),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-01-01", "2020-01-01 00:00:00"),
        ("2020-01-01 10:20", "2020-01-01 10:20:00"),
        ("2020-01-01T10:20:30Z", "2020-01-01 10:20:30"),
        ("2020-01-01 10:20:30 UTC", "2020-01-01 10:20:30"),
        ("2020-01-01T10:20:30.5", "2020-01-01 10:20:30.500000"),
        ("2020-01-01T10:20:30.123456789-01", "2020-01-01 11:20:30.123456"),
        ("2020-01-01T10:20:30+02:00", "2020-01-01 08:20:30"),
        (" 2020-01-01T10:20:30+0530 ", "2020-01-01 04:50:30"),
    ],
)
def test_iso_times(tmp_path: Path, text: str, expected: str) -> None:
    check(write(tmp_path / "log.csv", f"u,i,view,{text},,,,,"), tmp_path / "out")
    instant = pl.read_parquet(tmp_path / "out" / "events.parquet")["timestamp"][0]
    assert str(instant) == f"{expected}+00:00"


def test_common_and_rare_times_in_one_file(tmp_path: Path) -> None:
    rows = [f"u{n},i,view,2020-01-01T00:00:{n:02d}Z,,,,," for n in range(50)]
    path = write(tmp_path / "log.csv", *rows, "a,i,view,2020-01-01 00:01+00,,,,,", "b,i,view,soon,,,,,", "c,i,view,,,,,,")
    summary = check(path, tmp_path / "out")
    assert summary.rows == 51
    assert summary.reasons == {rules.UNPARSEABLE_TIME: 1, rules.MISSING_TIME: 1}


def test_latest_is_the_end_of_its_day(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", "u,i,view,2020-01-01T23:59:59.999999,,,,,", "u,i,view,2020-01-02,,,,,")
    summary = check(path, tmp_path / "out", latest=dt.date(2020, 1, 1))
    assert (summary.rows, summary.reasons) == (1, {rules.FUTURE_TIME: 1})


def test_now_is_not_yet_the_future(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", "u,i,view,2020-01-01T10:00:00,,,,,", "u,i,view,2020-01-01T10:00:00.000001,,,,,")
    now = dt.datetime(2020, 1, 1, 11, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    assert check(path, tmp_path / "out", now=now).reasons == {rules.FUTURE_TIME: 1}


def test_refunds_count_positive(tmp_path: Path) -> None:
    check(write(tmp_path / "log.csv", "u,i,refund,2020-01-01,,,,,-3", "u,j,refund,2020-01-01,,,,,3.0"), tmp_path / "out")
    assert pl.read_parquet(tmp_path / "out" / "events.parquet")["quantity"].to_list() == [3, 3]


def test_too_many_bad_rows_fail_the_run_and_leave_the_quarantine(tmp_path: Path) -> None:
    path = write(
        tmp_path / "log.csv", *(f"u{n}" + SOUND[2:] for n in range(8)), "u,,view,2020-01-01,,,,,", "u,i,x,2020-01-01,,,,,"
    )
    assert check(path, tmp_path / "out", max_bad_share=0.2).bad_share == 0.2
    with pytest.raises(DataError, match=r"2 of 10 rows are bad \(20\.00%.*more than the allowed 19\.00%"):
        check(path, tmp_path / "other", max_bad_share=0.19)
    assert quarantine(tmp_path / "other").height == 2
    assert sorted(file.name for file in (tmp_path / "other").iterdir()) == ["quarantine.parquet"]


def test_no_sound_row_fails(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", "u,,view,2020-01-01,,,,,")
    with pytest.raises(DataError, match="none of the 1 rows can be used"):
        check(path, tmp_path / "out")
    assert quarantine(tmp_path / "out").height == 1


def test_a_header_alone_fails(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a single row"):
        check(write(tmp_path / "log.csv"), tmp_path / "out")


@pytest.mark.parametrize("rows_at_once", [1, 7, 1_000_000])
def test_the_bound_on_memory_changes_nothing(tmp_path: Path, rows_at_once: int) -> None:
    rows = [f"u{n % 5},i{n % 3},view,2020-01-{1 + n * 7 % 9:02d}T0{n * 3 % 4}:00:11,,,,{n},1" for n in range(200)]
    path = write(tmp_path / "log.csv", *rows)
    summary = check(path, tmp_path / "out", rows_at_once=rows_at_once)
    events = pl.read_parquet(tmp_path / "out" / "events.parquet")
    expected = pl.read_csv(path, try_parse_dates=False).with_row_index("n")
    expected = expected.unique(["user_id", "item_id", "timestamp"], keep="first").sort("timestamp", "n")
    assert events["price"].to_list() == expected["price"].to_list()
    assert summary.reasons == {rules.DUPLICATE: 200 - expected.height}


def test_ties_keep_the_order_of_files_and_rows(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write(tmp_path / "in" / f"{name}.csv", *(f"{name}{n},i,view,2020-01-01,,,,," for n in range(3)))
    check(tmp_path / "in", tmp_path / "out")
    assert pl.read_parquet(tmp_path / "out" / "events.parquet")["user_id"].to_list() == ["a0", "a1", "a2", "b0", "b1", "b2"]


def test_the_summary_is_written(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", SOUND, "2,3,purchase,2020-01-02,,,,,", "2,,purchase,2020-01-02,,,,,")
    summary = check(path, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == json.loads(json.dumps(summary.as_json()))
    assert summary == EventSummary(
        source="table",
        rows=2,
        rows_read=3,
        merged=0,
        quarantined=1,
        set_aside=0,
        bad_share=1 / 3,
        reasons={rules.MISSING_ITEM: 1},
        first="2020-01-01T00:00:07.000000+00:00",
        last="2020-01-02T00:00:00.000000+00:00",
        event_types={"view": 1, "purchase": 1},
        users=2,
        items=2,
        files=("log.csv",),
        id_types={"user_id": "string", "item_id": "string"},
        own_columns=(),
        remarks=(),
    )


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (("1", "-2", "0", str(2**63 - 1)), "int64"),
        (("1", "007"), "string"),
        (("1", "+2"), "string"),
        (("1", "1e3"), "string"),
        (("1", "1.5"), "string"),
        (("1", str(2**63)), "string"),
    ],
)
def test_ids_are_integers_only_if_all_of_them_come_back(tmp_path: Path, ids: tuple[str, ...], expected: str) -> None:
    path = write(tmp_path / "log.csv", *(f"{one},{one},view,2020-01-01,,,,," for one in ids))
    assert check(path, tmp_path / "out").id_types == {"user_id": expected, "item_id": expected}
    assert pl.read_parquet(tmp_path / "out" / "events.parquet")["user_id"].to_list() == list(ids)


def test_a_killed_run_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "out" / ".checking-dead").mkdir(parents=True)
    check(write(tmp_path / "log.csv", SOUND), tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["events.parquet", "quarantine.parquet", "summary.json"]


def test_parquet_and_csv_give_the_same_events(tmp_path: Path) -> None:
    csv = write(
        tmp_path / "log.csv", SOUND, "u2,i2,purchase,2020-03-01T10:00:00.123Z,s,,,3,2", "u3,i2,purchase,2020-03-01,s,,,-3,2"
    )
    typed = pl.read_csv(csv).with_columns(
        pl.col("timestamp").str.to_datetime(time_zone="UTC", strict=False).fill_null(pl.datetime(2020, 3, 1, time_zone="UTC"))
    )
    typed.write_parquet(tmp_path / "log.parquet")
    one, other = check(csv, tmp_path / "one"), check(tmp_path / "log.parquet", tmp_path / "other")
    assert pl.read_parquet(tmp_path / "one" / "events.parquet").equals(pl.read_parquet(tmp_path / "other" / "events.parquet"))
    assert one.reasons == other.reasons == {rules.NEGATIVE_PRICE: 1}


def test_event_schema_is_what_is_written(tmp_path: Path) -> None:
    check(write(tmp_path / "log.csv", SOUND), tmp_path / "out")
    assert pl.read_parquet_schema(tmp_path / "out" / "events.parquet") == EVENT_SCHEMA


def test_gzip_that_breaks_off_is_a_data_error(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", *(f"u{n}" + SOUND[2:] for n in range(9999)))
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(path.read_bytes())[:-2000])
    with pytest.raises(DataError, match="corrupt or cannot be read"):
        check(tmp_path / "log.csv.gz", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == [] if (tmp_path / "out").exists() else True


@pytest.mark.parametrize(
    ("row", "advice"),
    [
        (
            "u,i,view,2020-01-01,,,,cheap,",
            r"for price is not a number of 'cheap' \(log\.csv, row 1\), .*to price in .*source\.decimal",
        ),
        ("u,i,view,2020-01-01,,,,,many", r"for quantity is not a positive number of 'many' .*to quantity in source\.columns"),
        ("u,i,view,2020-01-01 10:00 EST,,,,,", "for unparseable time of '2020-01-01 10:00 EST' .*source.timestamp_format"),
        ("u,i,view,2999-01-01,,,,,", r"for future time of '2999-01-01' .*events\.latest"),
        ("NULL,i,view,2020-01-01,,,,,", r"for missing user_id of 'NULL' .*source\.null_values"),
        ("u,i,,2020-01-01,,,,,", r"source\.default_event_type"),
    ],
)
def test_the_advice_is_about_what_is_wrong(tmp_path: Path, row: str, advice: str) -> None:
    with pytest.raises(DataError, match=advice) as raised:
        check(write(tmp_path / "log.csv", row), tmp_path / "out")
    assert ("time" in raised.value.fix) == ("time" in str(raised.value.found))
    with pytest.raises(DataError, match=advice):
        check(write(tmp_path / "log.csv", row, SOUND), tmp_path / "out", max_bad_share=0.1)


def test_marks_that_do_not_match_point_to_the_settings(tmp_path: Path) -> None:
    path = write(tmp_path / "e.csv", SOUND, 'u2,"15" tv",view,2020-01-01T00:00:00Z,,c,b,1.5,1')
    with pytest.raises(DataError, match=r"quotation marks do not match 1.*source\.quote.*source\.escape"):
        check(path, tmp_path / "out", max_bad_share=0.1)


class _Growing(Table):
    """A table that something still writes to."""

    def parts(self) -> list[Part]:
        parts = super().parts()
        with self.files[0].path.open("a") as stream:
            stream.write("u9,i9,view,2020-01-01T00:00:09Z,,c,b,1.5,1\n")
        return parts


def test_a_file_that_grows_meanwhile_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "e.csv", *(SOUND.replace("u1", f"user-{number}") for number in range(100)))
    source = _Growing(SourceSettings(kind="table", path=path), tmp_path)
    with pytest.raises(DataError, match="100 rows were counted, but 101 read"):
        check_events(source, EventSettings(), tmp_path / "out")
