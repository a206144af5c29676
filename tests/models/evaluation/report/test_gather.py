"""What the report draws beside the records: segments corrected as one table, curves, named items, days without a gap."""

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cartwheel.core.frames import read_frame
from evaluation.figures import Evaluation
from evaluation.forecasts import read_forecasts
from evaluation.report.details import Details
from evaluation.report.gather import timeline
from evaluation.report.items import TITLE_COLUMNS, read_items
from evaluation.report.learning import read_learning
from evaluation.report.line_segments import line_segments
from evaluation.report.list_drawings import is_decided
from evaluation.segments import segment_records, segments, show
from evaluation.settings import EvaluateSettings
from models.metrics.classification import log_loss, roc_auc, row_log_loss
from models.metrics.significance import holm, permutation_p_values

SETTINGS = EvaluateSettings(candidates=20, cutoffs=(3, 10), bootstrap=100, baselines=("popular_in_category", "item_knn"))
SEED = 3


@pytest.fixture(scope="module")
def details(evaluated: Path) -> Details:
    found = Details.read(evaluated)
    assert found is not None
    return found


def test_segments_are_compared_with_the_leader_and_most_popular(details: Details, evaluated: Path) -> None:
    table = details.segments
    assert table is not None
    evaluation = Evaluation.read(evaluated)
    rivals = ("most_popular", "recently_popular", "popular_in_category", "item_knn")
    values = {name: found.value for name in rivals if (found := evaluation.find("two_stage", name, "ndcg", 3)) is not None}
    assert table.strongest == max(values, key=lambda name: values[name] or 0.0)
    for row in table.rows:
        assert {each.model for each in row.figures} == {"two_tower+dlrm", "most_popular", table.strongest}


def test_the_p_values_of_all_segments_are_corrected_together(details: Details, evaluated: Path) -> None:
    table = details.segments
    assert table is not None
    shown = show(evaluated, "test", SETTINGS, SEED)
    records = [
        r for r in segment_records(shown, segments(shown), SETTINGS, SEED) if (r.metric, r.k) == ("ndcg_minus_most_popular", 3)
    ]
    raw = {r.task: r.p_value for r in records}
    told = {row.name: each for row in table.rows for each in row.differences if each.baseline == "most_popular"}
    assert raw.keys() == told.keys()
    alone = dict(zip(raw, holm([value or 0.0 for value in raw.values()]), strict=True))
    for name, each in told.items():
        assert each.p_holm is not None
        assert each.p_holm >= alone[name] - 1e-5  # at least the correction over the differences from this baseline
        record = next(r for r in records if r.task == name)
        assert (each.value, each.low, each.high) == (record.value, record.low, record.high)
        assert not is_decided(each) or each.p_holm < 0.05


def test_cart_lines_are_cut_by_history_and_compared_with_the_base_rate(evaluated: Path) -> None:
    lines = read_forecasts(evaluated, "cart", SEED)
    history = read_frame(evaluated / "examples/test/cart.parquet", ["user_events"])["user_events"].to_numpy()
    parts = line_segments(evaluated, lines, SETTINGS, SEED, edges=(1, 3))
    assert [part.name for part in parts] == ["new shoppers", "1 to 2 events", "3 events or more"]
    model, base = lines.forecasts[0], next(each for each in lines.forecasts if each.model == "base_rate")
    for part, (low, high) in zip(parts, ((0, 1), (1, 3), (3, np.inf)), strict=True):
        rows = (history >= low) & (history < high)
        label = lines.label[rows]
        assert (part.rows, part.positives) == (len(label), label.sum())
        losses = [log_loss(label, each.probability[rows]) for each in (model, base) if each.probability is not None]
        assert [each.value for each in part.log_loss] == pytest.approx(losses)
        assert part.difference.value == pytest.approx(losses[0] - losses[1])
        assert part.roc_auc.value == pytest.approx(roc_auc(label, model.score[rows]))
    alone = permutation_p_values(
        (row_log_loss(lines.label, model.probability) - row_log_loss(lines.label, base.probability))[history < 1][:, None],
        lines.users[history < 1],
        SEED,
    )
    assert parts[0].difference.p_holm is not None
    assert alone[0] <= parts[0].difference.p_holm <= 3 * alone[0]


