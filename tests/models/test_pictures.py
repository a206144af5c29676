"""Pictures for notebooks: the order, the colours and the words of what they draw."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from evaluation.figures import Evaluation, Protocol, Record, Role
from evaluation.probabilities import Forecast
from evaluation.report.notebook_pictures import (
    BETTER,
    ROLE_COLOURS,
    UNDECIDED,
    WORSE,
    draw_calibration,
    draw_leaderboard,
    draw_learning,
    draw_roc,
    draw_tradeoff,
    draw_verdicts,
    protocol_sentence,
    ranked,
)
from models.metrics.intervals import UserBootstrap

PROTOCOL = Protocol("test", "all 9 items", "average", {"anchors": 1200, "truth_items": 30}, "nothing", "95% of users")


def record(model: str, metric: str, value: float | None, role: Role = "baseline", **more: Any) -> Record:
    low, high = (None, None) if value is None else (value - 0.01, value + 0.01)
    known = {"low": low, "high": high, **more}
    return Record(
        "retrieval", model, metric, 10, value, known["low"], known["high"], 1200, PROTOCOL, role, None, None, known.get("p")
    )


EVALUATION = Evaluation(
    (
        record("two_tower", "ndcg", 0.2, "model"),
        record("most_popular", "ndcg", 0.1),
        record("ease", "ndcg", 0.3),
        record("broken", "ndcg", None),
        record("two_tower", "coverage", 0.9, "model"),
        record("most_popular", "coverage", 0.01),
        record("ease", "coverage", 0.5),
        record("broken", "coverage", 0.5),
        record("two_tower", "ndcg_minus_most_popular", 0.1, "model", p=0.001),
        record("two_tower", "ndcg_minus_ease", -0.1, "model", p=0.001),
        record("two_tower", "ndcg_minus_als", 0.1, "model", p=0.2),
        record("two_tower", "ndcg_minus_bpr", 0.005, "model", p=0.001),
    )
)


def test_the_best_comes_first_and_what_is_not_defined_last() -> None:
    assert [each.model for each in ranked(EVALUATION, "retrieval", "ndcg", 10)] == ["ease", "two_tower", "most_popular", "broken"]


def test_every_panel_of_a_leaderboard_has_the_order_of_the_first() -> None:
    axes = Figure().subplots(1, 2)
    draw_leaderboard(axes, EVALUATION, "retrieval", [("ndcg", 10), ("coverage", 10)])
    names = [[label.get_text() for label in axis.get_yticklabels()] for axis in axes]
    assert names == [["ease", "two tower", "most popular", "broken"]] * 2
    dots = [line for line in axes[1].lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in dots] == [0.5, 0.9, 0.01, 0.5]
    assert [line.get_color() for line in dots][1] == ROLE_COLOURS["model"]
    assert [text.get_text() for text in axes[0].texts] == ["not defined"]


def test_verdicts_are_coloured_by_interval_and_corrected_p_value() -> None:
    axis = Figure().subplots()
    draw_verdicts(axis, EVALUATION, "retrieval", "two_tower", "ndcg", 10)
    names = [label.get_text() for label in axis.get_yticklabels()]
    colours = [line.get_color() for line in axis.lines if line.get_marker() == "o"]
    assert dict(zip(names, colours, strict=True)) == {
        "ease  (p 0.001)": WORSE,
        "bpr  (p 0.001)": UNDECIDED,  # the interval holds 0
        "most popular  (p 0.001)": BETTER,
        "als  (p 0.200)": UNDECIDED,  # chance, after the correction
    }


def test_a_trade_off_numbers_models_by_their_place_and_leaves_out_what_is_not_defined() -> None:
    axis = Figure().subplots()
    draw_tradeoff(axis, EVALUATION, "retrieval", ("coverage", 10), ("ndcg", 10))
    assert {text.get_text(): text.xy for text in axis.texts} == {"1": (0.5, 0.3), "2": (0.9, 0.2), "3": (0.01, 0.1)}
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("coverage@10", "NDCG@10")


def test_a_protocol_is_told_whole() -> None:
    told = protocol_sentence(EVALUATION.records[0])
    for part in ("retrieval, two_tower", "test split", "1,200 anchors", "30 truth items", "all 9 items", "ties: average"):
        assert part in told
    assert "Warning" not in told
    sampled = replace(EVALUATION.records[0], protocol=replace(PROTOCOL, warning="Of a sample."))
    assert "**Warning:** Of a sample." in protocol_sentence(sampled)


def test_chances_without_probability_have_a_curve_and_no_calibration() -> None:
    label = np.array([0, 1, 0, 1])
    score = np.array([0.1, 0.9, 0.3, 0.6])
    forecasts = {"red": Forecast("dlrm", "model", score, score), "blue": Forecast("most_popular", "baseline", score * 10)}
    left, right = Figure().subplots(1, 2)
    draw_roc(left, label, forecasts, {"dlrm": "ours", "most_popular": "theirs"})
    draw_calibration(right, label, forecasts, UserBootstrap(np.arange(4), 100, 1))
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["ours", "theirs"]
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["dlrm"]


@pytest.mark.parametrize(("figure", "axes"), [("auc", 2), ("recall_20", 1)])
def test_learning_draws_the_kept_epoch_and_validation_where_there_is_one(figure: str, axes: int) -> None:
    drawn = Figure()
    epochs = [{"epoch": number, "loss": 1.0 / (1 + number), "auc": 0.5 + number / 10} for number in range(3)]
    draw_learning(drawn.subplots(), {"epochs": epochs, "best_epoch": 1}, figure)
    assert len(drawn.axes) == axes
    (kept,) = [line for line in drawn.axes[0].lines if line.get_linestyle() == ":"]
    assert list(kept.get_xdata()) == [2, 2]
