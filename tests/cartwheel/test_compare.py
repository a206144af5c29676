"""``cartwheel compare`` tells the difference of figures that came about alike, and of the others in what their protocols differ."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cartwheel.cli.main import main
from cartwheel.core.errors import ComparisonError, RunError, UsageError
from evaluation.figures import METRICS_FILE, Evaluation, Protocol, Record, record
from models.metrics.intervals import Interval

Call = Callable[..., tuple[int, str, str]]
PROTOCOL = Protocol(
    "test", "all 9 items", "half", {"anchors": 1200, "users": 300}, "nothing", "95% of 500 resamples", data="0123456789ab"
)
SAMPLED = replace(PROTOCOL, candidate_set="one item among sampled ones", warning="These were sampled.")


def figure(model: str, metric: str, value: float, protocol: Protocol = PROTOCOL, task: str = "retrieval") -> Record:
    k = 10 if task == "retrieval" else None
    return record(task, model, metric, value, Interval(value - 0.01, value + 0.02), protocol, n=9, role="model", k=k)


FIRST = (
    figure("two_tower", "ndcg", 0.30),
    figure("two_tower", "recall", 0.50),
    figure("two_tower", "ndcg_minus_ease", 0.1),
    figure("ease", "ndcg", 0.2),
    figure("dlrm", "roc_auc", 0.7, SAMPLED, "ranking"),
)
SECOND = (
    figure("two_tower", "ndcg", 0.35, replace(PROTOCOL, remark="longer", interval="95% of 900 resamples", cut="by dates")),
    figure("two_tower", "recall", 0.50),
    figure("two_tower", "ndcg_minus_ease", 0.15),
    figure("als", "ndcg", 0.1),
    figure("dlrm", "roc_auc", 0.6, SAMPLED, "ranking"),
)


def runs(folder: Path, first: tuple[Record, ...], second: tuple[Record, ...]) -> tuple[Path, Path]:
    for name, records in (("before", first), ("after", second)):
        Evaluation(records).write(folder / name)
    return folder / "before", folder / "after"


@pytest.fixture
def cartwheel(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Arguments -> exit code, standard output with single spaces, standard error."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cartwheel", "compare", *map(str, arguments)])
        monkeypatch.setattr("signal.signal", lambda number, handler: None)
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), " ".join(captured.out.replace("│", " ").split()), captured.err

    return call


def test_figures_of_one_protocol_stand_beside_each_other_with_their_difference(
    cartwheel: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs(tmp_path, FIRST, SECOND)
    monkeypatch.chdir(tmp_path)
    code, said, _ = cartwheel("before", "after")
    assert code == 0
    for row in (
        "two_tower ndcg@10 0.3000 [0.2900, 0.3200] 0.3500 [0.3400, 0.3700] +0.0500",
        "two_tower recall@10 0.5000 [0.4900, 0.5200] 0.5000 [0.4900, 0.5200] +0.0000",
        "dlrm roc_auc 0.7000 [0.6900, 0.7200] 0.6000 [0.5900, 0.6200] -0.1000",
        "warning: These were sampled.",
        "Difference: after less before. A difference between runs has no interval",
        "Only before has judged 1 figures: ease in retrieval.",
        "Only after has judged 1 figures: als in retrieval.",
    ):
        assert row in said
    assert "minus" not in said, "what a run says of its own models is not compared"
    assert "NOT COMPARED" not in said


def test_the_json_holds_all_of_it(cartwheel: Call, tmp_path: Path) -> None:
    code, said, _ = cartwheel(*runs(tmp_path, FIRST, SECOND), "--json")
    told = json.loads(said)
    assert code == 0
    assert [each["difference"] for each in told["figures"]] == pytest.approx([0.05, 0.0, -0.1])
    ndcg, _, area = told["figures"]
    assert ndcg["first"] == {"value": 0.3, "low": 0.29, "high": 0.32, "reason": None}
    assert (ndcg["task"], ndcg["model"], ndcg["metric"], ndcg["k"]) == ("retrieval", "two_tower", "ndcg", 10)
    assert (ndcg["protocol"], ndcg["warning"]) == (PROTOCOL.hash, "")
    assert area["warning"] == "These were sampled."
    assert [each["model"] for each in told["only_first"] + told["only_second"]] == ["ease", "als"]
    assert told["not_compared"] == []


def test_what_came_about_otherwise_has_no_difference_and_the_fields_are_told(cartwheel: Call, tmp_path: Path) -> None:
    fewer = replace(PROTOCOL, sample_size={"anchors": 50, "users": 300}, excluded="the shopper's recent items (at most 20)")
    both = runs(tmp_path, FIRST, (figure("two_tower", "ndcg", 0.35, fewer), SECOND[1]))
    code, said, error = cartwheel(*both)
    assert code == ComparisonError.exit_code == 12
    assert "two_tower recall@10" in said
    assert "+0.0500" not in said
    assert (
        "NOT COMPARED: retrieval, ndcg@10 of two_tower. The protocols differ: sample_size.anchors: 1200 against 50 "
        "excluded: nothing against the shopper's recent items (at most 20)" in said
    )
    assert "1 of 2 metrics of both runs cannot be compared, because their protocols differ: retrieval in " in error
    assert "retrieval in sample_size.anchors, excluded. Evaluate both runs on one log" in error
    code, said, _ = cartwheel(*both, "--json")
    told = json.loads(said)
    assert code == ComparisonError.exit_code
    assert [each["metric"] for each in told["figures"]] == ["recall"]
    (refused,) = told["not_compared"]
    assert refused["figures"] == [{"task": "retrieval", "model": "two_tower", "metric": "ndcg", "k": 10}]
    assert "sample_size.anchors: 1200 against 50" in refused["differences"]


def test_runs_without_a_common_figure_are_refused(cartwheel: Call, tmp_path: Path) -> None:
    code, _, error = cartwheel(*runs(tmp_path, FIRST[:1], (figure("als", "ndcg", 0.1),)))
    assert code == ComparisonError.exit_code
    assert "no metric in common: two_tower in retrieval against als in retrieval" in error


def test_a_figure_without_a_value_says_why(cartwheel: Call, tmp_path: Path) -> None:
    none = record("retrieval", "two_tower", "ndcg", float("nan"), Interval(None, None), PROTOCOL, n=0, role="model", k=10)
    code, said, _ = cartwheel(*runs(tmp_path, FIRST[:1], (none,)))
    assert code == 0
    assert "none: not defined on these rows -" in said


def test_tasks_models_and_metrics_can_be_chosen(cartwheel: Call, tmp_path: Path) -> None:
    both = runs(tmp_path, FIRST, SECOND)
    code, said, _ = cartwheel(*both, "--metric", "ndcg", "--task", "retrieval", "--model", "two_tower", "--json")
    assert code == 0
    assert [(each["model"], each["metric"]) for each in json.loads(said)["figures"]] == [("two_tower", "ndcg")]
    code, _, error = cartwheel(*both, "--metric", "ndgc")
    assert code == UsageError.exit_code
    assert "--metric is 'ndgc'; neither run has it. They have ndcg, recall, roc_auc." in error


def test_what_is_no_evaluated_run_is_one_sentence(cartwheel: Call, tmp_path: Path) -> None:
    first, second = runs(tmp_path, FIRST, SECOND)
    code, _, error = cartwheel(first, tmp_path / "nowhere")
    assert (code, "There is no run directory" in error) == (RunError.exit_code, True)
    (second / METRICS_FILE).unlink()
    code, _, error = cartwheel(first, second)
    assert (code, "Run `cartwheel evaluate`" in error) == (RunError.exit_code, True)
    assert len(error.strip().splitlines()) == 1
