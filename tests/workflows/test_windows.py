"""Windows of the training span: where they lie, and that their questions know nothing of what comes after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows.prepare.examples import build_examples
from workflows.prepare.windows import BEFORE, window_splits
from workflows.settings import PrepareSettings
from workflows.tasks.split import Split


@given(st.lists(st.integers(0, 10_000), min_size=5, max_size=200), st.integers(1, 3_000), st.integers(0, 8))
def test_windows_lie_before_validation_side_by_side_and_leave_a_quarter_of_the_log_before_them(
    times: list[int], length: int, most: int
) -> None:
    found = window_splits(np.array(times, np.int64), Split(9_000, 9_000 + length, 10_001), most)
    assert len(found) <= most
    ends = [9_000, *(window.t_valid for window in found)]
    for window, end in zip(found, ends, strict=False):
        assert (window.t_test, window.t_test - window.t_valid) == (end, length)
        assert sum(time < window.t_valid for time in times) >= BEFORE * len(times)
    if len(found) < most:
        assert sum(time < ends[-1] - length for time in times) < BEFORE * len(times)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, shop_events: pl.DataFrame, shop_settings: PrepareSettings) -> Path:
    """A run with two windows."""
    path = tmp_path_factory.mktemp("windows")
    (path / "events").mkdir()
    shop_events.write_parquet(path / "events" / "events.parquet")
    settings = shop_settings.model_copy(update={"windows": 2, "max_window_anchors": 40})
    report = build_examples(path / "events" / "events.parquet", path, settings, 3)
    assert list(report.windows) == ["window_1", "window_2"]
    return path


@pytest.mark.parametrize("name", ["window_1", "window_2"])
def test_questions_lie_in_their_window_and_so_does_their_truth(run: Path, name: str) -> None:
    report = pl.read_json(run / "examples" / "report.json")
    starts = {each: pl.Series([report["windows"][0][each]]).str.to_datetime()[0] for each in ("window_1", "window_2")}
    begin = starts[name]
    end = starts["window_1"] if name == "window_2" else pl.Series([report["t_valid"][0]]).str.to_datetime()[0]
    questions = pl.read_parquet(run / "examples" / name / "recommend.parquet")
    assert 0 < len(questions) <= 40
    anchors = (
        questions["anchor"].dt.replace_time_zone("UTC") if questions["anchor"].dtype.time_zone is None else questions["anchor"]
    )
    assert anchors.min() >= begin
    assert anchors.max() < end
    events = pl.read_parquet(run / "events" / "events.parquet")
    named = questions.filter(~pl.col("user_key").str.starts_with("session:"))
    assert len(named)
    for row in named.head(10).iter_rows(named=True):
        own = events.filter(pl.col("user_id") == row["user_key"])
        later = own.filter((pl.col("timestamp") >= row["anchor"]) & (pl.col("timestamp") < end))["item_id"]
        assert set(row["target_items"]) <= set(later)


def test_the_catalogue_of_a_window_holds_what_was_seen_before_it(run: Path) -> None:
    start = pl.read_json(run / "examples" / "report.json")["windows"][0]["window_2"]
    events = pl.read_parquet(run / "events" / "events.parquet")
    seen = events.filter(pl.col("timestamp") < pl.Series([start]).str.to_datetime()[0])["item_id"].unique()
    assert set(pl.read_parquet(run / "examples" / "window_2" / "catalogue.parquet")["item_id"]) == set(seen)


def test_a_run_may_have_no_windows(tmp_path: Path, shop_events: pl.DataFrame, shop_settings: PrepareSettings) -> None:
    shop_events.write_parquet(tmp_path / "events.parquet")
    report = build_examples(tmp_path / "events.parquet", tmp_path, shop_settings.model_copy(update={"windows": 0}), 3)
    assert report.windows == {}
    assert not list((tmp_path / "examples").glob("window_*"))