def test_lines_of_one_class_have_no_segments(evaluated: Path) -> None:
    lines = read_forecasts(evaluated, "cart", SEED)
    assert line_segments(evaluated, replace(lines, label=np.zeros_like(lines.label)), SETTINGS, SEED) == []


def test_gains_and_calibration_hold_the_positives(details: Details, evaluated: Path) -> None:
    assert [each.task for each in details.chances] == ["ranking", "cart_line"]
    for task, name in zip(details.chances, ("ranking", "cart"), strict=True):
        label = read_forecasts(evaluated, name, SEED).label
        assert (task.rows, task.positives) == (len(label), label.sum())
        for curve in task.curves:
            assert (curve.found[0], curve.found[-1]) == (0, 1)
            assert (np.diff(curve.found) >= 0).all()
            if curve.calibration is not None:
                bins = curve.calibration
                assert sum(bins.rows) == task.rows
                assert np.dot(bins.rows, bins.seen) == pytest.approx(task.positives, rel=1e-4)
        constant = next(curve for curve in task.curves if curve.model == "base_rate")
        assert constant.found == pytest.approx(constant.asked)


def test_examples_are_what_came_true_and_have_their_titles(details: Details, evaluated: Path) -> None:
    assert 2 <= len(details.examples) <= 6
    assert {bool(each.hits) for each in details.examples} == {True, False}
    for each in details.examples:
        recommended = {item.item_id for item in each.recommended}
        assert set(each.hits) <= recommended
        assert set(each.hits) == recommended & {item.item_id for item in each.turned_to}
        assert not recommended & {item.item_id for item in each.recent}
    titles = {item.title for each in details.examples for item in each.recommended}
    assert 'Teapot <img src=x onerror="alert(1)"> & lid' in titles


def test_an_item_is_known_by_its_last_title_and_what_the_catalogue_holds(own_evaluated: Path) -> None:
    path = own_evaluated / "events/events.parquet"
    events = pl.read_parquet(path).drop("title")
    last = pl.col("timestamp") == pl.col("timestamp").max()
    events.with_columns(
        item_id=pl.lit("item014"), name=pl.when(last).then(pl.lit(" new ")).otherwise(pl.lit("old"))
    ).write_parquet(path)
    found = read_items(own_evaluated, "test", ["item013", "item014", "nowhere"])
    row = read_frame(own_evaluated / "examples/test/catalogue.parquet").filter(pl.col("item_id") == "item014").row(0, named=True)
    item = found["item014"]
    assert (item.title, item.category, item.brand) == ("new", row["item_category"], row["item_brand"])
    assert item.price == pytest.approx(row["item_price"], abs=0.01)
    assert item.interactions == row["item_events"]
    assert found["item013"].price is None
    assert found["nowhere"].model_dump(exclude_defaults=True) == {"item_id": "nowhere"}
    events.write_parquet(path)
    assert read_items(own_evaluated, "test", ["item014"])["item014"].title is None
    assert "title" in TITLE_COLUMNS


def test_days_without_events_are_counted_as_such(tmp_path: Path) -> None:
    days = [datetime(2024, 2, day, 23, tzinfo=timezone.utc) for day in (27, 27, 29)]
    (tmp_path / "events").mkdir()
    events = pl.DataFrame({"timestamp": days, "event_type": ["view", "cart", "view"]})
    events.write_parquet(tmp_path / "events/events.parquet")
    found = timeline(tmp_path)
    assert found is not None
    assert found.days == ("2024-02-27", "2024-02-28", "2024-02-29")
    assert found.counts == {"view": (1, 0, 1), "cart": (1, 0, 0)}
    events.clear().write_parquet(tmp_path / "events/events.parquet")
    assert timeline(tmp_path) is None


def test_learning_curves_show_the_figure_that_decides(evaluated: Path) -> None:
    tower, ranking, cart = read_learning(evaluated)
    assert (tower.name, tower.valid, tower.valid_metric, tower.best_epoch) == (
        "two-tower",
        (0.1, 0.3, 0.2),
        "NDCG without cutoff",
        1,
    )
    assert ranking.loss == (1.0, 0.5)
    assert cart.best_epoch == 0
