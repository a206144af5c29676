"""Fits a factor model over a catalogue, as ``FactorScores``."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from models.families.factors.scores import FactorScores
from models.families.factors.towers import als_towers, bpr_towers
from models.families.registry import ALS, BPR
from models.questions.interactions import Interactions, Ints
from workflows.events.event_log import ANONYMOUS_PREFIX

_UPDATES: Final = 40_000_000
"""Most steps of BPR's gradient ascent, of which a core makes some three million a second."""
_FEWEST_PASSES: Final = 10


def fit_factor_scores(name: str, log: Interactions, catalogue: Ints, seed: int) -> FactorScores:
    """Fit a model and lay it over a catalogue.

    Args:
        name: ``als`` or ``bpr``.
        log: the interactions to learn from.
        catalogue: int64 [N] the code in ``log`` of each item.
        seed: of its random start.
    """
    items: npt.NDArray[np.int64] = np.concatenate([[-1], catalogue, [-1]])
    if name == "als":
        model = ALS(seed=seed)
        model.fit(log)
        return FactorScores(als_towers(model, items), ())
    passes = int(np.clip(_UPDATES // max(1, len(log.user)), _FEWEST_PASSES, BPR.iterations))
    pairwise = BPR(seed=seed, iterations=passes)
    pairwise.fit(log)
    users = log.user_ids.cast(pl.String)
    named = pairwise.user_known & ~users.str.starts_with(ANONYMOUS_PREFIX).to_numpy()
    known = np.flatnonzero(named)
    return FactorScores(bpr_towers(pairwise, items, np.append(-1, known)), tuple(users.gather(known)))
