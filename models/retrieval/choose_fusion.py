"""Chooses on validation how to combine the scores of both stages, and whether to use the second stage.

final score = v * DLRM logit + w * retrieval score + u * score of the candidate ranker. The retrieval score is the dot product of query and
item vector and, where the run has them, what other retrievers add to it. The DLRM learnt from sampled negatives, the ranker from candidates
of earlier windows and the retrieval model from the whole catalogue, so each knows what the others cannot; ``w`` and ``u`` are chosen on
validation anchors by NDCG@10. The DLRM does not read the score as an input: on the rows that both train on it is the score of a model that
has learnt them, and would count for more than it does on new ones.

Four orders are compared: retrieval alone (``v`` and ``u`` are 0, ``w`` is 1), with the ranker, with the DLRM, and with both. From the
simplest on, each is taken if it is better on validation than the one taken before by more than one standard error, over shoppers and
paired, with weights chosen on one half of the shoppers and evaluated on the other, each way round: a weight evaluated on what it was chosen
by would flatter the second stage, for among the weights are some that leave it next to nothing to say. Of two orders that cannot be told
apart, the simpler one is served, which costs less.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from cartwheel.core.errors import DataError
from models.families.two_tower.settings import TwoTowerSettings
from models.metrics.intervals import UserBootstrap, more_than_an_error
from models.questions.anchors import halves
from models.retrieval.fusion import CUTOFF, Array, Fusion, Gain
from models.retrieval.retriever import TWO_TOWER

RESAMPLES: Final = 1000
"""Of shoppers, for the interval of what the second stage changes."""
LIST_RATIOS: Final = (0.1, 0.3, 0.6, 1.0)
"""Weights of the ranker tried, in units of spread(retrieval score) / spread(its score)."""
RATIOS: Final = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0, 20.0)
"""Weights tried, in units of spread(logit) / spread(dot), so that the two scores' scales do not matter."""


def default_fusion_weight(two_tower: TwoTowerSettings | None = None, model: str = TWO_TOWER) -> float:
    """Return the weight to use until one is tuned.

    That is 1 / temperature of the two-tower, at which its dot product is a log-odds like the logit, and 1 for BPR, whose scores differ by
    log-odds as they are. ALS tells a preference between 0 and 1, which spreads no wider than a cosine: it gets the two-tower's default.
    """
    if model == TWO_TOWER:
        return 1.0 / (two_tower or TwoTowerSettings()).temperature
    return 1.0 if model == "bpr" else 1.0 / TwoTowerSettings().temperature


def best_fusion_weight(dot: Array, logit: Array, relevant: Array, n_relevant: Array) -> float:
    """Choose the weight with the best mean NDCG@10; of equal ones the smallest.

    Args:
        dot: ``[A, C]`` retrieval scores of C candidates of A anchors.
        logit: ``[A, C]`` DLRM logits; -inf marks a place that holds no candidate.
        relevant: ``[A, C]`` bool, whether the candidate is among the anchor's true items.
        n_relevant: ``[A]`` how many true items the anchor has, among the candidates or not; anchors with 0 are left out.

    Returns:
        The weight, >= 0. ``default_fusion_weight()`` where no anchor has a true item among its candidates.

    Raises:
        DataError: if the shapes do not fit together or a score is NaN.
    """
    return tuned_weight(dot, logit, relevant, n_relevant)[0]


