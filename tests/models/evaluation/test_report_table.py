"""The table says in words what the figures allow one to say."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from plain_text import report_text
from rich.console import Console

from cartwheel.core.errors import RunError
from evaluation.figures import METRICS_FILE, Evaluation, Protocol, Record, difference, record
from evaluation.report.terminal import headlines, verdicts
from models.metrics.intervals import Interval

PROTOCOL = Protocol("test", "all 9 items", "half", {"anchors": 1200, "users": 3}, "nothing", "95%")


def figure(model: str, metric: str, value: float, role: str, spread: float = 0.01, k: int | None = 10) -> Record:
    return record("retrieval", model, metric, value, Interval(value - spread, value + spread), PROTOCOL, n=7, role=role, k=k)


def evaluation(gain: float) -> Evaluation:
    return Evaluation(
        (
            figure("two_tower", "ndcg", 0.2 + gain, "model"),
            figure("most_popular", "ndcg", 0.2, "baseline"),
            figure("two_tower", "ndcg_minus_most_popular", gain, "model"),
        )
    )


@pytest.mark.parametrize(("gain", "words"), [(0.05, "better than"), (0.005, "not distinguishable from"), (-0.05, "worse than")])
def test_the_verdict_follows_the_interval(gain: float, words: str) -> None:
    (sentence,) = verdicts(list(evaluation(gain).records))
    assert sentence.startswith(f"two_tower: {words} most_popular by ndcg@10")


def test_the_table_shows_figures_intervals_ratio_and_protocol() -> None:
    text = report_text(evaluation(0.05))
    for part in ("0.2500", "±0.010", "x1.25", "(baseline)", "1,200 anchors", "by ndcg@10"):
        assert part in text


def test_how_the_log_was_split_is_told_and_changes_no_hash() -> None:
    plain, told = evaluation(0.05), evaluation(0.05).cut("by time: the events from 2024-03-01 on test")
    assert "test split by time: the events from 2024-03-01 on test; all 9 items" in " ".join(report_text(told).split())
    assert "test split; all 9 items" in " ".join(report_text(plain).split())
    assert [each.protocol.hash for each in told.records] == [each.protocol.hash for each in plain.records]
    assert difference(told.records[0], plain.records[1]) == pytest.approx(0.05)


def test_a_warning_is_printed_once_under_the_table_and_changes_no_hash(tmp_path: Path) -> None:
    warned = replace(PROTOCOL, warning="These were sampled.")
    areas = [record("ranking", name, "roc_auc", 0.6, Interval(0.5, 0.7), warned, n=3, role="model") for name in ("dlrm", "other")]
    told = Evaluation((*evaluation(0.05).records, *areas))
    assert report_text(told).count("warning: These were sampled.") == 1
    assert report_text(evaluation(0.05)).count("warning") == 0
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(headlines(told))
    assert console.export_text().count("warning: These were sampled.") == 1
    assert warned.hash == PROTOCOL.hash
    told.write(tmp_path)
    assert Evaluation.read(tmp_path) == told


def test_what_is_not_known_says_why() -> None:
    nothing = record(
        "ranking", "dlrm", "roc_auc", float("nan"), Interval(None, None), PROTOCOL, n=0, role="model", undefined="no rows"
    )
    assert "no metrics: no rows" in report_text(Evaluation((nothing,)))
    assert "Nothing was evaluated" in report_text(Evaluation())
    lonely = record(
        "ranking", "dlrm", "roc_auc_minus_base_rate", 0.1, Interval(None, None, "one user"), PROTOCOL, n=3, role="model"
    )
    area = record("ranking", "dlrm", "roc_auc", 0.6, Interval(None, None, "one user"), PROTOCOL, n=3, role="model")
    assert verdicts([area, lonely]) == ["dlrm: +0.1000 roc auc against base_rate; one user"]


def test_records_survive_the_file(tmp_path: Path) -> None:
    before = evaluation(1 / 3)
    before.write(tmp_path)
    assert Evaluation.read(tmp_path) == before
    assert before.records[0].value == 0.533333333
    assert before.records[2].baseline == "most_popular"
    assert before.records[0].baseline is None


@pytest.mark.parametrize("content", ["{", '[{"task": 1}]', "[1]"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    with pytest.raises(RunError, match=r"metrics\.json is missing"):
        Evaluation.read(tmp_path)
    (tmp_path / METRICS_FILE).parent.mkdir()
    (tmp_path / METRICS_FILE).write_text(content)
    with pytest.raises(RunError, match="does not contain evaluation records"):
        Evaluation.read(tmp_path)


def test_the_oracle_says_how_far_there_is_to_go() -> None:
    with_oracle = [*evaluation(0.05).records, figure("oracle", "ndcg", 0.4, "oracle")]
    assert verdicts(with_oracle)[-1] == "two_tower: 25% of the way from the best baseline to the oracle by ndcg@10"


def test_the_headlines_fit_a_terminal_and_hold_every_model() -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(headlines(evaluation(0.05)))
    lines = [line.split() for line in console.export_text().splitlines() if line.strip()]
    assert ["two_tower", "0.2500", "±0.010"] in lines
    assert ["most_popular", "(baseline)", "0.2000", "±0.010"] in lines
