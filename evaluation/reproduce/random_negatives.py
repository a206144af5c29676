"""A scorer that knows nothing, under leave one out with 100 sampled negatives: a check of the protocol itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl

from evaluation.protocols.protocol import LeaveOneOut, Protocol, SampledRanking
from evaluation.protocols.splits import Fold, folds
from evaluation.reproduce.reading import read_sequences
from evaluation.reproduce.table import Figure, Row, Setting, Table
from models.families.recommender import Recommender, Scores
from models.questions.interactions import Interactions, Queries, from_events

_NEGATIVES: Final = 100
_CHANCE: Final = 10 / (_NEGATIVES + 1)
_MIX: Final = tuple(np.uint64(number) for number in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@dataclass
class Constant(Recommender):
    """Scores everything alike."""

    _items: int = field(init=False, repr=False)

    @property
    def name(self) -> str:
        """``constant``."""
        return "constant"

    def fit(self, interactions: Interactions) -> None:
        """Count the items."""
        self._items = interactions.items

    def scores(self, queries: Queries) -> Scores:
        """Return [q, items] zeros."""
        return np.zeros((len(queries), self._items))


@dataclass
class Random(Recommender):
    """Scores at random, a user's items always alike: SplitMix64 of user and item (Steele et al., OOPSLA 2014).

    Attributes:
        seed: another one gives other scores.
    """

    seed: int = 0
    _items: int = field(init=False, repr=False)

    @property
    def name(self) -> str:
        """``random``."""
        return "random"

    def fit(self, interactions: Interactions) -> None:
        """Count the items."""
        self._items = interactions.items

    def scores(self, queries: Queries) -> Scores:
        """Return [q, items] float64 in [0, 1)."""
        user = ((queries.user + 1) * self._items + self.seed * 2**40).astype(np.uint64)
        mixed = (user[:, None] + np.arange(self._items, dtype=np.uint64)) * _MIX[0]
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX[1]
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[2]
        return (mixed ^ (mixed >> np.uint64(31))).astype(np.float64) / 2.0**64


def fold(events: pl.DataFrame, protocol: Protocol) -> Fold:
    """Hold out each user's last two items."""
    return folds(from_events(events), protocol)[0]


TABLE: Final = Table(
    name="random-100-negatives",
    title="Any log, leave one out with 100 sampled negatives: scorers that know nothing must hit with chance 10/101",
    source="Arithmetic: the truth is at each of 101 places alike. Published comparisons on other data hold a Random row, for example "
    "0.0965 to 0.1007 in Ferrari Dacrema et al., RecSys 2019 (https://arxiv.org/abs/1907.06902).",
    data="Any log of at least 10,000 users: one user a line, the user and then the items in order of time, numbers with spaces "
    "between; for example Beauty.txt of https://github.com/RUCAIBox/CIKM2020-S3Rec, folder data.",
    read=read_sequences,
    settings=(
        Setting(
            "the last item of each user among 100 drawn uniformly from those the user never turned to",
            Protocol(LeaveOneOut(), SampledRanking(_NEGATIVES)),
            fold,
            (
                Row("constant", Constant, (Figure("hit_rate", 10, _CHANCE, 1e-9),), "ties count with their expected value"),
                Row("random", Random, (Figure("hit_rate", 10, _CHANCE, 0.01),), "one draw of scores"),
            ),
        ),
    ),
    criterion="The constant scorer hits with 10/101 = 0.0990 exactly, for ties are averaged over. The random one within 0.01, more than "
    "three standard errors over 10,000 users.",
    minutes=0.5,
)
