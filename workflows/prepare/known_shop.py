"""The shop's additions to the recommender: own columns, own families, and the users and items of its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from cartwheel.core.errors import ConfigError
from cartwheel.core.hooks import module_file
from workflows.features.column import Owner, check_distinct
from workflows.features.columns import COLUMNS, RESERVED
from workflows.features.family import FeatureFamily
from workflows.features.own import OwnDay, OwnFamily, first_listed, own_families
from workflows.features.registry import make_families

_ALWAYS: Final = int(np.iinfo(np.int64).min)
_READ: Final = (Owner.SHOPPER, Owner.ITEM)
"""Owners whose families the recommender reads: what is known of them can be stored and served."""
_WHY_NOT: Final = {
    Owner.SESSION: "a request does not say which session it is of",
    Owner.MOMENT: "a server keeps whole days, and how many days it is to a date changes within one",
}


@dataclass(frozen=True)
class KnownShop:
    """What a shop brings beside its events.

    Attributes:
        families: feature families that own items, shoppers or days.
        items: item id -> microseconds since 1970 UTC from which the shop lists it; the least integer where it always does.
        users: user id -> likewise; none where nothing more is known of a listed user.
        warnings: which own columns the recommender does not read, a sentence each.
    """

    families: tuple[FeatureFamily, ...] = ()
    items: Mapping[str, int] = field(default_factory=dict)
    users: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def has(self, owner: Owner) -> bool:
        """Whether a family owns shoppers, days or items."""
        return any(family.owner is owner for family in self.families)


NOTHING_KNOWN: Final = KnownShop()
"""Of a shop that has brought events alone."""


def read_known_shop(run: Path, families: Sequence[str] = (), folder: Path | None = None) -> KnownShop:
    """Return what the stage ``tables`` of a run found, and the families that the shop brings in Python.

    Args:
        run: the run directory.
        families: ``features.families``.
        folder: of the configuration file, where the shop's modules lie.

    Raises:
        RunError: if a file of the run cannot be read.
        ConfigError: a family is not there, raises, belongs to what the recommender cannot serve, or has a column of a name that is taken.
    """
    own = own_families(run)
    read = (*(family for family in own if family.owner in _READ), *_days(run, own))
    brought = own_families_of_python(families, folder)
    check_distinct((*COLUMNS, *(column for family in (*read, *brought) for column in family.columns)), "[features]")
    has_users = any(feature.table for family in read if family.owner is Owner.SHOPPER for feature in family.features)
    return KnownShop(
        (*read, *brought),
        _since(run, Owner.ITEM),
        _since(run, Owner.SHOPPER) if has_users else {},
        tuple(warning for family in own for warning in _left_aside(family)),
    )


def own_families_of_python(names: Sequence[str], folder: Path | None = None) -> tuple[FeatureFamily, ...]:
    """Make the families of ``features.families``, each checked; errors as in ``read_known_shop``."""
    families = make_families(names, folder)
    for name, family in zip(names, families, strict=True):
        if family.owner not in _READ:
            raise ConfigError(
                f"features.families: {name!r} belongs to the {family.owner.value}, and the recommender reads families of the shopper and "
                f"of the item, whose values a server can keep.",
                "Name it in the features of a declared task that sees it, or make it a family of Owner.SHOPPER or Owner.ITEM.",
            )
        taken = next((column.name for column in family.columns if column.name in RESERVED), None)
        if taken is not None:
            raise ConfigError(
                f"features.families: {name!r} has a column called {taken!r}, which examples have already.",
                "Give it another name.",
            )
    return families


def family_files(names: Sequence[str], folder: Path | None = None) -> list[Path]:
    """Return the files of the modules that families come from; errors as in ``read_known_shop``."""
    return [module_file(name, "features.families", folder) for name in names if ":" in name]


def _since(run: Path, owner: Owner) -> dict[str, int]:
    listed = first_listed(run, owner)
    return dict(zip(listed["id"], listed["listed_from"].fill_null(_ALWAYS), strict=True))


def _days(run: Path, own: Sequence[OwnFamily]) -> list[OwnDay]:
    """Return the family of what a calendar says of days; none where it says nothing that lasts a day."""
    lasting = [feature for family in own if family.owner is Owner.MOMENT for feature in family.features if feature.kind != "date"]
    return [OwnDay(run, lasting)] if lasting else []


def _left_aside(family: OwnFamily) -> list[str]:
    aside = [
        f"features.own.{feature.name}"
        for feature in family.features
        if family.owner is Owner.SESSION or (family.owner is Owner.MOMENT and feature.kind == "date")
    ]
    return [f"The recommender does not read {', '.join(aside)}: {_WHY_NOT[family.owner]}. Declared tasks do."] if aside else []
