"""The own columns of the recommender's shoppers, and which shoppers the shop's table lists before they do anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from workflows.events.asof import Ints
from workflows.events.event_log import EventLog
from workflows.features.column import Owner
from workflows.features.family import FeatureFamily
from workflows.features.flat_columns import FlatColumns

NEVER: Final = int(np.iinfo(np.int64).max)


class OwnShoppers(FlatColumns):
    """The own columns of a log's shoppers.

    A shopper whom the table of users lists is known by these columns from then on, with or without an event of theirs.

    Args:
        families: those that own shoppers; others are left aside.
        log: the coded events; its keys hold the listed users too.
        until: microseconds, where training ends; see ``FlatColumns``.
        listed: user id -> microseconds from which the table of users lists them.
    """

    def __init__(
        self, families: Sequence[FeatureFamily], log: EventLog, until: int, listed: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(families, Owner.SHOPPER, log, until)
        since = [(listed or {}).get(user, NEVER) if user else NEVER for user in log.users]
        self._listed: Ints = np.array([*since, NEVER], np.int64)  # a stranger, key -1, reads the last

    def listed(self, key: Ints, instant: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Return which shoppers the table of users lists strictly before instants: bool [Q]."""
        found: np.ndarray[tuple[int], np.dtype[np.bool_]] = self._listed[key] < instant
        return found
