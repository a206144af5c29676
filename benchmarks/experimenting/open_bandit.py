"""The Open Bandit sample (Saito et al., "Open Bandit Dataset and Pipeline", 2021, https://arxiv.org/abs/2008.07146).

10,000 impressions were chosen at random and 10,000 by Bernoulli Thompson sampling. From the random ones is estimated what the other
policy is worth, which its own log tells: a click rate of .0042. The probabilities of its choices are the shares of its own log, by place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from evaluation.off_policy.estimators import Logged
from evaluation.off_policy.rewards import cross_fitted, of_policy

FILES: Final = ("random_all.parquet", "bts_all.parquet")
_COLUMNS: Final = ["item_id", "position", "click", "propensity_score"]


def logged(folder: Path) -> tuple[Logged, Logged, float]:
    """Return the random log with itself and with Thompson sampling as its target, and the click rate of the latter's own log."""
    at_random, sampled = (pl.read_parquet(folder / name, columns=_COLUMNS) for name in FILES)
    items, places = at_random["item_id"].to_numpy(), at_random["position"].to_numpy() - 1
    sizes = int(max(at_random["item_id"].max(), sampled["item_id"].max())) + 1, 3  # type: ignore[arg-type, type-var]
    shares = np.zeros(sizes)
    np.add.at(shares, (sampled["item_id"].to_numpy(), sampled["position"].to_numpy() - 1), 1.0)
    shares /= shares.sum(axis=0)
    uniform = np.full(sizes, 1.0 / sizes[0])
    clicks, propensities = at_random["click"].to_numpy().astype(np.float64), at_random["propensity_score"].to_numpy()
    rows = np.arange(len(clicks))  # the sample names no shoppers
    logs = []
    for target in (uniform, shares):
        models = cross_fitted(items, places, clicks, rows, of_policy(target, places))
        logs.append(Logged(clicks, propensities, target[items, places], rows, *models))
    return logs[0], logs[1], float(sampled["click"].to_numpy().mean())
