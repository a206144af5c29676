from __future__ import annotations

import datetime as dt
import re
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.events.instants import ISO, NEVER, TWICE, UNITS, clock_change, fault_of, fitting_unit, local_time, parse_instant

UTC = dt.timezone.utc
BERLIN = "Europe/Berlin"


def parse(text: str, form: str = ISO, zone: str = "UTC") -> dt.datetime | None:
    found = pl.DataFrame({"text": [text]}).select(parse_instant(pl.col("text"), (form,), zone).alias("instant"))["instant"][0]
    assert found is None or isinstance(found, dt.datetime)
    return found


def change(text: str, form: str = ISO, zone: str = BERLIN) -> str | None:
    local = local_time(pl.col("text"), (form,))
    found = pl.DataFrame({"text": [text]}).select(clock_change(local, zone).alias("change"))["change"][0]
    assert found is None or isinstance(found, str)
    return found


@pytest.mark.parametrize(
    ("text", "expected", "told"),
    [
        ("2021-03-28 01:59:59.999999", "2021-03-28T00:59:59.999999", None),
        ("2021-03-28 02:00:00", "2021-03-28T01:00:00", NEVER),
        ("2021-03-28 02:59:59.999999", "2021-03-28T01:59:59.999999", NEVER),
        ("2021-03-28 03:00:00", "2021-03-28T01:00:00", None),
        ("2021-10-31 01:59:59.999999", "2021-10-30T23:59:59.999999", None),
        ("2021-10-31 02:00:00", "2021-10-31T00:00:00", TWICE),
        ("2021-10-31 02:59:59.999999", "2021-10-31T00:59:59.999999", TWICE),
        ("2021-10-31 03:00:00", "2021-10-31T02:00:00", None),
        ("2021-10-31T02:30:00+01:00", "2021-10-31T01:30:00", None),
        ("2021-10-31 02:30:00 UTC", "2021-10-31T02:30:00", None),
        ("2021-10-31T02:30Z", "2021-10-31T02:30:00", None),
        ("2021-10-31", "2021-10-30T22:00:00", None),
    ],
)
def test_local_times_on_both_sides_of_a_clock_change(text: str, expected: str, told: str | None) -> None:
    assert parse(text, zone=BERLIN) == dt.datetime.fromisoformat(expected).replace(tzinfo=UTC)
    assert change(text) == told


def test_a_day_that_an_island_skipped_keeps_the_offset_from_before() -> None:
    assert parse("30.12.2011 12:00", "%d.%m.%Y %H:%M", "Pacific/Apia") == dt.datetime(2011, 12, 30, 22, tzinfo=UTC)
    assert change("30.12.2011 12:00", "%d.%m.%Y %H:%M", "Pacific/Apia") == NEVER


@given(
    local=st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2030, 1, 1)),
    zone=st.sampled_from([BERLIN, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Sao_Paulo"]),
    form=st.sampled_from([ISO, "%Y-%m-%d %H:%M:%S%.f"]),
)
@settings(max_examples=60, deadline=None)
def test_a_local_time_is_what_the_zone_of_the_standard_library_makes_of_it(local: dt.datetime, zone: str, form: str) -> None:
    expected = local.replace(tzinfo=ZoneInfo(zone), fold=0).astimezone(UTC)
    assert parse(str(local), form, zone) == expected


@pytest.mark.parametrize(
    ("text", "form"),
    [("1610000000", "s"), ("2021-01-07T06:13:20+00:00", "%Y-%m-%dT%H:%M:%S%:z"), ("1610000000", "%s")],
)
def test_what_is_absolute_knows_no_zone(text: str, form: str) -> None:
    assert parse(text, form, BERLIN) == dt.datetime(2021, 1, 7, 6, 13, 20, tzinfo=UTC)
    assert change(text, form) is None


def test_a_fraction_after_a_point_is_one_in_python_notation_too() -> None:
    for form in ("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S%.f"):
        assert parse("2021-01-07 06:13:20.25", form) == dt.datetime(2021, 1, 7, 6, 13, 20, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    "form",
    [
        ISO,
        *UNITS,
        "%d.%m.%Y %H:%M",
        "%d.%m.%y",
        "%m/%d/%Y %I:%M %p",
        "%Y%m%d%H%M%S",
        "%+",
        "%c",
        "%d.%m.%Y %T CET",
        "%Y%j %R",
        "%s",
    ],
)
def test_formats_that_can_be_read(form: str) -> None:
    assert fault_of(form) == ""


@pytest.mark.parametrize(
    ("form", "fault"),
    [
        ("%Y-%m-%d %H:%M:%S %Z", r"has %Z.*source\.timezone"),
        ("%d.%m.%Y %I:%M", "no strptime pattern"),
        ("%Y-%m-%d %H", "no strptime pattern"),
        ("%Y-%m", "not give the whole day"),
        ("%d.%m. %H:%M", "not give the whole day|no strptime"),
        ("%Y-%m-%d %H:%M:%S,%f", "%3f or %6f"),
        ("%Q", "no strptime pattern"),
        ("seconds", r"no time format.*s, ms, us, ns"),
    ],
)
def test_formats_that_drop_what_they_read_are_refused(form: str, fault: str) -> None:
    assert re.search(fault, fault_of(form))


def test_only_one_unit_fits() -> None:
    bounds = dt.datetime(2000, 1, 1, tzinfo=UTC), dt.datetime(2030, 1, 1, tzinfo=UTC)
    for unit, scale in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        assert fitting_unit(1_610_000_000.0 * scale, *bounds) == unit
    assert fitting_unit(946_684_800.0, *bounds) == "s"
    assert fitting_unit(946_684_799.0, *bounds) is None
    assert fitting_unit(float("nan"), *bounds) is None
