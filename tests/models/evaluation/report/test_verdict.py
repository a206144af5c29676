"""The words follow the figures: who is beaten, by how much, for whom, and what speaks against believing it."""

from dataclasses import replace

import pytest

from evaluation.figures import Evaluation, Protocol, Record, record
from evaluation.report.details import SegmentDifference, SegmentRow, SegmentTable
from evaluation.report.lineage import Lineage
from evaluation.report.verdict import can_it_be_believed, for_whom, task_verdict
from evaluation.report.views import TaskView, task_views
from evaluation.test_set_usage import Touches
from models.metrics.intervals import Interval

PROTOCOL = Protocol("test", "all 9 items", "half", {"anchors": 1200, "users": 300}, "nothing", "95%")


def ndcg(model: str, value: float, role: str = "baseline") -> Record:
    return record("two_stage", model, "ndcg", value, Interval(value - 0.01, value + 0.01), PROTOCOL, n=1200, role=role, k=10)


def gain(baseline: str, value: float, spread: float = 0.01, p_holm: float = 0.001) -> Record:
    name = f"ndcg_minus_{baseline}"
    made = record(
        "two_stage",
        "both",
        name,
        value,
        Interval(value - spread, value + spread),
        PROTOCOL,
        n=1200,
        role="model",
        k=10,
        p_value=0.001,
    )
    return Record(**{**made.__dict__, "p_holm": p_holm})


def view(*records: Record) -> TaskView:
    return task_views(Evaluation(records))[0]


def test_the_title_counts_what_is_beaten_level_and_ahead() -> None:
    clear = view(ndcg("both", 0.3, "model"), ndcg("ease", 0.2), ndcg("als", 0.1), gain("ease", 0.1), gain("als", 0.2))
    assert task_verdict(clear).title == "Both beats all 2 simple baselines"
    assert task_verdict(clear).tone == "good"
    mixed = view(
        *(ndcg("both", 0.3, "model"), ndcg("ease", 0.35), ndcg("als", 0.1), ndcg("bpr", 0.3)),
        *(gain("ease", -0.05), gain("als", 0.2), gain("bpr", 0.001)),
    )
    assert task_verdict(mixed).title == "Both beats 1 of 3 simple baselines, ties with 1 and is behind 1"
    assert task_verdict(mixed).tone == "bad"
    none = view(ndcg("both", 0.3, "model"), ndcg("ease", 0.3), gain("ease", 0.001))
    assert task_verdict(none).title == "Both does not significantly beat EASE"
    assert task_verdict(none).tone == "mixed"


def test_a_lead_that_many_comparisons_explain_is_said_to_be_chance() -> None:
    lucky = view(ndcg("both", 0.3, "model"), ndcg("ease", 0.28), gain("ease", 0.02, p_holm=0.2))
    (sentence,) = task_verdict(lucky).sentences
    assert "+7.1% (95% interval +3.6% to +10.7%, p = 0.200 after Holm's correction), not significant." in sentence


def test_the_strongest_baseline_is_named_first_and_the_oracle_is_none() -> None:
    both = view(
        *(ndcg("both", 0.3, "model"), ndcg("als", 0.1), ndcg("ease", 0.2), ndcg("oracle", 0.4, "oracle")),
        *(gain("als", 0.2), gain("ease", 0.1)),
    )
    verdict = task_verdict(both)
    assert verdict.sentences[0].startswith("NDCG@10 is 0.3000, compared with 0.2000 of EASE, the best of them: +50.0%")
    assert verdict.sentences[1] == "Better than ALS."
    assert verdict.sentences[2].startswith("That is 50% of the way from the best baseline to the oracle (0.4000)")


def test_no_way_to_the_oracle_is_told_where_a_baseline_is_nearer() -> None:
    behind = view(ndcg("both", 0.1, "model"), ndcg("ease", 0.2), ndcg("oracle", 0.4, "oracle"), gain("ease", -0.1))
    assert (
        task_verdict(behind).sentences[-1]
        == "The oracle, which knows the shoppers' tastes, reaches 0.4000; the model covers none of the distance to it."
    )


