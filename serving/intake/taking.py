"""Common code of stream consumers: the loop, counters and retries."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cartwheel.core.errors import ServerError
from serving.intake.intake import Outcome

_PAUSE_SECONDS: Final = 1.0


@dataclass
class Consumed:
    """What a consumer did.

    Attributes:
        accepted: events that were new.
        duplicates: events that were known.
        refused: events that are among the dead letters.
    """

    accepted: int = 0
    duplicates: int = 0
    refused: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.accepted += outcome.accepted
        self.duplicates += outcome.duplicates
        self.refused += len(outcome.refused)


class Taker(ABC):
    """Takes events from somewhere."""

    def __init__(self) -> None:
        self.consumed = Consumed()
        """What it did so far."""

    def run(self, is_ended: Callable[[], bool], complain: Callable[[str], None]) -> None:
        """Take until the word comes; what fails is tried again after a second, for nothing is lost by waiting."""
        while not is_ended():
            try:
                self.step()
            except ServerError as error:  # noqa: PERF203 - each entry costs a round trip anyway
                complain(str(error))
                time.sleep(_PAUSE_SECONDS)

    @abstractmethod
    def step(self) -> int:
        """Take what is there, waiting half a second at most; return how many entries it was.

        Raises:
            ServerError: if what it takes from, or the store, does not answer; the entries will be given again.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""
