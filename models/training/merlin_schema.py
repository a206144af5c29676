"""Merlin schemas of the columns that a model reads, made from nothing but names and sizes.

A model is rebuilt from its ``config.json`` alone, so its schema cannot come from the features folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from workflows.features.columns import SHARED_VOCABULARY

_ID_TAGS: Final = {"item_id": ("item_id", "item"), "user_id": ("user_id", "user")}


def categorical_column(name: str, sizes: Mapping[str, int]) -> Any:
    """Return the schema of an id column; columns of one vocabulary share its domain."""
    from merlin.schema import ColumnSchema, Tags

    tags = [Tags.CATEGORICAL, *(Tags(tag) for tag in _ID_TAGS.get(name, ()))]
    domain = {"min": 0, "max": sizes[name] - 1, "name": SHARED_VOCABULARY.get(name, name)}
    return ColumnSchema(name, tags=tags, dtype=np.int64, properties={"domain": domain})


def model_schema(
    categorical: Sequence[str], continuous: Sequence[str], sizes: Mapping[str, int], target: str | None = None
) -> Any:
    """Return the Merlin schema of a model's inputs, and of its binary target where it has one."""
    from merlin.schema import ColumnSchema, Schema, Tags

    columns = [categorical_column(name, sizes) for name in categorical]
    columns += [ColumnSchema(name, tags=[Tags.CONTINUOUS], dtype=np.float32) for name in continuous]
    if target is not None:
        columns.append(ColumnSchema(target, tags=[Tags.TARGET, Tags.BINARY_CLASSIFICATION], dtype=np.int64))
    return Schema(columns)
