"""Published tables, one per file, that can be rerun on the original data; ``TABLES`` lists them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from evaluation.reproduce import amazon_beauty, movielens_100k, random_negatives, yoochoose
from evaluation.reproduce.rerun import Outcome, rerun
from evaluation.reproduce.table import Table

TABLES: Final[Mapping[str, Table]] = MappingProxyType(
    {module.TABLE.name: module.TABLE for module in (movielens_100k, amazon_beauty, random_negatives, yoochoose)}
)
"""Name -> table."""

__all__ = ["TABLES", "Outcome", "Table", "rerun"]