@dataclass(frozen=True)
class Scored:
    """The scores of A anchors' candidates, C each.

    Attributes:
        dot: ``[A, C]`` retrieval scores, as in ``best_fusion_weight``.
        logit: ``[A, C]`` of the DLRM, ``-inf`` where there is no candidate.
        relevant: ``[A, C]`` whether the candidate is true.
        n_relevant: ``[A]`` true items.
        listed: ``[A, C]`` of the candidate ranker; None where there is none.
    """

    dot: Array
    logit: Array
    relevant: Array
    n_relevant: Array
    listed: Array | None = None

    def take(self, chosen: Array) -> Scored:
        """Return some anchors, which a mask or their numbers choose."""
        listed = None if self.listed is None else self.listed[chosen]
        return Scored(self.dot[chosen], self.logit[chosen], self.relevant[chosen], self.n_relevant[chosen], listed)

    def ndcg(self, fusion: Fusion) -> Array:
        """Return ``[A]`` the NDCG@10 of a fusion, all anchors having something true."""
        present = np.isfinite(self.logit)
        scores = fusion.scores(np.where(present, self.dot, 0.0), self.logit, self.listed)
        return ndcg_of(scores, self.relevant & present, self.n_relevant)

    def best(self, *, dlrm: bool, lists: bool) -> Fusion:
        """Return the best weights of an order.

        Raises:
            DataError: as ``best_fusion_weight``.
        """
        added = self._best_list_weight() if lists else 0.0
        if not dlrm:
            return Fusion(1.0, 0.0, list_weight=added)
        dot = (
            self.dot
            if self.listed is None or not lists
            else self.dot + added * np.where(np.isfinite(self.logit), self.listed, 0.0)
        )
        weight = best_fusion_weight(dot, self.logit, self.relevant, self.n_relevant)
        return Fusion(weight, 1.0, list_weight=weight * added)

    def _best_list_weight(self) -> float:
        present, listed = np.isfinite(self.logit), self.listed
        if listed is None or not present.any():
            return 0.0
        spread, own = float(np.std(self.dot[present])), float(np.std(listed[present]))
        unit = (spread or 1.0) / own if own > 0 else 0.0
        asked = self.take(self.n_relevant > 0)
        weights = [ratio * unit for ratio in LIST_RATIOS]
        values = [float(np.mean(asked.ndcg(Fusion(1.0, 0.0, list_weight=weight)))) for weight in weights]
        return weights[int(np.argmax(values))]


def fuse(
    dot: Array, logit: Array, relevant: Array, n_relevant: Array, users: Array, seed: int, listed: Array | None = None
) -> Fusion:
    """Choose the order on all anchors, by what the halves of the shoppers find of each other.

    Args:
        dot: ``[A, C]`` as in ``best_fusion_weight``.
        logit: ``[A, C]`` likewise.
        relevant: ``[A, C]`` likewise.
        n_relevant: ``[A]`` likewise.
        users: ``[A]`` the shopper of each anchor.
        seed: draws the halves and the resamples.
        listed: ``[A, C]`` scores of the candidate ranker; None where there is none.

    Returns:
        The weights, and what the order that was taken, or else the most promising one, changes on validation.

    Raises:
        DataError: as ``best_fusion_weight``.
    """
    asked = n_relevant > 0
    _require_comparable(dot, logit, relevant, n_relevant)
    scored, users = Scored(dot, logit, relevant, n_relevant, listed).take(asked), users[asked]
    half = halves(users, seed)
    alone = values = scored.ndcg(Fusion(1.0, 0.0))
    taken, shown = Fusion(1.0, 0.0), None
    for dlrm, lists in ((False, True), (True, False), (True, True)):
        if lists and listed is None:
            continue
        judged = _cross_fitted(scored, half, dlrm=dlrm, lists=lists)
        if more_than_an_error(judged - values, users):
            taken, values, shown = scored.best(dlrm=dlrm, lists=lists), judged, judged
        elif not taken.used and (shown is None or judged.mean() > shown.mean()):
            shown = judged
    gains = (alone if shown is None else shown) - alone
    bootstrap = UserBootstrap(users, RESAMPLES, seed)
    ends = bootstrap.percentile(bootstrap.means(gains[:, None])[:, 0])
    return replace(taken, validation=Gain(float(gains.mean()), ends.low, ends.high, bootstrap.users))


