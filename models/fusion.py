"""How much the retrieval score adds to the ranking score.

final score = DLRM logit + w * retrieval score, which is the dot product of query and item vector and, where the run has them, what the
neighbours of the recent items add to it. The DLRM learnt from sampled negatives and the retrieval model from the whole catalogue, so each
knows what the other cannot; ``w`` is chosen on validation anchors by NDCG@10. The DLRM does not read the score as an input: on the rows
that both train on it is the score of a model that has learnt them, and would count for more than it does on new ones.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Final

import numpy as np

from cartwheel.errors import DataError, RunError
from cartwheel.files import write_json
from models.data import Array
from models.retriever import TWO_TOWER
from models.settings import TwoTowerSettings

FUSION_FILE: Final = "fusion.json"
CUTOFF: Final = 10
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
    """Return the mean NDCG at a cut-off, with the ideal of all true items; equal scores keep the candidates' order.

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
    return float(np.mean(gained / ideal))


def write_fusion(folder: Path, weight: float) -> None:
    """Write ``fusion.json`` in the ranking model's folder."""
    write_json(folder / FUSION_FILE, {"retrieval_weight": weight})


def read_fusion(folder: Path) -> float:
    """Return the weight that ``fusion.json`` holds.

    Raises:
        RunError: if the file is missing or holds no finite number.
    """
    path = folder / FUSION_FILE
    try:
        weight = float(json.loads(path.read_text(encoding="utf-8"))["retrieval_weight"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read ({error}).", "Train the ranking model again.") from error
    if not math.isfinite(weight):
        raise RunError(f"{path} holds the weight {weight}, where a finite number is expected.", "Train the ranking model again.")
    return weight
