"""Learns the tables of neighbours, and chooses on validation what counts how much beside the retrieval model.

The weights of ``Blend`` are those of a conditional logit (McFadden, 1974) over pools of good candidates of validation's questions.
Three orders are compared by NDCG@10: the retrieval model alone, the recently popular items, and the sum. The sum is judged with
weights that were fitted on the other half of the shoppers, for weights flatter themselves on what they were fitted on. The
retrieval model stays alone unless popularity is better by more than one standard error, over shoppers and paired; and the sum must
be so much better than that one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.progress import progress
from cartwheel.core.run_layout import SNAPSHOT, RunLayout
from models.families.neighbours.blend import Base, Blend, TableShares
from models.families.neighbours.sequential_rules import SequentialRules
from models.families.neighbours.settings import ItemToItemSettings
from models.families.neighbours.table import Neighbours
from models.families.recommender import ItemToItem
from models.families.registry import EASE, ItemKNN
from models.families.rows.lists import fit_conditional_logit
from models.metrics.ranking import Floats, Ints, ndcg, place
from models.questions.anchors import Anchors, halves, read_anchors, relevant, sample
from models.questions.interactions import Interactions
from models.questions.run_log import catalogue_codes, read_interactions, split_start
from models.retrieval.pool import Pool, build_pool
from models.retrieval.retrieval import has_history, read_log_popularity, read_recent
from models.retrieval.settings import TwoStageSettings
from models.retrieval.towers import Towers

DECAYS: Final = (1.0, 0.8, 0.3)
"""How much less each step back in a history counts: not at all, somewhat, and so much that hardly more than the last item counts."""
EASE_ITEMS: Final = 5_000
"""The most popular items, which are all that EASE learns: its time grows with their cube, and it is learnt up to three times."""
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


def learners(most: int) -> Mapping[str, Callable[[], ItemToItem]]:
    """Return name -> the model that is fitted, for ``most`` neighbours; discounted rules hold back what follows everything."""
    return {
        "item_knn": lambda: ItemKNN(neighbours=most),
        "ease": lambda: EASE(max_items=EASE_ITEMS),
        "sequential_rules": lambda: SequentialRules(discount=0.0),
        "discounted_rules": SequentialRules,
    }


def fit_item_to_item(run: Path, settings: ItemToItemSettings, evaluate: TwoStageSettings, seed: int) -> Chosen:
    """Choose what counts on ``valid``, and write ``models/item_to_item`` of a run.

    The tables of ``valid`` and ``test`` are learnt from the interactions before these splits begin, that of ``snapshot``, which is
    served, from all: a table is a statistic of the log like an item's popularity, so it is refreshed, not frozen at training.

    Args:
        run: run directory with examples and the retrieval model's ONNX files.
        settings: which learners to try.
        evaluate: how many validation anchors to use.
        seed: fixes the sample of anchors and the halves of the shoppers.

    Returns:
        What was chosen; without validation anchors the retrieval model alone.

    Raises:
        RunError: if a file of the run is missing or corrupt.
    """
    names = {"auto": tuple(learners(1)), "none": ()}.get(settings.learner, (settings.learner,))
    anchors = sample(read_anchors(run, "valid"), evaluate.max_two_stage_anchors, seed)
    if not names or not len(anchors):
        return _finish(run, Chosen(Blend(), 0.0, 0.0), None, settings, {})
    log = read_interactions(run)
    with progress("item to item", len(names) + 2) as advance:
        tables = {}
        for name in names:
            tables[name] = _table(run, "valid", log, name, settings.neighbours)
            advance(1, name)
        towers, recent = Towers(run, "valid", anchors.row), read_recent(run, "valid")[anchors.row]
        pool = build_pool(anchors, towers, recent, tables, DECAYS, read_log_popularity(run, "valid"))
        advance(1, "candidates")
        chosen = choose(pool, anchors, has_history(recent), names, seed)
        advance(1, "weights")
    return _finish(run, chosen, log, settings, tables)


def choose(pool: Pool, anchors: Anchors, known: npt.NDArray[np.bool_], names: Sequence[str], seed: int) -> Chosen:
    """Choose a blend.

    Args:
        pool: candidates of the anchors and their scores.
        anchors: A anchors.
        known: [A] whether each has a history; those with and those without one are chosen for by themselves.
        names: learners of the pool's tables.
        seed: fixes the halves of the shoppers.
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
    return Chosen(Blend(tables, _base(of_known), _base(of_stranger)), ndcg, of_alone)


@dataclass(frozen=True)
class _Part:
    """The weights of some questions, and their summed NDCG@10 with them and with the retrieval model alone."""

    weights: Floats
    total: float
    alone: float


