"""Segments are judged as the whole is, and share it out among them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from evaluation.evaluate import evaluate_run
from evaluation.figures import Record
from evaluation.forecasts import read_forecasts
from evaluation.lists import left_out
from evaluation.segments import (
    NEVER_SEEN,
    Lists,
    Segment,
    Shown,
    anchors_of,
    examples,
    head_items,
    judged_of,
    perfect_lists,
    segment_records,
    segments,
    show,
)
from evaluation.settings import EvaluateSettings
from models.metrics import ranking
from models.metrics.classification import roc_auc

SETTINGS = EvaluateSettings(candidates=20, cutoffs=(3, 10), bootstrap=100)


@pytest.fixture(scope="module")
def shown(finished_run: Path) -> Shown:
    return show(finished_run, "test", SETTINGS, 0)


def figures(records: list[Record], metric: str, k: int) -> dict[tuple[str, str], Record]:
    return {(each.task, each.model): each for each in records if (each.metric, each.k) == (metric, k)}


def test_everything_as_one_segment_has_the_figures_of_the_evaluation(own_run: Path) -> None:
    evaluation = evaluate_run(own_run, SETTINGS, 0)
    mine = show(own_run, "test", SETTINGS, 0)
    whole = Segment("shopper", "two_stage", np.ones(len(mine.anchors), bool))
    for record in segment_records(mine, [whole], SETTINGS, 0):
        same = evaluation.find("two_stage", record.model, record.metric, record.k)
        assert same is not None
        assert (record.value, record.low, record.high, record.n) == (same.value, same.low, same.high, same.n)
        assert record.protocol == same.protocol


def test_shoppers_share_the_anchors_out(shown: Shown, finished_run: Path) -> None:
    parts = [part for part in segments(shown, edges=(1, 3)) if part.about == "shopper"]
    assert [part.name for part in parts] == ["new shoppers", "1 to 2 events", "3 events or more"]
    assert (np.sum([part.anchors for part in parts], axis=0) == 1).all()
    history = pl.read_parquet(finished_run / "examples/test/recommend.parquet")["user_events"].to_numpy()[shown.anchors.row]
    assert (history[parts[0].anchors] < 1).all()
    found = figures(segment_records(shown, parts, SETTINGS, 0), "recall", 10)
    for lists in shown.lists:
        whole = ranking.recall(lists.judged.placement, 10).mean()
        of_parts = [found[part.name, lists.model] for part in parts]
        assert sum(each.n * each.value for each in of_parts if each.value is not None) / len(shown.anchors) == pytest.approx(
            whole
        )


def test_items_share_the_truth_out(shown: Shown) -> None:
    parts = [part for part in segments(shown) if part.about == "item" and not part.name.startswith(NEVER_SEEN)]
    assert [part.name.split(" (")[0] for part in parts] == ["head items", "tail items"]
    for lists in shown.lists:
        hits = 0.0
        for part in parts:
            anchors = anchors_of(shown.anchors, part)
            hits += float((ranking.recall(judged_of(lists, shown.anchors, part).placement, 3) * anchors.n_truth).sum())
        whole = ranking.recall(lists.judged.placement, 3) * shown.anchors.n_truth
        assert hits == pytest.approx(float(whole.sum()))
    said = segment_records(shown, parts, SETTINGS, 0)[0].protocol.excluded
    assert said == f"{left_out(shown.run)}; truth other than {parts[0].name}"


def test_a_segment_counts_tied_truth_of_its_own_only() -> None:
    from models.metrics.ranked_lists import Judged
    from models.metrics.ranking import place
    from models.questions.anchors import Anchors

    row, column, none = np.array([0, 0, 1]), np.array([0, 1, 2]), np.zeros(0, np.int64)
    anchors = Anchors(np.arange(2), np.array(["a", "b"]), np.array([2, 1]), row, column, none, none, 3)
    judged = Judged(place(np.zeros((2, 3)), row, column, anchors.n_truth), np.array([[0, 1, 2], [0, 1, 2]]))
    part = Segment("item", "first", np.ones(2, bool), np.array([True, False, False]))
    found = judged_of(Lists("m", "model", judged, column), anchors, part)
    assert found.placement.tied_truth.tolist() == [1]
    assert found.placement.n_truth.tolist() == [1]
    assert found.top.tolist() == [[0, 1, 2]]
    assert ranking.hit_rate(found.placement, 1) == pytest.approx([1 / 3])
    assert anchors_of(anchors, part).users.tolist() == ["a"]


def test_perfect_lists_find_all_that_fits(shown: Shown) -> None:
    perfect = perfect_lists(shown.anchors)
    np.testing.assert_allclose(ranking.recall(perfect, 100), shown.anchors.reachable)
    reachable = np.bincount(shown.anchors.truth_row, minlength=len(shown.anchors))
    np.testing.assert_allclose(ranking.recall(perfect, 1), np.minimum(reachable, 1) / shown.anchors.n_truth)
    for lists in shown.lists:
        assert (ranking.ndcg(lists.judged.placement, 3) <= ranking.ndcg(perfect, 3) + 1e-12).all()


def test_the_head_is_the_fewest_items_with_the_share() -> None:
    assert head_items(np.array([1.0, 5.0, 4.0]), 0.6).tolist() == [False, True, True]
    assert head_items(np.zeros(2), 0.5).tolist() == [False, False]


def test_examples_are_half_hits_and_half_misses(shown: Shown) -> None:
    drawn = examples(shown, 3, 4, seed=1)
    assert [bool(each["hits"]) for each in drawn] == [True, True, False, False]
    for each in drawn:
        recommended = [item for item, _, _ in each["recommended"]]
        turned_to = {item for item, _, _ in each["turned_to"]}
        assert len(recommended) == 3
        assert each["hits"] == [item for item in recommended if item in turned_to]
        assert not {item for item, _, _ in each["history"]} & (turned_to | set(recommended))
    assert drawn == examples(shown, 3, 4, seed=1)


def test_forecasts_are_those_that_are_judged(own_run: Path) -> None:
    evaluation = evaluate_run(own_run, SETTINGS, 0)
    for task, judged in (("ranking", "ranking"), ("cart", "cart_line")):
        rows = read_forecasts(own_run, task, 0)
        assert rows.forecasts[0].model == "dlrm"
        for forecast in rows.forecasts:
            record = evaluation.find(judged, forecast.model, "roc_auc")
            assert record is not None
            assert record.value == pytest.approx(roc_auc(rows.label, forecast.score))
