"""The definition of a published table: source, data, protocols, models with their parameters, and published metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

import polars as pl

from evaluation.protocols.protocol import Protocol
from evaluation.protocols.splits import Fold
from models.families.recommender import Recommender
from models.metrics import ranking
from models.metrics.ranking import Floats, Placement

METRICS: Final[Mapping[str, Callable[[Placement, int], Floats]]] = MappingProxyType(
    {"hit_rate": ranking.hit_rate, "ndcg": ranking.ndcg, "precision": ranking.precision, "recall": ranking.recall}
)
"""Name -> the metric of each list; a figure is its mean."""


@dataclass(frozen=True)
class Figure:
    """One published number.

    Attributes:
        metric: a name of ``METRICS``, for example ``ndcg``.
        k: of how many first items.
        published: the number; None where only ours is shown.
        tolerance: by how much ours may differ; None where the difference is told and not evaluated.
    """

    metric: str
    k: int
    published: float | None = None
    tolerance: float | None = None

    @property
    def name(self) -> str:
        """For example ``ndcg@10``."""
        return f"{self.metric}@{self.k}"

    @property
    def measure(self) -> Callable[[Placement], Floats]:
        """What gives the metric of each list."""
        metric, k = METRICS[self.metric], self.k
        return lambda placement: metric(placement, k)


@dataclass(frozen=True)
class Row:
    """One model.

    Attributes:
        model: the name in the table.
        make: returns it with its parameters, not yet fitted.
        figures: its numbers.
        note: how ours differs from the published model, where it does.
    """

    model: str
    make: Callable[[], Recommender]
    figures: tuple[Figure, ...]
    note: str = ""


@dataclass(frozen=True)
class Ordering:
    """A finding that must hold whatever the data: one model above another.

    Attributes:
        higher: name of the better model.
        lower: name of the other one.
        figure: the metric; its ``published`` is the published lead, and ours must be above 0.
    """

    higher: str
    lower: str
    figure: Figure


@dataclass(frozen=True)
class Setting:
    """Rows that are evaluated alike.

    Attributes:
        title: what makes this setting, in words.
        protocol: what every figure of it carries; ``data`` is filled in with the fingerprint of what was read.
        fold: splits the table of events that ``Table.read`` returns as the protocol says.
        rows: the models.
        orderings: findings about them.
    """

    title: str
    protocol: Protocol
    fold: Callable[[pl.DataFrame, Protocol], Fold]
    rows: tuple[Row, ...]
    orderings: tuple[Ordering, ...] = ()


@dataclass(frozen=True)
class Shape:
    """How many rows, users and items the published data has; other data is refused, for its figures mean nothing here."""

    rows: int
    users: int
    items: int

    def __str__(self) -> str:
        """Say it in words."""
        return f"{self.rows:,} interactions of {self.users:,} users with {self.items:,} items"


@dataclass(frozen=True)
class Table:
    """A published table.

    Attributes:
        name: what the command line calls it.
        title: one line.
        source: who published it and where.
        data: what file to give and where to get it.
        read: reads it into ``user_id``, ``item_id``, ``timestamp`` and what else the folds need; raises ``DataError``.
        settings: what is run.
        criterion: when the table counts as reproduced, and why within this tolerance.
        shape: of the published data; None where any data will do.
        minutes: about how long it takes on two cores.
    """

    name: str
    title: str
    source: str
    data: str
    read: Callable[[Path], pl.DataFrame] = field(repr=False)
    settings: tuple[Setting, ...] = field(repr=False)
    criterion: str
    shape: Shape | None = None
    minutes: float = 1.0

    @property
    def models(self) -> list[str]:
        """Names of all models, in order."""
        return list(dict.fromkeys(row.model for setting in self.settings for row in setting.rows))