def _cross_fitted(scored: Scored, half: Array, *, dlrm: bool, lists: bool) -> Array:
    """Return ``[A]`` the NDCG@10 of an order, with the weights that the other half of the shoppers chose.

    A lone shopper has no other half, and is evaluated by what it chose.
    """
    judged = np.zeros(len(half))
    for own in np.unique(half):
        mine, other = half == own, half != own if (half != own).any() else half == own
        judged[mine] = scored.take(mine).ndcg(scored.take(other).best(dlrm=dlrm, lists=lists))
    return judged


def tuned_weight(added: Array, base: Array, relevant: Array, n_relevant: Array) -> tuple[float, float]:
    """As ``best_fusion_weight`` with ``added`` for the dot product and ``base`` for the logit; also tell what it comes to.

    Returns:
        The weight, and the mean NDCG@10 with it over all anchors that have a true item; 0 where none is among the candidates.
    """
    present = _require_comparable(added, base, relevant, n_relevant)
    useful = (n_relevant > 0) & (relevant & present).any(axis=1)  # the other anchors score 0 under every weight
    if not useful.any():
        return default_fusion_weight(), 0.0
    share = float(np.count_nonzero(useful) / np.count_nonzero(n_relevant))
    added, base, relevant, n_relevant, present = (values[useful] for values in (added, base, relevant, n_relevant, present))
    added = np.where(present, added, 0.0)
    spread = float(np.std(added[present]))
    unit = float(np.std(base[present])) / spread if spread > 0 else 0.0
    if unit == 0.0:
        unit = 1.0 / spread if spread > 0 else 1.0  # a constant base: any positive weight ranks by what is added
    weights = [ratio * unit for ratio in RATIOS]
    values = [mean_ndcg(base + weight * added, relevant & present, n_relevant) for weight in weights]
    best = int(np.argmax(values))
    return weights[best], values[best] * share


def _require_comparable(added: Array, base: Array, relevant: Array, n_relevant: Array) -> Array:
    """Return ``[A, C]`` where there is a candidate; refuse shapes that do not fit together and scores that are no numbers."""
    if not added.shape == base.shape == relevant.shape or added.ndim != 2 or n_relevant.shape != added.shape[:1]:
        raise DataError(
            f"Fusion got scores of shapes {added.shape} and {base.shape}, truth {relevant.shape} and counts {n_relevant.shape}, "
            "where [A, C] three times and [A] are expected."
        )
    present = np.isfinite(base)
    if np.isnan(base).any() or not np.isfinite(added[present]).all():
        raise DataError(
            "Fusion got a score that is NaN or infinite, where finite scores are expected.", "Train the models again."
        )
    return present


def mean_ndcg(scores: Array, relevant: Array, n_relevant: Array, cutoff: int = CUTOFF) -> float:
    """Return the mean of ``ndcg_of``."""
    return float(np.mean(ndcg_of(scores, relevant, n_relevant, cutoff)))


def ndcg_of(scores: Array, relevant: Array, n_relevant: Array, cutoff: int = CUTOFF) -> Array:
    """Return ``[A]`` the NDCG at a cut-off, with the ideal of all true items; equal scores keep the candidates' order.

    Args:
        scores: ``[A, C]``.
        relevant: ``[A, C]`` bool.
        n_relevant: ``[A]`` true items of each anchor, all > 0.
        cutoff: how many places count.
    """
    row, place = np.nonzero(relevant)
    lists, own = scores[row], scores[row, place][:, None]
    before = (lists > own) | ((lists == own) & (np.arange(scores.shape[1]) < place[:, None]))
    above = np.count_nonzero(before, axis=1)
    discounts = 1.0 / np.log2(np.arange(2, cutoff + 2))
    seen = above < cutoff
    gained = np.bincount(row[seen], weights=discounts[above[seen]], minlength=len(scores))
    ideal = np.cumsum(discounts)[np.minimum(n_relevant, cutoff).astype(np.int64) - 1]
    return np.asarray(gained / ideal)
