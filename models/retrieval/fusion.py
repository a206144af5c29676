"""The combination of the scores of retrieval and the second stage, stored in ``models/ranking/fusion.json``.

final score = v * DLRM logit + w * retrieval score + u * score of the candidate ranker; ``models.retrieval.choose_fusion`` chooses the
weights.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import RunError
from cartwheel.core.files import write_json
from cartwheel.core.run_layout import ModelLayout

Array = npt.NDArray[Any]
CUTOFF: Final = 10
UNUSED: Final = "is served by itself"
"""Begins what is said of a retrieval model whose order no second stage changes."""


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
    """How the scores are joined; what ``fusion.json`` holds.

    Attributes:
        retrieval_weight: w.
        ranking_weight: v, 1 or 0.
        validation: why; None where nothing could be compared.
        list_weight: u, 0 or above.
    """

    retrieval_weight: float
    ranking_weight: float = 1.0
    validation: Gain | None = None
    list_weight: float = 0.0

    @property
    def ranks(self) -> bool:
        """Whether the ranking model is used."""
        return self.ranking_weight > 0

    @property
    def lists(self) -> bool:
        """Whether the candidate ranker is used."""
        return self.list_weight > 0

    @property
    def used(self) -> bool:
        """Whether there is a second stage."""
        return self.ranks or self.lists

    @property
    def sentence(self) -> str:
        """Why no second stage is used, to follow the name of the retrieval model."""
        if self.validation is None:
            return f"{UNUSED}: the second stage is not used"
        told = f"{self.validation.value:+.4f} ({_interval(self.validation)})"
        return f"{UNUSED}: on validation the second stage changed NDCG@{CUTOFF} by {told}, no more than a standard error, so it is not used"

    def scores(self, retrieval: Array, logit: Array, listed: Array | None = None) -> npt.NDArray[np.float64]:
        """Return the final scores, ``-inf`` where the logit is: there is no candidate."""
        total = self.retrieval_weight * retrieval.astype(np.float64)
        if self.lists:
            if listed is None:
                raise RunError("The candidate ranker is missing, although it has a weight.", "Run `cartwheel train` again.")
            total = total + self.list_weight * np.where(np.isneginf(logit), 0.0, listed.astype(np.float64))
        if self.ranks:
            return np.asarray(self.ranking_weight * logit.astype(np.float64) + total)
        return np.where(np.isneginf(logit), -np.inf, total)


def _interval(gain: Gain) -> str:
    ends = "no interval" if gain.low is None or gain.high is None else f"95% interval {gain.low:+.4f} to {gain.high:+.4f}"
    return f"{ends}, {gain.shoppers:,} shoppers"


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
            float(content["retrieval_weight"]),
            float(content.get("ranking_weight", 1.0)),
            _gain(content.get("validation")),
            float(content.get("list_weight", 0.0)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} cannot be read ({error}).", "Train the ranking model again.") from error
    finite = math.isfinite(fusion.retrieval_weight) and 0 <= fusion.list_weight < math.inf
    if not finite or fusion.ranking_weight not in (0.0, 1.0):
        raise RunError(
            f"{path} holds the weights {fusion.retrieval_weight}, {fusion.ranking_weight} and {fusion.list_weight}, where a finite number, "
            "0 or 1, and a number of at least 0 are expected.",
            "Train the ranking model again.",
        )
    return fusion


def _gain(content: Any) -> Gain | None:
    return None if content is None else Gain(**content)
