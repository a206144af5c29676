"""What a shop's tables and own columns say of its items, for the recommender's catalogue and item features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from workflows.features.column import Owner
from workflows.features.family import FeatureFamily
from workflows.features.own import first_listed, own_family

_ALWAYS: Final = int(np.iinfo(np.int64).min)


@dataclass(frozen=True)
class KnownItems:
    """What a shop's tables and own columns say of its items.

    Attributes:
        families: feature families that own items.
        listed: item id -> microseconds since 1970 UTC from which the shop lists it; the least integer where it always does.
    """

    families: tuple[FeatureFamily, ...] = ()
    listed: Mapping[str, int] = field(default_factory=dict)


NOTHING_KNOWN: Final = KnownItems()
"""Of a shop that has brought events alone."""


def read_known_items(run: Path) -> KnownItems:
    """Return what the stage ``tables`` of a run found of items.

    Raises:
        RunError: if a file of it cannot be read.
    """
    family = own_family(run, Owner.ITEM)
    listed = first_listed(run, Owner.ITEM)
    since = dict(zip(listed["id"], listed["listed_from"].fill_null(_ALWAYS), strict=True))
    return KnownItems(() if family is None else (family,), since)
