"""Where training ends and validation and test begin: by time, never by shuffling."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final, Literal

import numpy as np

from cartwheel.errors import DataError
from workflows.asof import Bools, Ints

SplitName = Literal["train", "valid", "test"]
SPLITS: Final[tuple[SplitName, ...]] = ("train", "valid", "test")


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
        """Tell which ``anchors`` [N] belong to the split ``name``: bool [N]. Test has no end: an anchor may follow the last event."""
        late = anchors >= self.start_of(name)
        return late if name == "test" else late & (anchors < self.end_of(name))


def iso(microseconds: int) -> str:
    """Write an instant as ISO 8601 in UTC."""
    return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=microseconds)).isoformat()


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
            "Give a longer log, or raise prepare.valid_share and prepare.test_share (0.2 each, say).",
        )
    return Split(t_valid, t_test, int(ordered[-1]) + 1)
