"""Fits neighbour tables and factor models, and chooses their weights beside the retrieval model on validation.

The weights of ``Blend`` are those of a conditional logit (McFadden, 1974) over pools of good candidates of validation's questions. Four
orders are compared by NDCG@10: the recently popular items, the retrieval model alone, the sum without factor models, and the sum with them.
Sums are evaluated with weights that were fitted on the other half of the shoppers, for weights flatter themselves on what they were fitted
on. From the simplest on, each is taken if it is better than the one taken before by more than one standard error, over shoppers and paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.progress import progress
from cartwheel.core.run_layout import SNAPSHOT, RunLayout
from models.families.factors.scores import FactorScores
from models.families.neighbours.blend import Base, Blend, TableShares, read_blend
from models.families.neighbours.settings import ItemToItemSettings
from models.families.neighbours.table import Neighbours
from models.families.rows.lists import fit_conditional_logit
from models.metrics.intervals import more_than_an_error
from models.metrics.ranking import Floats, Ints, ndcg, place
from models.questions.anchors import Anchors, Scorer, halves, read_anchors, relevant, sample
from models.questions.interactions import Bools
from models.questions.run_log import read_interactions
from models.retrieval.learnt import Learnt, learners
from models.retrieval.pool import Pool, build_pool
from models.retrieval.retrieval import has_history, read_log_popularity, read_recent, read_users
from models.retrieval.retriever import retriever
from models.retrieval.settings import TwoStageSettings
from models.retrieval.towers import Towers

DECAYS: Final = (1.0, 0.8, 0.3)
"""How much less each step back in a history counts: not at all, somewhat, and so much that hardly more than the last item counts."""
L2: Final = 30.0
"""Penalty of squared weights, in units of the spread of their scores."""
LEAST: Final = 10
"""Questions of each half of the shoppers with a true item in their pool, below which nothing is chosen."""
_TIES: Final = 1e-3
"""How much all popularity counts beside recent popularity, to order what that cannot tell apart."""
_STEPS: Final = 100
_CUTOFF: Final = 10


@dataclass(frozen=True)
class Chosen:
    """A blend, and the mean NDCG@10 of validation with it and with the retrieval model alone."""

    blend: Blend
    ndcg: float
    alone: float


def fit_item_to_item(run: Path, settings: ItemToItemSettings, evaluate: TwoStageSettings, seed: int) -> Chosen:
    """Choose what counts on ``valid``, and write ``models/item_to_item`` of a run.

    The tables and factor models of ``valid`` and ``test`` are learnt from the interactions before these splits begin, those of
    ``snapshot``, which is served, from all: they are statistics of the log like an item's popularity, so they are refreshed, not
    frozen at training.

    Args:
        run: run directory with examples and the retrieval model's ONNX files.
        settings: which learners and factor models to try; a factor model that retrieves already is none of them.
        evaluate: how many validation anchors to use.
        seed: fixes the sample of anchors, the halves of the shoppers and the factor models.

    Returns:
        What was chosen; without validation anchors the retrieval model alone.

    Raises:
        RunError: if a file of the run is missing or corrupt.
    """
    names = {"auto": tuple(learners(1)), "none": ()}.get(settings.learner, (settings.learner,))
    anchors = sample(read_anchors(run, "valid"), evaluate.max_two_stage_anchors, seed)
    if not names or not len(anchors):
        Blend().write(_emptied(run))
        return Chosen(Blend(), 0.0, 0.0)
    factors = tuple(name for name in dict.fromkeys(settings.factors) if name != retriever(run))
    learnt = Learnt(run, read_interactions(run), settings.neighbours, seed)
    with progress("item to item", len(names) + len(factors) + 2) as advance:
        tables, models = dict[str, Neighbours](), dict[str, FactorScores]()
        for name in names:
            tables[name] = learnt.table("valid", name)
            advance(1, name)
        for name in factors:
            models[name] = learnt.factors("valid", name)
            advance(1, name)
        towers, recent = Towers(run, "valid", anchors.row), read_recent(run, "valid")[anchors.row]
        users, logs = read_users(run, "valid").gather(anchors.row), read_log_popularity(run, "valid")
        scorers = [_scorer(model, users, recent) for model in models.values()]
        pool = build_pool(anchors, towers, recent, tables, DECAYS, logs, scorers)
        advance(1, "candidates")
        chosen = choose(pool, anchors, has_history(recent), names, seed, factors)
        advance(1, "weights")
    _write(run, chosen.blend, learnt, tables, models)
    return chosen


def relearn_item_to_item(run: Path, earlier: Path, settings: ItemToItemSettings, seed: int) -> Blend:
    """Write ``models/item_to_item`` with the weights that an earlier run has chosen, and with what counts there learnt from this run's log.

    Nothing is chosen, so nothing is learnt of ``valid``.

    Args:
        run: run directory with examples.
        earlier: the run whose weights are kept.
        settings: how many neighbours an item has.
        seed: of the factor models.

    Raises:
        RunError: if a file of either run is missing or corrupt.
    """
    blend = read_blend(earlier)
    with progress("item to item", 1) as advance:
        _write_later(_emptied(run), blend, Learnt(run, read_interactions(run), settings.neighbours, seed))
        advance(1, "learnt anew")
    return blend


def _scorer(model: FactorScores, users: pl.Series, recent: Ints) -> Scorer:
    queries = model.queries(users, recent)
    return lambda rows: queries[rows] @ model.items.T + model.bias


def choose(pool: Pool, anchors: Anchors, known: Bools, names: Sequence[str], seed: int, factors: Sequence[str] = ()) -> Chosen:
    """Choose a blend.

    Args:
        pool: candidates of the anchors and their scores.
        anchors: A anchors.
        known: [A] whether each has a history; those with and those without one are chosen for by themselves.
        names: learners of the pool's tables.
        seed: fixes the halves of the shoppers.
        factors: names of the pool's factor models.
    """
    found = relevant(anchors, pool.items)
    alone, popular = np.eye(pool.width)[pool.retrieval], np.eye(pool.width)[pool.recent]
    popular[pool.events] = _TIES
    # In one unit, which is that of the sum as well: the ranking model is weighed against the scores of all shoppers alike.
    fixed = [_scaled(pool, found, weights) for weights in (alone, popular)]
    parts = [_choose_part(pool, anchors, found, np.flatnonzero(known == value), fixed, seed) for value in (True, False)]
    total = max(len(anchors), 1)
    ndcg, of_alone = (sum(values) / total for values in zip(*((part.total, part.alone) for part in parts), strict=True))
    if all(part.weights is fixed[0] for part in parts):
        return Chosen(Blend(), ndcg, of_alone)
    of_known, of_stranger = (part.weights for part in parts)
    shares = of_known[pool.tables].reshape(len(names), len(DECAYS))
    tables = tuple(
        TableShares(name, {decay: float(weight) for decay, weight in zip(DECAYS, row, strict=True) if weight > 0})
        for name, row in zip(names, shares, strict=True)
        if (row > 0).any()
    )
    known_base, stranger_base = (_base(pool, weights, factors) for weights in (of_known, of_stranger))
    return Chosen(Blend(tables, known_base, stranger_base), ndcg, of_alone)


@dataclass(frozen=True)
class _Part:
    """The weights of some questions, and their summed NDCG@10 with them and with the retrieval model alone."""

    weights: Floats
    total: float
    alone: float


def _choose_part(pool: Pool, anchors: Anchors, found: Bools, chosen: Ints, fixed: Sequence[Floats], seed: int) -> _Part:
    """Choose for some questions among the ``fixed`` orders, the retrieval model alone and the popular items, and the sums.

    Where they are too few to choose by, the retrieval model stays alone.
    """
    some, own, asked = pool.take(chosen), found[chosen], anchors.take(chosen)
    of_alone = _ndcg(some, own, asked, fixed[0])
    part = _Part(fixed[0], float(of_alone.sum()), float(of_alone.sum()))
    half = halves(asked.users, seed)
    if int(np.bincount(half[own.any(axis=1)], minlength=2).min()) < LEAST:
        return part
    everything = np.ones(pool.width, bool)
    without_factors = everything.copy()
    without_factors[pool.factor_models] = False
    values = _ndcg(some, own, asked, fixed[1])
    part = _Part(fixed[1], float(values.sum()), part.alone)
    orders: list[tuple[Floats | None, Bools]] = [(fixed[0], everything), (None, without_factors)]
    if pool.factors:
        orders.append((None, everything))
    for weights, used in orders:
        better = _cross_fitted(some, own, asked, half, used) if weights is None else _ndcg(some, own, asked, weights)
        if more_than_an_error(better - values, asked.users):
            part = _Part(fit_weights(some, own, used) if weights is None else weights, float(better.sum()), part.alone)
            values = better
    return part


def _cross_fitted(pool: Pool, found: Bools, anchors: Anchors, half: Ints, used: Bools) -> Floats:
    """Return the NDCG@10 of each question with weights that were fitted on the other half of the shoppers."""
    judged = np.zeros(len(anchors))
    for side in (0, 1):
        learnt, other = np.flatnonzero(half != side), np.flatnonzero(half == side)
        weights = fit_weights(pool.take(learnt), found[learnt], used)
        judged[other] = _ndcg(pool.take(other), found[other], anchors.take(other), weights)
    return judged


def _scaled(pool: Pool, found: Bools, weights: Floats) -> Floats:
    """Return weights times the number by which their sum is the log odds of being chosen; as they are where there is none."""
    sums = (pool.scores @ weights).astype(np.float32)[..., None]
    unit = float(_logit(pool.items, sums, found, np.ones(1, bool))[0])
    return weights * unit if unit > 0 else weights


def fit_weights(pool: Pool, found: Bools, used: Bools) -> Floats:
    """Return [width] weights, 0 where not ``used``; those of retrieval, factor models and tables never count against an item."""
    positive = np.ones(pool.width, bool)
    positive[pool.popularity] = False
    weights = np.zeros(pool.width)
    weights[used] = _logit(pool.items, pool.scores[..., used], found, positive[used])
    return weights


def _logit(items: Ints, scores: npt.NDArray[np.float32], found: Bools, positive: Bools) -> Floats:
    """Return the weights of a conditional logit over the candidates of each question; those ``positive`` names are 0 or above."""
    row, slot = np.nonzero(items >= 0)
    label, everything = found[row, slot].astype(np.float64), np.ones(len(positive), bool)
    return fit_conditional_logit(scores[row, slot], label, row.astype(np.int64), everything, L2, _STEPS, positive)[0]


def _ndcg(pool: Pool, found: Bools, anchors: Anchors, weights: Floats) -> Floats:
    scores = np.where(pool.items >= 0, pool.scores @ weights, -np.inf)
    row, slot = np.nonzero(found)
    return ndcg(place(scores, row.astype(np.int64), slot.astype(np.int64), anchors.n_truth), _CUTOFF)


def _base(pool: Pool, weights: Floats, factors: Sequence[str]) -> Base:
    recent, every = (float(weight) for weight in weights[[Pool.recent, Pool.events]])
    counting = {name: float(weight) for name, weight in zip(factors, weights[pool.factor_models], strict=True) if weight > 0}
    return Base(float(weights[Pool.retrieval]), (recent, every), counting)


def _emptied(run: Path) -> Path:
    for stale in RunLayout(run).item_to_item.path.rglob("*.npz"):
        stale.unlink()
    return run


def _write(run: Path, blend: Blend, learnt: Learnt, tables: Mapping[str, Neighbours], models: Mapping[str, FactorScores]) -> None:
    """Write what counts: of ``valid`` what is learnt already, of the others anew."""
    files = RunLayout(_emptied(run)).item_to_item
    for name in (table.learner for table in blend.tables):
        tables[name].write(files.neighbours("valid", name))
    for name in blend.factors:
        models[name].write(files.factor_scores("valid", name))
    _write_later(run, blend, learnt)


def _write_later(run: Path, blend: Blend, learnt: Learnt) -> None:
    """Learn and write what counts of ``test`` and of the snapshot, and the weights, last."""
    files = RunLayout(run).item_to_item
    for split in ("test", SNAPSHOT):
        for table in blend.tables:
            learnt.table(split, table.learner).write(files.neighbours(split, table.learner))
        for name in blend.factors:
            learnt.factors(split, name).write(files.factor_scores(split, name))
    blend.write(run)
