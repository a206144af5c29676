"""Whether a lead in chances could be chance: permutations where figures are means, resamples enough where they are areas."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.figures import Protocol, Record
from evaluation.probabilities import LEAST_RESAMPLES, Forecast, probability_records
from evaluation.settings import EvaluateSettings
from evaluation.thresholds import Threshold
from models.metrics.classification import Floats, Labels, Thresholds, row_log_loss
from models.metrics.decisions import row_brier
from models.metrics.intervals import UserBootstrap
from models.metrics.significance import holm, permutation_p_values

ROWS, BASELINES = 400, 5
PROTOCOL = Protocol("test", "the rows of the task", "", {"rows": ROWS}, "nothing", "")


def judged(advantage: float, resamples: int = 100) -> tuple[list[Record], np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """A model that knows the labels by ``advantage`` beside five that know nothing."""
    rng = np.random.default_rng(4)
    label, users = rng.integers(0, 2, ROWS), rng.integers(0, 120, ROWS)
    chances = {"model": np.clip(0.5 + advantage * (label - 0.5) + 0.1 * rng.normal(size=ROWS), 0.02, 0.98)}
    chances |= {f"b{number}": rng.uniform(0.3, 0.7, ROWS) for number in range(BASELINES)}
    forecasts = [
        Forecast(name, "model" if name == "model" else "baseline", value, value, Threshold(0.5, "yes from 0.5 on, as set"))
        for name, value in chances.items()
    ]
    settings = EvaluateSettings(bootstrap=resamples)
    return probability_records("cart", label, users, forecasts, settings, 7, PROTOCOL), label, chances, users


def leads(records: list[Record], metric: str) -> list[Record]:
    return [each for each in records if each.metric.startswith(f"{metric}_minus_")]


@pytest.mark.parametrize("metric", ["roc_auc", "pr_auc", "log_loss", "brier", "accuracy_at_threshold", "f1_at_threshold"])
def test_a_perfect_model_does_not_lead_by_chance_however_few_resamples_are_asked_for(metric: str) -> None:
    found = leads(judged(0.9)[0], metric)
    assert len(found) == BASELINES
    assert all(each.p_holm is not None and each.p_holm < 0.05 for each in found)


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss"])
def test_a_model_that_knows_nothing_leads_by_chance(metric: str) -> None:
    assert all(each.p_holm is not None and each.p_holm > 0.05 for each in leads(judged(0.0)[0], metric) if each.value > 0)


def right(label: Labels, chance: Floats) -> Floats:
    return ((chance >= 0.5) == (label == 1)).astype(np.float64)


def test_means_are_tested_by_permutation_over_users() -> None:
    records, label, chances, users = judged(0.1)
    for metric, of_rows in (("log_loss", row_log_loss), ("brier", row_brier), ("accuracy_at_threshold", right)):
        found = leads(records, metric)
        expected = [
            permutation_p_values((of_rows(label, chances["model"]) - of_rows(label, chances[f"b{n}"]))[:, None], users, 7)[0]
            for n in range(BASELINES)
        ]
        assert [each.p_value for each in found] == pytest.approx(expected)
        assert [each.p_holm for each in found] == pytest.approx(holm(expected))


def test_intervals_are_of_as_many_resamples_as_were_asked_for() -> None:
    records, label, chances, users = judged(0.5, 100)
    assert "100 bootstrap" in records[0].protocol.interval
    by_hand = UserBootstrap(users, 100, 7)
    drawn = {name: by_hand.draws(Thresholds(label, chance).areas)[:, 0] for name, chance in chances.items()}
    own = next(each for each in records if (each.model, each.metric) == ("model", "roc_auc"))
    lead = next(each for each in records if each.metric == "roc_auc_minus_b0")
    for found, draws in ((own, drawn["model"]), (lead, drawn["model"] - drawn["b0"])):
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))


@pytest.mark.parametrize("metric", ["roc_auc", "pr_auc", "f1_at_threshold"])
def test_a_test_by_resamples_does_not_change_with_those_of_the_intervals(metric: str) -> None:
    few, many = ([each.p_value for each in leads(judged(0.05, number)[0], metric)] for number in (100, LEAST_RESAMPLES))
    assert few == many
    assert len(few) == BASELINES
