"""Splits by time: by shares of the events, and by dates."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cartwheel.config import parse_settings
from cartwheel.core.errors import ConfigError, DataError
from cartwheel.core.files import sha256
from cartwheel.core.tables import read_json
from models.questions.run_log import split_start
from models.tuning.validation import lay_out
from workflows.prepare.examples import build_examples
from workflows.settings import PrepareSettings
from workflows.tasks.split import SPLITS, iso, split_by_dates, split_by_time, split_log, told_split

MARCH = {"valid_from": "2024-03-01", "test_from": "2024-03-05"}
DAYS = np.array([round(datetime(2024, 2, day, tzinfo=timezone.utc).timestamp()) * 1_000_000 for day in range(1, 29)])


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def at(microseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=microseconds)


def prepare(**said: Any) -> PrepareSettings:
    return parse_settings({"prepare": said}, "shop.toml", Path()).prepare


def test_the_shares_of_the_events_set_the_instants() -> None:
    split = split_by_time(np.random.default_rng(0).permutation(100), 0.2, 0.1)
    assert (split.t_valid, split.t_test, split.end) == (70, 90, 100)
    masks = [split.mask(name, np.arange(105)) for name in SPLITS]
    assert [int(m.sum()) for m in masks] == [70, 20, 15]
    assert (np.sum(masks, axis=0) == 1).all()


def test_a_place_between_two_events_is_rounded_down() -> None:
    split = split_by_time(np.arange(7), 0.2, 0.2)  # 4.2 and 5.6 events
    assert (split.t_valid, split.t_test, split.end) == (4, 5, 7)


@pytest.mark.parametrize("times", [[5], [5, 5, 5, 5], [1, 5, 5, 5, 5, 5, 5, 5, 5, 5]])
def test_too_few_instants_are_refused(times: list[int]) -> None:
    with pytest.raises(DataError, match=r"distinct instants.*Give a longer log"):
        split_by_time(np.array(times), 0.1, 0.1)


def test_instants_are_told_in_utc() -> None:
    assert iso(1_500_000) == "1970-01-01T00:00:01.500000+00:00"


class TestDates:
    """What ``prepare.valid_from`` and ``prepare.test_from`` mean."""

    @pytest.mark.parametrize(
        ("said", "expected"),
        [
            ("2024-02-20", "2024-02-20T00:00:00"),
            (instant("2024-02-20").date(), "2024-02-20T00:00:00"),  # TOML has dates and instants of its own
            (instant("2024-02-20T18:30:00"), "2024-02-20T18:30:00"),
            (datetime(2024, 2, 20, 18, 30), "2024-02-20T18:30:00"),
            ("2024-02-20T18:30", "2024-02-20T18:30:00"),
            ("2024-02-20T18:30:00Z", "2024-02-20T18:30:00"),
            ("2024-02-20 18:30:00+02:00", "2024-02-20T16:30:00"),
        ],
    )
    def test_a_date_or_an_instant_is_read_as_utc(self, said: Any, expected: str) -> None:
        settings = prepare(valid_from=said, test_from="2024-02-25")
        assert settings.valid_from == instant(expected)
        assert split_log(DAYS, settings).t_valid == round(instant(expected).timestamp()) * 1_000_000

    def test_dates_win_over_shares(self) -> None:
        settings = prepare(valid_share=0.4, test_share=0.4, valid_from="2024-02-20", test_from="2024-02-27")
        split = split_log(DAYS, settings)
        assert [int(split.mask(name, DAYS).sum()) for name in SPLITS] == [19, 7, 2]
        assert split_log(DAYS, prepare()) == split_by_time(DAYS, 0.1, 0.1)

    def test_how_a_log_is_split_is_told(self) -> None:
        assert told_split(prepare(valid_share=0.005)) == (
            "by time: the latest 10% of the events test, the 0.5% before them validate, the rest trains"
        )
        assert told_split(prepare(valid_from="2024-02-20", test_from="2024-02-27T06:00:00")) == (
            "by time: the events from 2024-02-27T06:00:00+00:00 on test, those from 2024-02-20 on validate, the rest trains"
        )

    @pytest.mark.parametrize(
        ("said", "message"),
        [
            ({"valid_from": "2024-02-20"}, r"valid_from is 2024-02-20T\S+ and test_from is not there; set both, or neither"),
            ({"test_from": "2024-02-20"}, r"test_from is 2024-02-20T\S+ and valid_from is not there; set both, or neither"),
            (
                {"valid_from": "2024-02-20", "test_from": "2024-02-20T00:00:00Z"},
                r"valid_from is 2024-02-20T\S+ and test_from 2024-02-20T\S+, but test comes after.*set test_from to a later",
            ),
            (MARCH | {"valid_from": "soon"}, r"prepare\.valid_from = 'soon' is not accepted.*ISO 8601.*such as 2024-03-31"),
            (MARCH | {"valid_from": 2024}, r"prepare\.valid_from = 2024 is not accepted.*ISO 8601"),
            (MARCH | {"valid_from": "2024-02-30"}, r"prepare\.valid_from = '2024-02-30' is not accepted"),
            (MARCH | {"valid_from": "0001-01-01T00:00:00+05:00"}, r"valid_from = .*between the years 1 and 9999"),
        ],
    )
    def test_settings_that_cannot_be_are_refused(self, said: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            prepare(**said)

    @pytest.mark.parametrize(
        ("valid_from", "test_from", "message"),
        [
            (
                "2024-02-01",
                "2024-02-20",
                r"prepare\.valid_from is 2024-02-01.* from 2024-02-01\S+ to 2024-02-28.*to train on\. Set",
            ),
            ("2023-01-01", "2024-02-20", r"prepare\.valid_from is 2023-01-01.*to train on\. Set prepare\.valid_from to"),
            (
                "2024-02-20",
                "2024-02-28T00:00:01",
                r"prepare\.test_from is 2024-02-28T00:00:01.*to test on\. Set prepare\.test_from to",
            ),
            ("2024-03-01", "2024-04-01", r"prepare\.test_from is 2024-04-01.*to test on"),
            (
                "2024-02-20T01:00",
                "2024-02-20T02:00",
                r"between prepare\.valid_from, 2024-02-20T01.*to validate on\. Set them further",
            ),
        ],
    )
    def test_a_split_without_events_is_refused(self, valid_from: str, test_from: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            split_log(DAYS, prepare(valid_from=valid_from, test_from=test_from))

    @given(st.lists(st.integers(-50, 50), min_size=1, max_size=30), st.integers(-60, 60), st.integers(-60, 60))
    def test_each_event_is_where_its_date_says_or_the_split_is_refused(self, times: list[int], valid: int, test: int) -> None:
        log = np.array(times)
        sizes = [int((log < min(valid, test)).sum()), int(((log >= valid) & (log < test)).sum()), int((log >= test).sum())]
        try:
            split = split_by_dates(log, at(valid), at(test))
        except DataError:
            assert 0 in sizes
            return
        assert [int(split.mask(name, log).sum()) for name in SPLITS] == sizes
        assert 0 not in sizes

    @given(st.lists(st.integers(0, 200), min_size=3, max_size=60), st.floats(0.05, 0.4), st.floats(0.05, 0.4))
    def test_the_instants_that_shares_find_are_the_dates_of_the_same_split(
        self, times: list[int], valid: float, test: float
    ) -> None:
        log = np.array(times)
        try:
            by_shares = split_by_time(log, valid, test)
        except DataError:
            return
        assert split_by_dates(log, at(by_shares.t_valid), at(by_shares.t_test)) == by_shares


@pytest.fixture(scope="module")
def build(
    tmp_path_factory: pytest.TempPathFactory, shop_events: pl.DataFrame, shop_settings: PrepareSettings
) -> Callable[[str, str], Path]:
    def built(valid_from: str, test_from: str) -> Path:
        run = tmp_path_factory.mktemp("dated")
        (run / "events").mkdir()
        shop_events.write_parquet(run / "events" / "events.parquet")
        dates = {"valid_from": valid_from, "test_from": test_from}
        settings = PrepareSettings.model_validate(shop_settings.model_dump() | dates)
        build_examples(run / "events" / "events.parquet", run, settings, seed=3)
        return run

    return built


class TestARunOfDates:
    """Examples cut at dates, the audit passed, and what tuning may read of them."""

    def test_every_anchor_lies_between_the_dates_and_tuning_sees_nothing_of_the_test(
        self, build: Callable[[str, str], Path], tmp_path: Path
    ) -> None:
        run = build("2023-11-25", "2023-11-29T12:00:00")
        valid, test = instant("2023-11-25"), instant("2023-11-29T12:00:00")
        report = read_json(run / "examples" / "report.json")
        assert (report["t_valid"], report["t_test"]) == (valid.isoformat(), test.isoformat())
        assert report["split"].startswith("by time: the events from 2023-11-29T12:00:00+00:00 on test, those from 2023-11-25 on")
        assert report["audit"]["rows_recomputed"] > 0
        for task in ("recommend", "ranking", "cart", "cart_requests"):
            anchors = [pl.read_parquet(run / "examples" / name / f"{task}.parquet")["anchor"] for name in SPLITS]
            assert anchors[0].max() < valid <= anchors[1].min() <= anchors[1].max() < test <= anchors[2].min()  # type: ignore[operator]
        data = lay_out(run, tmp_path / "data", events=True)
        assert split_start(data, "valid") == split_start(run, "valid")
        assert pl.read_parquet(data / "events" / "events.parquet")["timestamp"].max() < test  # type: ignore[operator]

    def test_dates_and_shares_of_one_split_give_equal_bytes(self, build: Callable[[str, str], Path], shop_run: Path) -> None:
        report = read_json(shop_run / "examples" / "report.json")
        run = build(report["t_valid"], report["t_test"])
        for name in SPLITS:
            assert sha256(run / "examples" / name) == sha256(shop_run / "examples" / name)
