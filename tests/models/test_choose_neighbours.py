"""What counts beside the retrieval model, on pools whose truth is planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.families.neighbours.table import Neighbours
from models.questions.anchors import Anchors
from models.retrieval.choose_neighbours import DECAYS, choose
from models.retrieval.pool import Pool, build_pool

QUESTIONS, ITEMS = 400, 30
WIDTH = 3 + len(DECAYS)
"""Columns of a pool with one table."""


def planted(weights: dict[int, float], seed: int = 0, factors: int = 0) -> tuple[Pool, Anchors]:
    """Pools over one catalogue whose true items are drawn by the softmax of the weighted scores."""
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((QUESTIONS, ITEMS, WIDTH + factors)).astype(np.float32)
    scores[..., Pool.popularity] = scores[:1, :, Pool.popularity]
    utility = sum(weight * scores[..., column] for column, weight in weights.items()) + rng.gumbel(size=scores.shape[:2])
    none = np.zeros(0, np.int64)
    every = np.arange(QUESTIONS)
    anchors = Anchors(
        every, every.astype(str), np.ones(QUESTIONS, np.int64), every, np.argmax(utility, axis=1), none, none, ITEMS
    )
    return Pool(np.tile(np.arange(ITEMS), (QUESTIONS, 1)), scores, factors), anchors


KNOWN = np.ones(QUESTIONS, bool)


def test_planted_weights_are_found() -> None:
    pool, anchors = planted({Pool.retrieval: 1.0, Pool.recent: 0.5, Pool.events: -0.5, 3: 1.5})
    chosen = choose(pool, anchors, KNOWN, ["ease"], 0)
    assert chosen.blend.known.retrieval == pytest.approx(1.0, abs=0.25)
    assert chosen.blend.known.popularity == pytest.approx((0.5, -0.5), abs=0.3)
    assert chosen.blend.tables[0].shares[1.0] == pytest.approx(1.5, abs=0.35)
    assert chosen.ndcg > chosen.alone + 0.05


def test_of_orders_that_are_as_good_the_simplest_is_taken() -> None:
    pool, anchors = planted({Pool.retrieval: 3.0})
    assert choose(pool, anchors, KNOWN, ["ease"], 0).blend.alone
    pool, anchors = planted({Pool.recent: 3.0})
    blend = choose(pool, anchors, KNOWN, ["ease"], 0).blend
    assert (blend.tables, blend.known.retrieval) == ((), 0.0)
    assert blend.known.popularity[0] == pytest.approx(3.0, abs=0.5), "in the unit of a logit, as the sum would be"
    assert blend.known.popularity[1] == pytest.approx(blend.known.popularity[0] / 1000)


def test_factor_models_count_where_they_are_worth_it() -> None:
    pool, anchors = planted({Pool.retrieval: 1.0, 4: 1.5}, factors=2)
    blend = choose(pool, anchors, KNOWN, ["ease"], 0, ["als", "bpr"]).blend
    assert blend.known.factors["bpr"] == pytest.approx(1.5, abs=0.35)
    pool, anchors = planted({Pool.retrieval: 1.0, 5: 1.5}, factors=2)
    blend = choose(pool, anchors, KNOWN, ["ease"], 0, ["als", "bpr"]).blend
    assert blend.factors == {}, "a sum without them is as good"
    assert blend.tables[0].shares[1.0] == pytest.approx(1.5, abs=0.35)


def test_strangers_are_chosen_for_by_themselves() -> None:
    of_known, anchors = planted({Pool.retrieval: 3.0}, seed=1)
    of_strangers, others = planted({Pool.recent: 3.0}, seed=2)
    half = QUESTIONS // 2
    pool = Pool(of_known.items, np.concatenate([of_known.scores[:half], of_strangers.scores[half:]]))
    truth = np.concatenate([anchors.truth_column[:half], others.truth_column[half:]])
    mixed = Anchors(anchors.row, anchors.users, anchors.n_truth, anchors.truth_row, truth, anchors.hidden_row,
                    anchors.hidden_column, ITEMS)  # fmt: skip
    blend = choose(pool, mixed, np.arange(QUESTIONS) < half, ["ease"], 0).blend
    assert (blend.tables, blend.known.popularity) == ((), (0.0, 0.0))
    assert blend.stranger.retrieval == 0
    assert blend.stranger.popularity[0] > 0


def test_too_few_questions_choose_nothing() -> None:
    pool, anchors = planted({3: 3.0})
    few = np.arange(19)
    assert choose(pool.take(few), anchors.take(few), KNOWN[few], ["ease"], 0).blend.alone


def test_one_shopper_chooses_nothing() -> None:
    pool, anchors = planted({3: 3.0})
    assert choose(pool, replace(anchors, users=np.full(QUESTIONS, "u")), KNOWN, ["ease"], 0).blend.alone


def test_a_model_that_cannot_be_told_from_the_popular_items_leaves_it_to_them() -> None:
    pool, anchors = planted({Pool.recent: 3.0, Pool.retrieval: 0.05})
    scores = pool.scores.copy()
    scores[..., Pool.retrieval] = scores[..., Pool.recent]
    assert choose(replace(pool, scores=scores), anchors, KNOWN, ["ease"], 0).blend.known.retrieval == 0
    assert choose(Pool(pool.items, np.zeros_like(pool.scores)), anchors, KNOWN, ["ease"], 0).blend.known.retrieval == 0


def test_questions_without_a_true_candidate_choose_nothing() -> None:
    pool, anchors = planted({3: 3.0})
    none = np.zeros(0, np.int64)
    assert choose(pool, replace(anchors, truth_row=none, truth_column=none), KNOWN, ["ease"], 0).blend.alone


def test_a_pool_holds_the_best_of_each_retriever_once_and_nothing_hidden() -> None:
    rng = np.random.default_rng(0)
    items, rows = 300, np.arange(4)
    table = Neighbours(rng.permutation(items)[:, None].astype(np.int32), np.ones((items, 1), np.float32))
    dense, logs = rng.standard_normal((4, items)).astype(np.float32), rng.standard_normal((items, 2)).astype(np.float32)
    best = int(dense[0].argmax())
    none = np.zeros(0, np.int64)
    anchors = Anchors(rows, rows.astype(str), np.ones(4, np.int64), none, none, np.array([0]), np.array([best]), items)
    recent = np.array([[5, 6], [7, -1], [items, 8], [-1, -1]])
    pool = build_pool(anchors, lambda asked: dense[asked], recent, {"ease": table}, (1.0, 0.5), logs)
    for row in range(4):
        held = pool.items[row][pool.items[row] >= 0]
        assert len(set(held.tolist())) == len(held)
        wanted = set(np.argsort(-dense[row])[:30].tolist()) | {int(table.columns[i, 0]) for i in recent[row] if 0 <= i < items}
        assert wanted - {best if row == 0 else -1} <= set(held.tolist())
        np.testing.assert_array_equal(pool.scores[row, : len(held), Pool.retrieval], dense[row, held])
        np.testing.assert_array_equal(pool.scores[row, : len(held), Pool.popularity], logs[held])
    assert best not in pool.items[0]
    older = pool.items[0] == table.columns[5, 0]
    np.testing.assert_array_equal(pool.scores[0, older, 3:], [[1.0, 0.5]])
