"""How much the retrieval score adds to the ranking score, and whether the ranking score is used at all.

final score = v * DLRM logit + w * retrieval score, which is the dot product of query and item vector and, where the run has them, what
the neighbours of the recent items add to it. The DLRM learnt from sampled negatives and the retrieval model from the whole catalogue, so
each knows what the other cannot; ``w`` is chosen on validation anchors by NDCG@10. The DLRM does not read the score as an input: on the
rows that both train on it is the score of a model that has learnt them, and would count for more than it does on new ones.

``v`` is 1, or 0 where the second stage is not better than the first on validation by more than one standard error, over shoppers
and paired: then ``w`` is 1, and the order of retrieval is served as it is. Compared are both stages and retrieval alone, anchor by
anchor, with ``w`` chosen on one half of the shoppers and judged on the other, each way round: a weight judged on what it was chosen
by would flatter the second stage, for among the weights are some that leave it next to nothing to say. Of two orders that cannot be
told apart, the simpler one is served, which costs less.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import DataError, RunError
from cartwheel.core.files import write_json
from cartwheel.core.run_layout import ModelLayout
from models.families.two_tower.settings import TwoTowerSettings
from models.metrics.intervals import UserBootstrap, more_than_an_error
from models.questions.anchors import halves
from models.retrieval.retriever import TWO_TOWER
from models.training.tables import Array

CUTOFF: Final = 10
UNUSED: Final = "is served by itself"
"""Begins what is said of a retrieval model whose order no second stage changes."""
RESAMPLES: Final = 1000
"""Of shoppers, for the interval of what the second stage changes."""
RATIOS: Final = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0, 20.0)
"""Weights tried, in units of spread(logit) / spread(dot), so that the two scores' scales do not matter."""


@dataclass(frozen=True)
class Gain:
    """What the second stage changes in the mean NDCG@10 of validation, paired by anchor.

    Attributes:
        value: both stages less retrieval alone.
        low: of the 95% interval, which resamples shoppers; None where they are too few.
        high: likewise.
        shoppers: how many there are.
    """

    value: float
    low: float | None
    high: float | None
    shoppers: int


@dataclass(frozen=True)
class Fusion:
    """How both scores are joined; what ``fusion.json`` holds.

    Attributes:
        retrieval_weight: w.
        ranking_weight: v, 1 or 0.
        validation: why; None where nothing could be compared.
    """

    retrieval_weight: float
    ranking_weight: float = 1.0
    validation: Gain | None = None

    @property
    def ranks(self) -> bool:
        """Whether the ranking model is used."""
        return self.ranking_weight > 0

    @property
    def sentence(self) -> str:
        """Why the ranking model is not used, to follow the name of the retrieval model."""
        if self.validation is None:
            return f"{UNUSED}: the second stage is not used"
        told = f"{self.validation.value:+.4f} ({_interval(self.validation)})"
        return f"{UNUSED}: on validation the second stage changed NDCG@{CUTOFF} by {told}, no more than a standard error, so it is not used"

    def scores(self, retrieval: Array, logit: Array) -> npt.NDArray[np.float64]:
        """Return the final scores, ``-inf`` where the logit is: there is no candidate."""
        total = self.retrieval_weight * retrieval.astype(np.float64)
        if self.ranks:
            return np.asarray(self.ranking_weight * logit.astype(np.float64) + total)
        return np.where(np.isneginf(logit), -np.inf, total)


def _interval(gain: Gain) -> str:
    ends = "no interval" if gain.low is None or gain.high is None else f"95% interval {gain.low:+.4f} to {gain.high:+.4f}"
    return f"{ends}, {gain.shoppers:,} shoppers"


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


def fuse(dot: Array, logit: Array, relevant: Array, n_relevant: Array, users: Array, seed: int) -> Fusion:
    """Choose the weight on all anchors, and whether the ranking score is used by what the halves of the shoppers find of each other.

    Args:
        dot: ``[A, C]`` as in ``best_fusion_weight``.
        logit: ``[A, C]`` likewise.
        relevant: ``[A, C]`` likewise.
        n_relevant: ``[A]`` likewise.
        users: ``[A]`` the shopper of each anchor.
        seed: draws the halves and the resamples.

    Raises:
        DataError: as ``best_fusion_weight``.
    """
    weight = best_fusion_weight(dot, logit, relevant, n_relevant)
    asked = n_relevant > 0
    dot, logit, relevant, n_relevant, users = (values[asked] for values in (dot, logit, relevant, n_relevant, users))
    gains = _gains(dot, logit, relevant, n_relevant, halves(users, seed))
    bootstrap = UserBootstrap(users, RESAMPLES, seed)
    ends = bootstrap.percentile(bootstrap.means(gains[:, None])[:, 0])
    gain = Gain(float(gains.mean()), ends.low, ends.high, bootstrap.users)
    return Fusion(weight, 1.0, gain) if more_than_an_error(gains, users) else Fusion(1.0, 0.0, gain)


def _gains(dot: Array, logit: Array, relevant: Array, n_relevant: Array, half: Array) -> Array:
    """Return ``[A]`` what the second stage adds to the NDCG@10 of each anchor, with the weight that the other half chose.

    A lone shopper has no other half, and is judged by what it chose.
    """
    present = np.isfinite(logit)
    retrieval, true = np.where(present, dot, -np.inf), relevant & present
    both = np.zeros(len(logit))
    for own in np.unique(half):
        judged, chosen = half == own, half != own if (half != own).any() else half == own
        weight = best_fusion_weight(dot[chosen], logit[chosen], relevant[chosen], n_relevant[chosen])
        fused = Fusion(weight).scores(np.where(present, dot, 0.0)[judged], logit[judged])
        both[judged] = ndcg_of(fused, true[judged], n_relevant[judged])
    return both - ndcg_of(retrieval, true, n_relevant)


def tuned_weight(added: Array, base: Array, relevant: Array, n_relevant: Array) -> tuple[float, float]:
    """As ``best_fusion_weight`` with ``added`` for the dot product and ``base`` for the logit; also tell what it comes to.

    Returns:
        The weight, and the mean NDCG@10 with it over all anchors that have a true item; 0 where none is among the candidates.
    """
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


def write_fusion(folder: Path, fusion: Fusion) -> None:
    """Write ``fusion.json`` in the ranking model's folder."""
    write_json(ModelLayout(folder).fusion, asdict(fusion))


def read_fusion(folder: Path) -> Fusion:
    """Return what ``fusion.json`` holds.

    Raises:
        RunError: if the file is missing or holds weights that are no finite numbers.
    """
    path = ModelLayout(folder).fusion
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        fusion = Fusion(
            float(content["retrieval_weight"]), float(content.get("ranking_weight", 1.0)), _gain(content.get("validation"))
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} cannot be read ({error}).", "Train the ranking model again.") from error
    if not math.isfinite(fusion.retrieval_weight) or fusion.ranking_weight not in (0.0, 1.0):
        raise RunError(
            f"{path} holds the weights {fusion.retrieval_weight} and {fusion.ranking_weight}, where a finite number and 0 or 1 are "
            "expected.",
            "Train the ranking model again.",
        )
    return fusion


def _gain(content: Any) -> Gain | None:
    return None if content is None else Gain(**content)
