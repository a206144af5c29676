"""A simulated and a real shop pass the whole audit, from their events to their features."""

from __future__ import annotations

from pathlib import Path

import pytest

from cartwheel.config import load_settings
from workflows.events.sources import open_source
from workflows.events.validate import check_events
from workflows.prepare.examples import PrepareReport, build_examples
from workflows.prepare.features import FeatureReport, fit_features
from workflows.settings import EventSettings, FeatureSettings, PrepareSettings, SourceSettings
from workflows.simulate import SimulateSettings, simulate

ROOT = Path(__file__).resolve().parents[3]
SMALL = {"max_train_examples": 3000, "max_eval_anchors": 300}


def prepare(run: Path, source: SourceSettings, settings: PrepareSettings) -> tuple[PrepareReport, FeatureReport]:
    check_events(open_source(source, run), EventSettings(), run / "events")
    return build_examples(run / "events" / "events.parquet", run, settings, 1), fit_features(run, FeatureSettings())


def check(examples: PrepareReport, features: FeatureReport) -> None:
    rows = sum(
        sum(
            examples.rows[split].get(task, 0)
            for task in ("recommend", "recommend_requests", "refit", "ranking", "cart", "cart_requests")
        )
        for split in ("train", "valid", "test")
    )
    assert examples.audit["rows_in_time_order"] == examples.audit["rows_without_duplicates"] == rows
    of_windows = sum(examples.rows[name]["recommend"] for name in examples.windows)
    assert examples.audit["rows_of_windows_in_time_order"] == of_windows > 0
    assert examples.audit["rows_recomputed"] >= 180 + 20 * len(examples.windows)
    assert examples.audit["rows_against_single_features"] > 1000
    assert examples.audit["simultaneous_purchases"] == 0
    assert features.audit["statistics_recomputed"] == 41
    assert features.audit["vocabulary_keys_checked"] > 100
    assert features.warnings == ()


@pytest.mark.slow
def test_a_simulated_shop_passes(tmp_path: Path) -> None:
    simulate(SimulateSettings(shoppers=300, items=150, days=30), 3, tmp_path / "simulation")
    source = SourceSettings(kind="table", path=tmp_path / "simulation" / "events.parquet")
    check(*prepare(tmp_path, source, PrepareSettings.model_validate(SMALL)))


@pytest.mark.thorough
def test_a_real_shop_passes_and_its_sessions_across_the_split_are_told(tmp_path: Path) -> None:
    settings = load_settings(ROOT / "configs" / "retailrocket.toml")
    if settings.source.path is None or not settings.source.path.exists():
        pytest.skip(f"LOUD: the RetailRocket data is not there ({settings.source.path}), so no real shop was audited")
    chosen = settings.prepare.model_copy(update={"max_train_examples": 3000})
    examples, features = prepare(tmp_path, settings.source, chosen)
    check(examples, features)
    assert examples.audit["sessions_across_splits"] > 0
    assert sum("sessions go on across a split instant" in warning for warning in examples.warnings) == 1
    assert 0 < examples.audit["simultaneous_interactions"] < 0.1 * examples.events
