"""The encoded tables that all sides learn from, and the one way in which all are evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from models.families.dlrm.model import CATEGORICAL, CONTINUOUS, LABEL
from models.families.two_tower.model import target_ranks
from models.metrics.classification import roc_auc
from models.training.tables import FIRST_ID, Array, Table, read_sizes, read_table
from workflows.features.columns import ITEM, QUERY

RANKING: Final = "ranking"
K: Final = 20
"""Recall is that of the first K of the whole catalogue."""


@dataclass(frozen=True)
class Rows:
    """Labelled rows for a DLRM.

    Attributes:
        train: its columns and the label.
        valid: the same of the rows on which it is evaluated.
        sizes: ids of each categorical column.
    """

    train: Table
    valid: Table
    sizes: dict[str, int]

    def auc(self, logits: Array) -> float:
        """Return the area under the ROC curve of the validation rows' logits ``[N]``."""
        return float(roc_auc(self.valid[LABEL], np.asarray(logits, np.float64)))


@dataclass(frozen=True)
class Pairs:
    """Queries and what was looked at next, for a two-tower.

    Attributes:
        train: QUERY and ITEM columns.
        valid: the same of the queries on which it is evaluated: those whose target is in the catalogue.
        catalogue: ITEM columns of the items among which a target is ranked.
        sizes: ids of each categorical column.
    """

    train: Table
    valid: Table
    catalogue: Table
    sizes: dict[str, int]

    def recall(self, queries: Array, items: Array) -> float:
        """Return the share of the validation targets among the first ``K``.

        Args:
            queries: ``[N, D]`` vectors of ``valid``.
            items: ``[M, D]`` vectors of ``catalogue``.
        """
        targets = items[_places(self.catalogue, self.sizes)[self.valid["item_id"]]]
        return float(np.mean(target_ranks(queries, targets, items, self.valid, self.catalogue) <= K))


def read_rows(features: Path, rows: int) -> Rows:
    """Read at most ``rows`` labelled training rows, and all validation rows."""
    train = features / "train" / RANKING
    sizes = {name: size for name, size in read_sizes(train).items() if name in CATEGORICAL}
    columns = (*CATEGORICAL, *CONTINUOUS[RANKING], LABEL)
    return Rows(read_table(train, columns, sizes).head(rows), read_table(features / "valid" / RANKING, columns, sizes), sizes)


def read_pairs(features: Path, rows: int) -> Pairs:
    """Read at most ``rows`` training pairs, the validation pairs and the catalogue."""
    train, columns = features / "train" / "recommend", (*QUERY, *ITEM)
    sizes = read_sizes(train)
    valid = read_table(features / "valid" / "recommend", columns, sizes)
    catalogue = read_table(features / "valid" / "catalogue", ITEM, sizes)
    known = np.flatnonzero(_places(catalogue, sizes)[valid["item_id"]] >= 0)
    return Pairs(read_table(train, columns, sizes).head(rows), valid.at(known), catalogue, sizes)


def _places(catalogue: Table, sizes: dict[str, int]) -> Array:
    """Return the catalogue's row of each item id, -1 where it has none."""
    places = np.full(sizes["item_id"], -1, np.int64)
    places[catalogue["item_id"]] = np.arange(len(catalogue))
    places[:FIRST_ID] = -1
    return places
