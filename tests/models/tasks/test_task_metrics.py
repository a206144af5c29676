from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from sklearn import metrics

from cartwheel.core.errors import ConfigError, RunError
from cartwheel.core.files import write_json
from cartwheel.core.onnx_model import OnnxModel
from cartwheel.core.run_layout import TaskLayout
from cartwheel.core.tables import read_json
from cartwheel.testing.learner import COLUMNS, sizes_of
from evaluation.report.task_tables import task_report, task_section
from evaluation.task_metrics import TaskEvaluation, evaluate_task
from models.families.row_registry import RULES
from models.tasks.rows import inputs_of, read_rows
from models.tasks.train import read_model, train_task
from workflows.features.column import Column, Kind, Owner
from workflows.tasks.task import DECLARED_ANSWERS, Answer

from .conftest import TRIED, write_task


@pytest.fixture(scope="module")
def found(trained: dict[Answer, TaskLayout]) -> dict[Answer, TaskEvaluation]:
    return {answer: evaluate_task(layout, 200, 0) for answer, layout in trained.items()}


def answers_of(layout: TaskLayout, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return label, score and answer of the test rows."""
    test = read_rows(layout, "test", COLUMNS, sizes_of(COLUMNS))
    model = read_model(layout.model(name))
    score = OnnxModel(layout.model(name).scores).table(inputs_of(test.table, model.columns), "score")[:, 0].astype(np.float64)
    return test.label, score, model.answers(score)


def test_metrics_of_probabilities_are_those_of_scikit_learn(
    trained: dict[Answer, TaskLayout], found: dict[Answer, TaskEvaluation]
) -> None:
    layout, result = trained[Answer.PROBABILITY], found[Answer.PROBABILITY]
    for name in (*RULES, *TRIED[Answer.PROBABILITY]):
        label, score, probability = answers_of(layout, name)
        expected = {
            "roc_auc": metrics.roc_auc_score(label, score),
            "pr_auc": metrics.average_precision_score(label, score),
            "log_loss": metrics.log_loss(label, probability),
            "brier": metrics.brier_score_loss(label, probability),
        }
        for metric, value in expected.items():
            record = result.find(name, metric)
            assert record is not None
            assert record.value == pytest.approx(value, rel=1e-6)
            assert record.low is not None
            assert record.low <= record.value <= record.high
            assert record.protocol.sample_size == {"rows": 1200, "users": result.entities}
    assert result.base_rate == pytest.approx(label.mean())


def test_metrics_of_quantities_are_those_of_scikit_learn(
    trained: dict[Answer, TaskLayout], found: dict[Answer, TaskEvaluation]
) -> None:
    layout, result = trained[Answer.QUANTITY], found[Answer.QUANTITY]
    for name in (*RULES, *TRIED[Answer.QUANTITY]):
        label, _, predicted = answers_of(layout, name)
        expected = {
            "mae": metrics.mean_absolute_error(label, predicted),
            "rmse": np.sqrt(metrics.mean_squared_error(label, predicted)),
            "poisson_deviance": metrics.mean_poisson_deviance(label, predicted),
            "wape": np.abs(label - predicted).sum() / label.sum(),
        }
        for metric, value in expected.items():
            record = result.find(name, metric)
            assert record is not None
            assert record.value == pytest.approx(value, rel=1e-6)
    lead = result.find(result.served, "poisson_deviance_minus_base_rate")
    assert lead is not None
    assert lead.high < 0
    assert lead.p_holm < 0.05
    assert result.decision is None
    assert result.calibration is None


def test_the_decision_costs_what_its_mistakes_cost(
    trained: dict[Answer, TaskLayout], found: dict[Answer, TaskEvaluation]
) -> None:
    result, decision = found[Answer.PROBABILITY], found[Answer.PROBABILITY].decision
    assert decision is not None
    label, _, probability = answers_of(trained[Answer.PROBABILITY], result.served)
    yes = probability >= decision.threshold
    assert decision.cost == pytest.approx(np.mean((yes & (label == 0)) * 1.0 + (~yes & (label == 1)) * 3.0))
    assert decision.yes == pytest.approx(yes.mean())
    assert decision.precision == pytest.approx(metrics.precision_score(label, yes))
    assert decision.recall == pytest.approx(metrics.recall_score(label, yes))
    assert decision.cost < min(decision.always_yes, decision.always_no)
    assert decision.low < decision.cost < decision.high


def test_the_curve_of_costs_holds_what_is_served_and_both_extremes(found: dict[Answer, TaskEvaluation]) -> None:
    result = found[Answer.PROBABILITY]
    curve, decision = result.costs, result.decision
    assert curve is not None
    assert decision is not None
    assert (curve.yes[0], curve.yes[-1]) == (0.0, 1.0)
    assert (curve.cost[0], curve.cost[-1]) == pytest.approx((decision.always_no, decision.always_yes))
    assert np.interp(decision.yes, curve.yes, curve.cost) == pytest.approx(decision.cost, rel=0.05)
    assert decision.cost < min(decision.always_no, decision.always_yes)
    assert 'data-figure="costs-probability"' in str(task_section(result))
    assert found[Answer.QUANTITY].costs is None
    assert "Cost of decisions" not in str(task_section(found[Answer.QUANTITY]))


def test_the_calibration_table_holds_every_row(found: dict[Answer, TaskEvaluation]) -> None:
    bins = found[Answer.PROBABILITY].calibration
    assert bins is not None
    assert sum(bins.rows) == found[Answer.PROBABILITY].rows
    assert sum(n * seen for n, seen in zip(bins.rows, bins.seen, strict=True)) / 1200 == pytest.approx(
        found[Answer.PROBABILITY].base_rate
    )


@pytest.mark.parametrize("answer", DECLARED_ANSWERS)
def test_the_answers_rest_on_what_is_planted(found: dict[Answer, TaskEvaluation], answer: Answer) -> None:
    assert set(list(found[answer].importance)[:3]) == {"age", "channel", "recent"}
    assert found[answer].suspects == ()


@pytest.mark.parametrize("answer", DECLARED_ANSWERS)
def test_what_is_written_is_read_back_and_told(
    trained: dict[Answer, TaskLayout], found: dict[Answer, TaskEvaluation], answer: Answer
) -> None:
    layout, result = trained[answer], found[answer]
    first = layout.metrics.read_bytes()
    assert TaskEvaluation.read(layout) == result
    assert evaluate_task(layout, 200, 0) == result
    assert layout.metrics.read_bytes() == first
    screen = Console(file=io.StringIO(), width=110)
    screen.print(task_report(result))
    text, section = screen.file.getvalue(), task_section(result)  # type: ignore[attr-defined]
    for name in (*RULES, *TRIED[answer]):
        assert name in text
    assert f"served: {result.served}" in text
    assert "better than base_rate" in text
    assert section.count("<table") == (3 if answer is Answer.PROBABILITY else 2)
    assert max(map(len, text.splitlines())) <= 110


def test_a_column_that_gives_the_answer_away_is_suspect(tmp_path: Path) -> None:
    columns = (Column("age", Owner.SHOPPER, Kind.NUMBER, "age"), Column("paid", Owner.SHOPPER, Kind.AMOUNT, "paid"))
    layout = write_task(tmp_path, "bought", Answer.PROBABILITY, columns, ("logistic_regression",))
    for split in ("train", "valid", "test"):
        path = layout.features(split) / "part.0.parquet"
        paid = pl.col("label") * 2 + pl.col("paid") * 0.8
        pl.read_parquet(path).with_columns(paid=paid.cast(pl.Float32)).write_parquet(path)
    train_task(layout, columns, {}, 0)
    (sentence,) = evaluate_task(layout, 100, 0).suspects
    assert sentence.startswith("paid alone reaches ROC AUC 0.9")
    assert "suspect" in task_section(TaskEvaluation.read(layout))


def test_missing_and_damaged_metrics_are_said(trained: dict[Answer, TaskLayout], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is missing"):
        TaskEvaluation.read(TaskLayout(tmp_path, "none"))
    layout = TaskLayout(tmp_path, "half")
    layout.metrics.parent.mkdir(parents=True)
    layout.metrics.write_text('{"task": "half"}')
    with pytest.raises(RunError, match="does not contain metrics of a task"):
        TaskEvaluation.read(layout)


METRICS_OF_A_SHOP = """
import numpy as np
from cartwheel import Answer, Metric

HIT = Metric("hit", "Hit", "Fraction of answers on the right side of a half.", "higher", frozenset({Answer.PROBABILITY}),
             rows=lambda o: ((o.predicted > 0.5) == (o.truth > 0.5)).astype(float))
TOP = Metric("top_tenth", "Top tenth", "Share of positives among the tenth with the highest scores.", "higher",
             frozenset({Answer.PROBABILITY}), whole=lambda o: o.truth[np.argsort(-o.predicted)[: len(o) // 10]].mean())
BROKEN = Metric("broken", "Broken", "", "lower", frozenset({Answer.PROBABILITY}), whole=lambda o: 1 / 0)
"""


@pytest.fixture
def judged_by_the_shop(tmp_path: Path, trained: dict[Answer, TaskLayout]) -> tuple[TaskLayout, Path]:
    """A copy of the run whose task names metrics of the shop, and the folder where they lie."""
    shutil.copytree(trained[Answer.PROBABILITY].run, tmp_path / "run")
    (tmp_path / "shop_metrics.py").write_text(METRICS_OF_A_SHOP)
    layout = TaskLayout(tmp_path / "run", trained[Answer.PROBABILITY].name)
    write_json(layout.spec, {**read_json(layout.spec), "metrics": ["shop_metrics:HIT", "shop_metrics:TOP"]})
    return layout, tmp_path


def test_metrics_of_the_shop_reach_records_file_and_tables(judged_by_the_shop: tuple[TaskLayout, Path]) -> None:
    layout, folder = judged_by_the_shop
    result = evaluate_task(layout, 100, 0, folder)
    assert TaskEvaluation.read(layout) == result
    assert [each.name for each in result.added] == ["hit", "top_tenth"]
    label, _, probability = answers_of(layout, "lightgbm")
    right = result.find("lightgbm", "hit")
    assert right is not None
    assert right.value == pytest.approx(metrics.accuracy_score(label, probability > 0.5))
    for name in (*RULES, *TRIED[Answer.PROBABILITY]):
        for metric in ("hit", "top_tenth"):
            record = result.find(name, metric)
            assert record is not None
            assert None not in (record.value, record.low, record.high)
            assert record.protocol.interval == "95% percentile of 100 bootstrap resamples of users"
    lead = result.find("lightgbm", "hit_minus_base_rate")
    assert lead is not None
    assert lead.p_holm is not None
    assert result.find("lightgbm", "top_tenth_minus_base_rate") is not None
    console = Console(width=200, file=io.StringIO())
    console.print(task_report(result))
    text, page = console.file.getvalue(), task_section(result)  # type: ignore[attr-defined]
    for shown in ("Hit", "Top tenth", "Share of positives among the tenth with the highest scores; higher is better"):
        assert shown in text
        assert shown in page
    assert evaluate_task(layout, 100, 0, folder) == result


def test_a_metric_of_the_shop_that_raises_is_named(judged_by_the_shop: tuple[TaskLayout, Path]) -> None:
    layout, folder = judged_by_the_shop
    write_json(layout.spec, {**read_json(layout.spec), "metrics": ["shop_metrics:BROKEN"]})
    with pytest.raises(ConfigError, match="'broken' raised ZeroDivisionError"):
        evaluate_task(layout, 100, 0, folder)