def test_the_own_first_stage_is_no_simple_baseline() -> None:
    tower = record("retrieval", "tower", "ndcg", 0.25, Interval(0.2, 0.3), PROTOCOL, n=1200, role="model", k=10)
    judged = view(
        *(ndcg("both", 0.3, "model"), ndcg("tower", 0.25), ndcg("als", 0.1)), *(gain("tower", 0.05), gain("als", 0.2)), tower
    )
    verdict = task_verdict(judged)
    assert verdict.title == "Both beats ALS"
    assert "The second stage improves on the tower alone (+0.0500, p = 0.001)." in verdict.sentences


def test_what_was_not_measured_is_said_so() -> None:
    nothing = record(
        "two_stage", "both", "ndcg", float("nan"), Interval(None, None), PROTOCOL, n=0, role="model", k=10, undefined="no anchor"
    )
    assert task_verdict(view(nothing)).sentences == ("There are no metrics: no anchor.",)
    assert task_verdict(view(ndcg("both", 0.3, "model"))).title == "No baseline"


@pytest.mark.parametrize(
    ("value", "p_holm", "words"),
    [
        (0.1, 0.01, "Better than EASE for"),
        (-0.1, 0.01, "Worse than EASE for"),
        (0.1, 0.2, "No significant difference from EASE for"),
    ],
)
def test_segments_speak_by_their_corrected_p_value(value: float, p_holm: float, words: str) -> None:
    lead = SegmentDifference(model="both", baseline="ease", value=value, low=value - 0.05, high=value + 0.05, p_holm=p_holm)
    row = SegmentRow(about="shopper", name="1 to 9 events", anchors=7, figures=(), differences=(lead,))
    assert for_whom(SegmentTable(metric="ndcg", k=10, strongest="ease", rows=(row,))) == [f"{words} shoppers with 1 to 9 events."]


def test_doubts_are_told() -> None:
    few = Protocol("test", "all 9 items", "half", {"anchors": 12, "users": 3}, "nothing", "95%")
    figure = record("two_stage", "both", "ndcg", 0.3, Interval(0.2, 0.4), few, n=12, role="model", k=10)
    found = record("two_stage", "catalogue", "reachable", 0.5, Interval(0.4, 0.6), few, n=12, role="task")
    cart = record("cart", "dlrm", "calibration_error", 0.2, Interval(0.1, 0.3), few, n=12, role="model")
    views = task_views(Evaluation((figure, found, cart)))
    summary = {"rows_read": 100, "quarantined": 50}
    lineage = Lineage(summary=summary, warnings=("2 sessions straddle the split",), touches=Touches({"one": 1, "two": 2}))
    doubts = [text for good, text in can_it_be_believed(views[0], views, lineage) if not good]
    assert [text.split(":")[0].split(";")[0].split(". ")[0] for text in doubts] == [
        "12 moments of 3 users",
        "50.0% of the true items were in the catalogue",
        "The test split has been evaluated 3 times, with 2 configurations",
        "The run has no leakage audit.",
        "The audit notes",
        "50 of 100 rows of the log were rejected (50.00%).",
        "The probabilities of carts are poorly calibrated",
    ]
    trusted = Lineage(summary={"rows_read": 1000, "quarantined": 1}, audit={"rows_in_time_order": 9}, touches=Touches({"one": 1}))
    calm = view(ndcg("both", 0.3, "model"))
    assert all(good for good, _ in can_it_be_believed(calm, [calm], trusted))


def test_figures_of_a_sample_are_a_doubt() -> None:
    sampled = replace(PROTOCOL, candidate_set="one item among sampled ones", warning="Sampled metrics lie.")
    area = record("ranking", "dlrm", "roc_auc", 0.8, Interval(0.7, 0.9), sampled, n=1200, role="model")
    (doubt,) = (text for good, text in can_it_be_believed(view(area), [], Lineage(audit={"order": 9})) if not good)
    assert doubt == "Evaluated on one item among sampled ones. Sampled metrics lie."
