"""The split into training, validation and test: by time, never by shuffling."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final, Literal

import numpy as np

from cartwheel.core.errors import DataError
from workflows.events.asof import Bools, Ints
from workflows.settings import PrepareSettings

SplitName = Literal["train", "valid", "test"]
SPLITS: Final[tuple[SplitName, ...]] = ("train", "valid", "test")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Split:
    """The split instants, microseconds since 1970 UTC.

    Attributes:
        t_valid: anchors before it train.
        t_test: anchors from ``t_valid`` on and before it validate; anchors from it on test.
        end: one past the last event.
    """

    t_valid: int
    t_test: int
    end: int

    def start_of(self, name: SplitName) -> int:
        """First instant of a split; the training split has no beginning and answers the smallest int64."""
        return {"train": int(np.iinfo(np.int64).min), "valid": self.t_valid, "test": self.t_test}[name]

    def end_of(self, name: SplitName) -> int:
        """One past the last instant of a split."""
        return {"train": self.t_valid, "valid": self.t_test, "test": self.end}[name]

    def mask(self, name: SplitName, anchors: Ints) -> Bools:
        """Return which ``anchors`` [N] belong to the split ``name``: bool [N]. Test has no end: an anchor may follow the last event."""
        late = anchors >= self.start_of(name)
        return late if name == "test" else late & (anchors < self.end_of(name))


def iso(microseconds: int) -> str:
    """Write an instant as ISO 8601 in UTC."""
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat()


def split_log(times: Ints, settings: PrepareSettings) -> Split:
    """Split a log by the dates of the settings, or by their shares where there are none.

    Args:
        times: int64 [N], instants of the events, any order, microseconds.
        settings: the dates and shares.

    Raises:
        DataError: one of the three splits would have no event.
    """
    if settings.valid_from is not None and settings.test_from is not None:
        return split_by_dates(times, settings.valid_from, settings.test_from)
    return split_by_time(times, settings.valid_share, settings.test_share)


def told_split(settings: PrepareSettings) -> str:
    """Say how these settings split a log, for whoever reads a figure of it.

    >>> told_split(PrepareSettings(test_share=0.2))
    'by time: the latest 20% of the events test, the 10% before them validate, the rest trains'
    >>> told_split(PrepareSettings(valid_from="2024-03-01", test_from="2024-03-31T18:00Z"))
    'by time: the events from 2024-03-31T18:00:00+00:00 on test, those from 2024-03-01 on validate, the rest trains'
    """
    if settings.valid_from is not None and settings.test_from is not None:
        valid, test = (
            instant.isoformat().removesuffix("T00:00:00+00:00") for instant in (settings.valid_from, settings.test_from)
        )
        return f"by time: the events from {test} on test, those from {valid} on validate, the rest trains"
    test, valid = (f"{100 * share:.3g}%" for share in (settings.test_share, settings.valid_share))
    return f"by time: the latest {test} of the events test, the {valid} before them validate, the rest trains"


def split_by_dates(times: Ints, valid_from: datetime, test_from: datetime) -> Split:
    """Split at instants that the reader of the figures knows by name, such as the first of a month.

    Args:
        times: int64 [N], instants of the events, any order, microseconds; at least one.
        valid_from: where validation begins.
        test_from: where it ends and test begins.

    Raises:
        DataError: one of the three splits would have no event.
    """
    first, last = int(times.min()), int(times.max())
    t_valid, t_test = ((instant - _EPOCH) // timedelta(microseconds=1) for instant in (valid_from, test_from))
    log = f"the log's events lie from {iso(first)} to {iso(last)}"
    if t_valid <= first:
        raise DataError(
            f"prepare.valid_from is {valid_from.isoformat()}, but {log}: none is left to train on.",
            "Set prepare.valid_from to an instant after the first event, best after most of them.",
        )
    if t_test > last:
        raise DataError(
            f"prepare.test_from is {test_from.isoformat()}, but {log}: none is left to test on.",
            "Set prepare.test_from to an instant before the last event, by prepare.horizon_days or more.",
        )
    if not ((times >= t_valid) & (times < t_test)).any():
        raise DataError(
            f"No event lies between prepare.valid_from, {valid_from.isoformat()}, and prepare.test_from, {test_from.isoformat()}, "
            f"and at least one is expected; {log}: none is left to validate on.",
            "Set them further apart.",
        )
    return Split(t_valid, t_test, last + 1)


def split_by_time(times: Ints, valid_share: float, test_share: float) -> Split:
    """Find the instants that leave the given shares of the events to validation and test.

    Args:
        times: int64 [N], instants of the events, any order, microseconds.
        valid_share: share of the events that validate.
        test_share: share of the events, the latest, that test.

    Raises:
        DataError: too few distinct instants to have all three splits.
    """
    ordered = np.sort(times)
    place = [int(len(ordered) * (1 - test_share - valid_share)), int(len(ordered) * (1 - test_share))]
    t_valid, t_test = (int(ordered[min(p, len(ordered) - 1)]) for p in place)
    if not ordered[0] < t_valid < t_test:
        raise DataError(
            f"The {len(ordered)} events lie at {len(np.unique(ordered))} distinct instants from {iso(int(ordered[0]))} to "
            f"{iso(int(ordered[-1]))}: too few to cut training, validation and test apart in time.",
            "Give a longer log, raise prepare.valid_share and prepare.test_share (0.2 each, say), or set prepare.valid_from and test_from.",
        )
    return Split(t_valid, t_test, int(ordered[-1]) + 1)
