"""The two stages score the pairs that serving would, and the fusion weight is tuned on validation."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cartwheel.core.frames import read_frame
from evaluation.evaluate import evaluate_run
from evaluation.report.terminal import report
from evaluation.report.verdict import task_verdict
from evaluation.report.views import task_views
from evaluation.settings import EvaluateSettings
from models.questions.anchors import judge, read_anchors, sample
from models.retrieval.choose_fusion import fuse
from models.retrieval.fusion import Fusion, read_fusion
from models.retrieval.towers import Towers
from models.retrieval.two_stage import retrieve_and_rank, tune_fusion

SETTINGS = EvaluateSettings(candidates=20)


def test_the_arrays_are_those_of_a_plain_loop(finished_run: Path) -> None:
    rows = np.array([3, 7, 90])
    anchors = read_anchors(finished_run, "test").take(np.flatnonzero(np.isin(read_anchors(finished_run, "test").row, rows)))
    stages = retrieve_and_rank(finished_run, "test", SETTINGS, anchors)
    dot, logit, relevant = stages.retrieval, stages.logit, stages.relevant
    queries = pl.read_parquet(finished_run / "examples/test/recommend.parquet")
    items = pl.read_parquet(finished_run / "examples/test/catalogue.parquet")
    for number, row in enumerate(anchors.row):
        query = queries.row(int(row), named=True)
        assert anchors.n_truth[number] == len(query["target_items"])
        for slot, column in enumerate(stages.candidates[number]):
            item = items.row(int(column), named=True)
            assert item["item_id"] not in query["recent_items"]
            assert relevant[number, slot] == (item["item_id"] in query["target_items"])
            same = [name == item["item_category"] != "" for name in query["recent_categories"]]
            affinity = np.mean(same) if same else 0.0
            likes = 3 * affinity - 0.3 * item["item_recent_events"] + 0.01 * item["item_age_days"] - 1.5
            assert logit[number, slot] == pytest.approx(likes, abs=1e-5)
            assert dot[number, slot] == pytest.approx(sum(same) + 0.05 * item["item_recent_events"], abs=1e-5)
        assert (np.diff(dot[number]) <= 1e-6).all()


@pytest.mark.parametrize("counted", [Fusion(1.0, 0.0), Fusion(0.3, 1.0)])
def test_only_what_counts_is_asked_and_lists_are_the_same(own_run: Path, counted: Fusion) -> None:
    anchors = read_anchors(own_run, "test")
    everything = retrieve_and_rank(own_run, "test", SETTINGS, anchors).judged(counted)
    if not counted.ranks:
        (own_run / "models/ranking/model.onnx").unlink()
    some = retrieve_and_rank(own_run, "test", SETTINGS, anchors, counted=counted).judged(counted)
    np.testing.assert_array_equal(some.top, everything.top)
    np.testing.assert_array_equal(some.placement.above, everything.placement.above)


def test_chunks_do_not_matter(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    anchors = read_anchors(finished_run, "test")
    whole = retrieve_and_rank(finished_run, "test", SETTINGS, anchors)
    monkeypatch.setattr("models.retrieval.two_stage._PAIRS", 70)
    monkeypatch.setattr("models.metrics.ranked_lists._CELLS", 300)
    parts = retrieve_and_rank(finished_run, "test", SETTINGS, anchors)
    for name in ("candidates", "retrieval", "logit", "relevant"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    np.testing.assert_array_equal(parts.retrieved.placement.above, whole.retrieved.placement.above)


def test_more_candidates_than_items_leave_places_empty(finished_run: Path) -> None:
    stages = retrieve_and_rank(finished_run, "test", EvaluateSettings(candidates=500), read_anchors(finished_run, "test"))
    dot, logit, relevant = stages.retrieval, stages.logit, stages.relevant
    assert dot.shape[1] == 60
    empty = np.isneginf(logit)
    assert empty.any()
    assert not relevant[empty].any()
    assert (dot[empty] == 0).all()
    judged = stages.judged(Fusion(0.0))
    assert ((judged.top == -1).sum(axis=1) == empty.sum(axis=1)).all()
    placed = np.bincount(judged.placement.row, minlength=len(stages.anchors))
    np.testing.assert_allclose(placed, stages.anchors.reachable * stages.anchors.n_truth)


def test_what_is_not_left_out_competes(own_run: Path) -> None:
    path = own_run / "examples/test/recommend.parquet"
    pl.read_parquet(path).with_columns(left_out=pl.lit([], pl.List(pl.String))).write_parquet(path)
    anchors = read_anchors(own_run, "test")
    assert len(anchors.hidden_row) == 0
    top = judge(Towers(own_run, "test"), anchors, 5, "all").top
    recent = read_frame(own_run / "examples/test/recommend.parquet", ["recent_items"])["recent_items"].to_list()
    names = read_frame(own_run / "examples/test/catalogue.parquet", ["item_id"])["item_id"].to_list()
    shown = [[names[column] in recent[row] for column in best] for row, best in zip(anchors.row, top, strict=True)]
    assert np.any(shown)


def test_what_is_left_out_is_no_truth(own_run: Path) -> None:
    path = own_run / "examples/test/recommend.parquet"
    pl.read_parquet(path).with_columns(target_items=pl.col("left_out")).write_parquet(path)
    assert len(read_anchors(own_run, "test")) == 0


def test_taking_anchors_keeps_their_truth(finished_run: Path) -> None:
    anchors = read_anchors(finished_run, "test")
    some = sample(anchors, 10, 3)
    assert len(some) == 10
    np.testing.assert_array_equal(some.row, sample(anchors, 10, 3).row)
    chosen = np.flatnonzero(np.isin(anchors.row, some.row))
    for number, before in enumerate(chosen):
        np.testing.assert_array_equal(
            some.truth_column[some.truth_row == number], anchors.truth_column[anchors.truth_row == before]
        )
    assert sample(anchors, 10_000, 3) is anchors


@pytest.mark.parametrize("fusion", [Fusion(0.0), Fusion(0.5), Fusion(3.0), Fusion(20.0), Fusion(1.0, 0.0), Fusion(0.25, 0.0)])
def test_the_final_order_is_that_of_both_scores_as_the_fusion_weighs_them(finished_run: Path, fusion: Fusion) -> None:
    """In this run the stages disagree, so no score can be forgotten."""
    stages = retrieve_and_rank(finished_run, "test", SETTINGS, read_anchors(finished_run, "test"))
    judged = stages.judged(fusion)
    truth = {(int(row), int(column)) for row, column in zip(*np.nonzero(stages.relevant), strict=True)}
    above = iter(judged.placement.above)
    for number in range(len(stages.anchors)):
        final = [
            fusion.ranking_weight * float(logit) + fusion.retrieval_weight * float(dot) if column >= 0 else -math.inf
            for column, logit, dot in zip(stages.candidates[number], stages.logit[number], stages.retrieval[number], strict=True)
        ]
        order = sorted(range(len(final)), key=lambda slot: -final[slot])
        assert judged.top[number].tolist() == [int(stages.candidates[number, slot]) for slot in order]
        for slot in range(len(final)):
            if (number, slot) in truth:
                assert next(above) == sum(other > final[slot] for other in final)


def test_in_the_fixture_each_score_alone_and_both_together_order_otherwise(finished_run: Path) -> None:
    stages = retrieve_and_rank(finished_run, "test", SETTINGS, read_anchors(finished_run, "test"))
    tops = [stages.judged(fusion).top for fusion in (Fusion(0.0), Fusion(3.0), Fusion(1.0, 0.0))]
    for one, other in itertools.combinations(tops, 2):
        assert (one != other).any(axis=1).mean() > 0.5


def test_fusion_is_tuned_on_validation_and_written(own_run: Path) -> None:
    settings = EvaluateSettings(candidates=20, max_two_stage_anchors=30)
    fusion = tune_fusion(own_run, settings, 0)
    anchors = sample(read_anchors(own_run, "valid"), 30, 0)
    stages = retrieve_and_rank(own_run, "valid", settings, anchors)
    assert fusion == fuse(stages.retrieval, stages.logit, stages.relevant, anchors.n_truth, anchors.users, 0)
    assert fusion.validation is not None
    assert read_fusion(own_run / "models/ranking") == fusion


@pytest.mark.parametrize(("popularity", "ranks"), [(5.0, True), (-5.0, False)])
def test_a_second_stage_that_is_no_better_on_validation_is_not_used(
    popular_is_true: Callable[[float], Path], popularity: float, ranks: bool
) -> None:
    own_run = popular_is_true(popularity)
    fusion = tune_fusion(own_run, SETTINGS, 0)
    assert fusion.ranks == ranks
    assert fusion.validation is not None
    assert (fusion.validation.value >= 0) == ranks
    evaluation = evaluate_run(own_run, SETTINGS.model_copy(update={"bootstrap": 100, "baselines": ("item_knn",)}), 1)
    (model,) = {record.model for record in evaluation.records if record.task == "two_stage" and record.role == "model"}
    assert model == ("two_tower+dlrm" if ranks else "two_tower")
    alone = evaluation.find("retrieval", "two_tower", "ndcg", 10)
    served = evaluation.find("two_stage", model, "ndcg", 10)
    assert alone is not None
    assert served is not None
    if not ranks:
        assert served.value == alone.value
        assert served.protocol.remark == fusion.sentence
        text = report(evaluation)
        assert any(fusion.sentence in str(part) for part in text.renderables)
        sentences = [each for view in task_views(evaluation) for each in task_verdict(view).sentences]
        assert f"Two-tower {fusion.sentence}." in sentences


def test_without_validation_truth_fusion_stays(own_run: Path) -> None:
    path = own_run / "examples/valid/recommend.parquet"
    pl.read_parquet(path).with_columns(target_items=pl.lit([], pl.List(pl.String))).write_parquet(path)
    assert tune_fusion(own_run, SETTINGS, 0) == Fusion(0.5)


def test_where_no_truth_item_is_retrieved_fusion_stays(own_run: Path) -> None:
    path = own_run / "examples/valid/recommend.parquet"
    pl.read_parquet(path).with_columns(target_items=pl.lit(["first seen later"], pl.List(pl.String))).write_parquet(path)
    assert len(read_anchors(own_run, "valid")) > 0
    assert tune_fusion(own_run, SETTINGS, 0) == Fusion(0.5)
