"""A factor model over a catalogue, as ``FactorScores``."""

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


def unfitted_factors(name: str, log: Interactions, seed: int) -> ALS | BPR:
    """Return a model to be fitted.

    Args:
        name: ``als`` or ``bpr``.
        log: the interactions to learn from; many leave BPR fewer passes.
        seed: of its random start.
    """
    if name == "als":
        return ALS(seed=seed)
    passes = int(np.clip(_UPDATES // max(1, len(log.user)), _FEWEST_PASSES, BPR.iterations))
    return BPR(seed=seed, iterations=passes)


def factor_scores(model: ALS | BPR, log: Interactions, catalogue: Ints) -> FactorScores:
    """Lay a fitted model over a catalogue.

    Args:
        model: fitted on ``log``.
        log: the interactions that it has learnt from.
        catalogue: int64 [N] the code in ``log`` of each item.
    """
    items: npt.NDArray[np.int64] = np.concatenate([[-1], catalogue, [-1]])
    if isinstance(model, ALS):
        return FactorScores(als_towers(model, items), ())
    users = log.user_ids.cast(pl.String)
    known = np.flatnonzero(model.user_known & ~users.str.starts_with(ANONYMOUS_PREFIX).to_numpy())
    return FactorScores(bpr_towers(model, items, np.append(-1, known)), tuple(users.gather(known)))
