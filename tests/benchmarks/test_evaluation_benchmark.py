"""The whole command at a small size: what is measured is right and told; how fast is never asserted."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from benchmarks.evaluation import agree
from benchmarks.judging.by_cartwheel import evaluate
from benchmarks.judging.problem import Problem, draw
from cartwheel.core.errors import ParityError

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "evaluation.py"
PEER = os.environ.get("CARTWHEEL_RECTOOLS_PYTHON")
"""Python of an environment that has RecTools, which cannot stand beside Cartwheel in one."""
METRICS = ("recall", "precision", "ndcg", "map", "mrr", "hit_rate", "coverage", "novelty")


def benchmark(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=280, check=False)


def problem(users: int = 60, items: int = 1_000) -> Problem:
    return draw(users, items, truths=3, pool=20, seen=10, seed=0)


@pytest.mark.slow
def test_quick_measures_cartwheel_alone_and_says_how_to_get_the_peer(tmp_path: Path) -> None:
    result = benchmark("--quick", "--work", tmp_path / "work", "--json", tmp_path / "figures.json")
    assert result.returncode == 0, result.stderr
    assert "pip install rectools" in result.stdout
    assert "a matrix of all scores would take 40 MB" in result.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())
    ours = figures["figures"]["Cartwheel"]
    assert ours["cpu_seconds"] > 0
    assert ours["peak_mb"] >= figures["quarter_peak_mb"] > 0
    assert set(ours["metrics"]) == {f"{metric}@{k}" for metric in METRICS for k in (5, 10, 20)}
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not PEER, reason="CARTWHEEL_RECTOOLS_PYTHON names no Python that has RecTools")
def test_rectools_agrees(tmp_path: Path) -> None:
    result = benchmark("--quick", "--peer-python", str(PEER), "--json", tmp_path / "figures.json")
    assert result.returncode == 0, result.stderr
    assert "both gave the same 24 metrics" in result.stdout
    assert "at least as fast as RecTools, by wall clock" in result.stdout
    assert set(json.loads((tmp_path / "figures.json").read_text())["figures"]) == {"Cartwheel", "RecTools"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--k", "10,x"), 2, "--k '10,x' is no list of whole numbers from 5 on."),
        (("--k", "3"), 2, "--k '3' is no list of whole numbers from 5 on."),
        (("--pool", "4"), 2, "--pool 4 is not between the 5 truth items and half of the items."),
        (("--quick", "--peer-python", sys.executable), 2, "has no RecTools. Make an environment with"),
        (("--quick", "--peer-python", "nowhere/python"), 6, "nowhere/python cannot be run"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(arguments: tuple[str, ...], code: int, message: str) -> None:
    result = benchmark(*arguments)
    assert message in result.stderr
    assert result.returncode == code


def test_metrics_are_those_of_a_dense_ranking(tmp_path: Path) -> None:
    drawn = problem()
    drawn.save(tmp_path / "problem.npz")
    stages = dict(evaluate(str(tmp_path / "problem.npz"), 40, [5, 10]))
    stages["rank"]()
    found = stages["metrics"]()
    scores = drawn.user_factors.astype(np.int64) @ drawn.item_factors.astype(np.int64).T
    scores[drawn.seen_row, drawn.seen_item] = -(2**60)
    top = np.argsort(-scores, axis=1, kind="stable")[:40]
    truth = np.zeros(scores.shape, bool)
    truth[drawn.truth_row, drawn.truth_item] = True
    hits = np.take_along_axis(truth[:40], top, axis=1)
    assert stages["ties"]()["truth"] == 0
    for k in (5, 10):
        assert found[f"recall@{k}"] == pytest.approx((hits[:, :k].sum(axis=1) / truth[:40].sum(axis=1)).mean())
        first = np.where(hits[:, :k].any(axis=1), 1 / (hits[:, :k].argmax(axis=1) + 1), 0.0)
        assert found[f"mrr@{k}"] == pytest.approx(first.mean())
        assert found[f"coverage@{k}"] == len(np.unique(top[:, :k])) / 1_000


def test_problems_are_the_same_at_each_call_and_hide_no_truth() -> None:
    one, two = problem(), problem()
    for name in ("user_factors", "item_factors", "truth_row", "truth_item", "seen_row", "seen_item"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    pairs = [row * 1_000 + item for row, item in ((one.truth_row, one.truth_item), (one.seen_row, one.seen_item))]
    assert not np.intersect1d(*pairs).size
    for codes in pairs:
        assert (np.diff(codes) > 0).all()
    np.testing.assert_array_equal(np.unique(one.truth_row), np.arange(60))


def test_factors_are_so_small_that_products_are_exact_in_single_precision() -> None:
    drawn = problem()
    largest = int(max(np.abs(drawn.user_factors).max(), np.abs(drawn.item_factors).max()))
    assert largest**2 * drawn.user_factors.shape[1] <= 2**24


def test_a_pool_makes_the_scorer_better_than_chance() -> None:
    def share(pool: int) -> float:
        drawn = draw(60, 1_000, truths=3, pool=pool, seen=10, seed=0)
        scores = drawn.user_factors @ drawn.item_factors.T
        own = scores[drawn.truth_row, drawn.truth_item]
        return float((scores[drawn.truth_row] > own[:, None]).mean())

    assert share(3) == pytest.approx(0.5, abs=0.1)
    assert share(60) < 0.1


FIGURES: Final = {"recall@10": 0.5, "coverage@10": 0.25, "novelty@10": 9.0}
NO_TIES: Final = {"truth": 0, "shown": 0}


class TestAgree:
    def theirs(self, drawn: Problem, **changed: float) -> dict[str, float]:
        shift = np.log2(len(drawn.seen_row) / 60)
        return {**FIGURES, "novelty@10": 9.0 - shift, **{f"{name}@10": value for name, value in changed.items()}}

    def test_novelty_of_interactions_and_of_users_differ_by_a_constant(self) -> None:
        assert agree(FIGURES, self.theirs(problem()), NO_TIES, problem()) < 1e-9

    @pytest.mark.parametrize("changed", [{"recall": 0.51}, {"coverage": 0.251}, {"novelty": 9.0}])
    def test_what_ties_do_not_explain_is_told(self, changed: dict[str, float]) -> None:
        with pytest.raises(ParityError, match=f"{next(iter(changed))}@10 is .* ties explain 0"):
            agree(FIGURES, self.theirs(problem(), **changed), NO_TIES, problem())

    def test_ties_may_explain_a_difference(self) -> None:
        theirs = self.theirs(problem(), recall=0.51, coverage=0.255)
        assert agree(FIGURES, theirs, {"truth": 1, "shown": 1}, problem()) == pytest.approx(0.01)
        with pytest.raises(ParityError, match="recall"):
            agree(FIGURES, theirs, {"truth": 0, "shown": 1}, problem())

    def test_a_missing_metric_is_told(self) -> None:
        with pytest.raises(ParityError, match="Only one of them has novelty@10"):
            agree(FIGURES, {"recall@10": 0.5, "coverage@10": 0.25}, NO_TIES, problem())
