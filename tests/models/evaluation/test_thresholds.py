"""Decisions are judged at a threshold that the test split had no say in, and their figures are those of scikit-learn."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from plain_text import report_text
from pydantic import ValidationError
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    f1_score,
    precision_recall_curve,
    precision_score,
    recall_score,
)

from cartwheel.core.errors import ComparisonError
from evaluation.figures import Evaluation, Record, difference
from evaluation.forecasts import cart_records, ranking_records, read_forecasts
from evaluation.probabilities import AT_THRESHOLD
from evaluation.settings import EvaluateSettings
from evaluation.thresholds import Threshold, chosen_threshold, given_threshold
from models.training.calibration import sigmoid

SEED = 1
SCORES = {"accuracy": accuracy_score, "precision": precision_score, "recall": recall_score, "f1": f1_score}


def settings(**told: object) -> EvaluateSettings:
    return EvaluateSettings(bootstrap=100, **told)


def ranking(run: Path, **told: object) -> Evaluation:
    return Evaluation(tuple(ranking_records(run, settings(**told), SEED, None)[0]))


def logits(run: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """What the ranker of these tests says, in its own precision, and the labels."""
    rows = pl.read_parquet(run / f"features/{split}/ranking/part_0.parquet")
    affinity, recent, age = (rows[name].to_numpy() for name in ("category_affinity", "item_recent_events", "item_age_days"))
    logit = affinity * np.float32(3.0) + recent * np.float32(-0.3) + age * np.float32(0.01) - np.float32(1.5)
    assert logit.dtype == np.float32
    return logit, rows["label"].to_numpy()


def found(evaluation: Evaluation, task: str, model: str, metric: str) -> Record:
    record = evaluation.find(task, model, metric)
    assert record is not None
    return record


def test_decisions_are_those_of_scikit_learn_at_the_threshold_of_the_validation_rows(finished_run: Path) -> None:
    logit, label = logits(finished_run, "valid")
    precision, recall, candidates = precision_recall_curve(label, sigmoid(logit))
    f1 = np.divide(2 * precision * recall, precision + recall, out=np.zeros_like(recall), where=precision + recall > 0)
    threshold = candidates[np.argmax(f1[:-1])]
    logit, label = logits(finished_run, "test")
    said = sigmoid(logit) >= threshold
    assert 0 < said.mean() < 1
    evaluation = ranking(finished_run)
    for name, score in SCORES.items():
        record = found(evaluation, "ranking", "dlrm", AT_THRESHOLD[name])
        assert record.value == pytest.approx(score(label, said))
        assert record.low <= record.value <= record.high
        assert record.k is None
        assert record.protocol.remark == f"yes from {threshold:.6g} on"
        positives = int(logits(finished_run, "valid")[1].sum())
        assert record.protocol.tie_rule.endswith(
            f"highest F1 for the model on 600 rows of the valid split, {positives} of them positive"
        )
    brier = found(evaluation, "ranking", "dlrm", "brier")
    assert brier.value == pytest.approx(brier_score_loss(label, sigmoid(logit)))


def test_every_model_with_chances_has_decisions_and_each_its_own_threshold(finished_run: Path) -> None:
    evaluation = ranking(finished_run)
    decided = {record.model for record in evaluation.records if record.metric == AT_THRESHOLD["f1"]}
    assert decided == {"dlrm", "logistic_regression", "gradient_boosting", "base_rate"}
    records = [found(evaluation, "ranking", model, AT_THRESHOLD["f1"]) for model in sorted(decided)]
    assert len({record.protocol.remark for record in records}) == 4
    assert difference(records[1], records[0]) == pytest.approx(records[1].value - records[0].value)
    lead = found(evaluation, "ranking", "dlrm", AT_THRESHOLD["f1"] + "_minus_base_rate")
    ours, theirs = (found(evaluation, "ranking", model, AT_THRESHOLD["f1"]) for model in ("dlrm", "base_rate"))
    assert lead.value == pytest.approx(ours.value - theirs.value)
    assert lead.low < lead.value < lead.high
    assert 0 < lead.p_value <= lead.p_holm <= 1
    always = found(evaluation, "ranking", "base_rate", AT_THRESHOLD["recall"])
    assert (always.value, always.low, always.high) == (1.0, 1.0, 1.0)


def test_lines_and_whole_carts_have_decisions_and_lines_beside_the_oracle_have_none(finished_run: Path) -> None:
    class Knows:
        def scores(self, *_: object) -> np.ndarray:
            raise AssertionError("carts ask for no scores")

        def cart_probability(self, users: object, items: list[str], *_: object, **__: object) -> np.ndarray:
            return np.full(len(items), 0.4)

    records, of_lines = cart_records(finished_run, settings(), SEED, Knows())
    tasks = {record.task for record in records if record.metric == AT_THRESHOLD["accuracy"]}
    assert tasks == {"cart_line", "cart"}
    assert {record.task for record in records if record.metric == "brier"} == {*tasks, "cart_line_just_added"}
    lines = read_forecasts(finished_run, "cart", SEED)
    evaluation = Evaluation(tuple(records))
    assert "…" not in report_text(evaluation, 80)  # the table with all these figures still fits a terminal
    for forecast in of_lines["cart_line"].forecasts:
        if forecast.threshold is not None:
            (same,) = [each for each in lines.forecasts if each.model == forecast.model]
            record = found(evaluation, "cart_line", forecast.model, AT_THRESHOLD["accuracy"])
            assert record.value == pytest.approx(accuracy_score(lines.label, same.probability >= forecast.threshold.least))


def test_the_test_split_has_no_say_in_the_threshold(own_run: Path) -> None:
    before = ranking(own_run)
    path = own_run / "examples/test/ranking.parquet"
    pl.read_parquet(path).with_columns(label=1 - pl.col("label")).write_parquet(path)
    after = ranking(own_run)
    for model in ("dlrm", "logistic_regression", "gradient_boosting", "base_rate"):
        one, other = (found(each, "ranking", model, AT_THRESHOLD["f1"]) for each in (before, after))
        assert one.protocol.remark == other.protocol.remark != ""
    assert found(before, "ranking", "dlrm", AT_THRESHOLD["f1"]).value != found(after, "ranking", "dlrm", AT_THRESHOLD["f1"]).value


def test_a_given_threshold_asks_no_validation_rows(own_run: Path) -> None:
    shutil.rmtree(own_run / "features/valid")
    logit, label = logits(own_run, "test")
    evaluation = ranking(own_run, threshold=0.5)
    record = found(evaluation, "ranking", "dlrm", AT_THRESHOLD["precision"])
    assert record.value == pytest.approx(precision_score(label, logit >= 0))
    assert record.protocol.tie_rule == "none: no ranking; yes from 0.5 on, as set"
    never = ranking(own_run, threshold=1.0)
    nothing = found(never, "ranking", "dlrm", AT_THRESHOLD["precision"])
    assert (nothing.value, nothing.reason) == (None, "dlrm says yes to none of the 600 rows")
    assert found(never, "ranking", "dlrm", AT_THRESHOLD["recall"]).value == 0.0
    with pytest.raises(ComparisonError, match=r"cannot be compared: .*tie_rule"):
        difference(record, nothing)


def test_validation_rows_of_one_label_choose_nothing(own_run: Path) -> None:
    path = own_run / "examples/valid/ranking.parquet"
    pl.read_parquet(path).with_columns(label=pl.lit(0, pl.Int8)).write_parquet(path)
    evaluation = ranking(own_run)
    for metric in AT_THRESHOLD.values():
        record = found(evaluation, "ranking", "dlrm", metric)
        assert (record.value, record.low, record.protocol.remark) == (None, None, "")
        assert record.reason == "the validation split does not hold both labels, so there is no threshold"
    assert found(evaluation, "ranking", "dlrm", "brier").value is not None


def test_costs_move_the_threshold() -> None:
    generator = np.random.default_rng(4)
    probability = generator.random(4000)
    label = (generator.random(4000) < probability).astype(np.int64)  # calibrated, so that Elkan's rule holds
    for false_positive, false_negative in ((1.0, 1.0), (1.0, 4.0), (3.0, 1.0)):
        told = settings(threshold="cost", cost_of_false_positive=false_positive, cost_of_false_negative=false_negative)
        threshold = chosen_threshold(label, probability, told, "valid")
        assert threshold.least == pytest.approx(false_positive / (false_positive + false_negative), abs=0.06)
        assert f"({false_positive:g} a wrong yes, {false_negative:g} a wrong no)" in threshold.rule
    dear = settings(threshold="cost", cost_of_false_positive=1e6, cost_of_false_negative=1.0)
    assert chosen_threshold(np.array([1, 0]), np.array([0.2, 0.9]), dear, "valid").remark == "never yes"
    assert given_threshold(dear) is None
    assert given_threshold(settings(threshold=0.25)) == Threshold(0.25, "yes from 0.25 on, as set")
    assert math.isnan(chosen_threshold(np.zeros(0, np.int64), np.zeros(0), settings(), "valid").least)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"threshold": "cost"}, "needs cost_of_false_positive and cost_of_false_negative"),
        ({"threshold": "cost", "cost_of_false_positive": 1.0}, "set both"),
        ({"cost_of_false_negative": 1.0}, 'need threshold = "cost"'),
        ({"threshold": 1.5}, "less than or equal to 1"),
        ({"threshold": "accuracy"}, "'f1' or 'cost'"),
        ({"threshold": "cost", "cost_of_false_positive": math.inf, "cost_of_false_negative": 1.0}, "finite number"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(told: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EvaluateSettings(**told)