def _choose_part(
    pool: Pool, anchors: Anchors, found: npt.NDArray[np.bool_], chosen: Ints, fixed: Sequence[Floats], seed: int
) -> _Part:
    """Choose for some questions among the ``fixed`` orders, of which the first stays in doubt, and the sum."""
    some, own, asked = pool.take(chosen), found[chosen], anchors.take(chosen)
    values = _ndcg(some, own, asked, fixed[0])
    part = _Part(fixed[0], float(values.sum()), float(values.sum()))
    half = halves(asked.users, seed)
    if int(np.bincount(half[own.any(axis=1)], minlength=2).min()) < LEAST:
        return part
    judged = np.zeros(len(asked))
    for side in (0, 1):
        learnt, other = np.flatnonzero(half != side), np.flatnonzero(half == side)
        judged[other] = _ndcg(some.take(other), own[other], asked.take(other), _fit(some.take(learnt), own[learnt]))
    for weights, better in ((fixed[1], _ndcg(some, own, asked, fixed[1])), (None, judged)):
        if _more_than_an_error(better - values, asked.users):
            part = _Part(_fit(some, own) if weights is None else weights, float(better.sum()), part.alone)
            values = better
    return part


def _scaled(pool: Pool, found: npt.NDArray[np.bool_], weights: Floats) -> Floats:
    """Return weights times the number by which their sum is the log odds of being chosen; as they are where there is none."""
    sums = (pool.scores @ weights).astype(np.float32)[..., None]
    unit = float(_logit(pool.items, sums, found, np.ones(1, bool))[0])
    return weights * unit if unit > 0 else weights


def _fit(pool: Pool, found: npt.NDArray[np.bool_]) -> Floats:
    """Return [width] weights; retrieval and tables never count against an item."""
    positive = np.ones(pool.width, bool)
    positive[pool.popularity] = False
    return _logit(pool.items, pool.scores, found, positive)


def _logit(items: Ints, scores: npt.NDArray[np.float32], found: npt.NDArray[np.bool_], positive: npt.NDArray[np.bool_]) -> Floats:
    """Return the weights of a conditional logit over the candidates of each question; those ``positive`` names are 0 or above."""
    row, slot = np.nonzero(items >= 0)
    label, everything = found[row, slot].astype(np.float64), np.ones(len(positive), bool)
    return fit_conditional_logit(scores[row, slot], label, row.astype(np.int64), everything, L2, _STEPS, positive)[0]


def _ndcg(pool: Pool, found: npt.NDArray[np.bool_], anchors: Anchors, weights: Floats) -> Floats:
    scores = np.where(pool.items >= 0, pool.scores @ weights, -np.inf)
    row, slot = np.nonzero(found)
    return ndcg(place(scores, row.astype(np.int64), slot.astype(np.int64), anchors.n_truth), _CUTOFF)


def _more_than_an_error(ahead: Floats, users: npt.NDArray[Any]) -> bool:
    """Tell whether questions that are ``ahead`` [A] are so, on average, by more than one standard error over shoppers."""
    mean = float(ahead.mean())
    code = np.unique(users, return_inverse=True)[1]
    of_users = np.bincount(code, ahead - mean)
    return mean > float(np.sqrt(of_users @ of_users)) / len(ahead)


def _base(weights: Floats) -> Base:
    recent, every = (float(weight) for weight in weights[[Pool.recent, Pool.events]])
    return Base(float(weights[Pool.retrieval]), (recent, every))


def _finish(
    run: Path, chosen: Chosen, log: Interactions | None, settings: ItemToItemSettings, of_valid: Mapping[str, Neighbours]
) -> Chosen:
    files = RunLayout(run).item_to_item
    for stale in files.path.glob("*.npz"):
        stale.unlink()
    if log is not None:
        for split in ("valid", "test", SNAPSHOT):
            for table in chosen.blend.tables:
                name = table.learner
                made = of_valid[name] if split == "valid" else _table(run, split, log, name, settings.neighbours)
                made.write(files.neighbours(split, name))
    chosen.blend.write(run)
    return chosen


def _table(run: Path, split: str, log: Interactions, name: str, most: int) -> Neighbours:
    """Learn the table of a catalogue from what happened before it was asked about."""
    from models.families.neighbours.strongest import strongest

    model = learners(most)[name]()
    model.fit(log if split == SNAPSHOT else log.take(log.time < split_start(run, split)))
    matrix: Any = model.similarities(most)
    catalogue = RunLayout(run).snapshot("items") if split == SNAPSHOT else RunLayout(run).examples(split, "catalogue")
    columns = catalogue_codes(catalogue, log)
    return Neighbours.from_matrix(strongest(matrix[columns][:, columns].tocsr(), most), most)
