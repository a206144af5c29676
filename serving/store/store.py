"""The interface of a store of events; ``cartwheel.testing.StoreConformance`` holds what every store must do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from typing_extensions import Self

from cartwheel.core.errors import ServerError
from serving.store.event import OfItem, Recent, Tracked
from serving.store.item_state import ItemState
from serving.store.link import Link

DAY_US: Final = 86_400_000_000
HOUR_US: Final = 3_600_000_000


@dataclass(frozen=True)
class Kept:
    """How much is kept.

    Attributes:
        events: of each shopper, the latest.
        item_events: of each item, the latest.
        days: after which an event is no shopper's state any more.
        id_hours: for which an event id is remembered; the same id after that is another event.
    """

    events: int = 256
    days: float = 30.0
    id_hours: float = 168.0
    item_events: int = 4096

    @property
    def oldest_us(self) -> int:
        """``days`` in microseconds."""
        return round(self.days * DAY_US)

    @property
    def id_us(self) -> int:
        """``id_hours`` in microseconds."""
        return round(self.id_hours * HOUR_US)


class Store(ABC):
    """Keeps events: of each shopper the latest, and all of them in the order in which they came until they are landed.

    Every method may be called from any thread, and raises :class:`ServerError` where what it is kept in does not answer.
    """

    is_local = True
    """Whether :meth:`recent` answers within some ten microseconds, from this machine."""

    @property
    def weakness(self) -> str:
        """Why an acknowledged event may be lost nevertheless, in a sentence; empty where none may."""
        return ""

    @abstractmethod
    def add(self, events: Sequence[Tracked], now_us: int) -> list[bool]:
        """Keep events, all of them or, where it raises, none; they are durable when it returns.

        Args:
            events: at most a few thousand.
            now_us: the time, Unix microseconds.

        Returns:
            Of each whether it is new: an event id that is known, from before or from earlier among ``events``, changes nothing.
        """

    @abstractmethod
    def recent(self, shoppers: Sequence[str], after_us: int) -> list[list[Recent]]:
        """Return what each shopper did after an instant, the latest last, those of one instant in the order in which they came.

        Args:
            shoppers: as ``event.shopper_key`` names them.
            after_us: Unix microseconds; events at it are left out.
        """

    @abstractmethod
    def of_items(self, items: Sequence[str], after_us: int) -> list[list[OfItem]]:
        """Return what was done with each item after an instant, the latest last, those of one instant in the order in which they came.

        Of an item it is the latest ``Kept.item_events``, and may be less where a shopper did more than is kept of one.

        Args:
            items: their ids.
            after_us: Unix microseconds; events at it are left out.
        """

    @abstractmethod
    def journal(self, most: int) -> list[tuple[str, Tracked]]:
        """Return the first events that are not landed, each with its place: texts that sort as the events came."""

    @abstractmethod
    def landed(self, place: str) -> None:
        """Forget the journal up to a place and with it; what shoppers did is kept."""

    @abstractmethod
    def set_items(self, states: Sequence[ItemState]) -> None:
        """Set the state of items, all of them or, where it raises, none; it is durable when it returns, and what it leaves out stays."""

    @abstractmethod
    def items(self, after: str) -> tuple[list[ItemState], str]:
        """Return the state of the items that were set since a place, and the place of now; "" is the beginning."""

    @abstractmethod
    def link(self, links: Sequence[Link], now_us: int) -> None:
        """Keep who visitors are, all of them or, where it raises, none; durable when it returns.

        Of a visitor and an instant the last one counts.

        Args:
            links: at most a few thousand.
            now_us: the time, Unix microseconds; ``Kept.days`` later a link is forgotten, as all that it could tell of is.
        """

    @abstractmethod
    def links(self, after: str) -> tuple[list[Link], str]:
        """Return the links that were kept since a place, and the place of now; "" is the beginning."""

    @abstractmethod
    def close(self) -> None:
        """Give back what it holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def unreachable(where: str, error: Exception) -> ServerError:
    """Return the error of a store that does not answer."""
    return ServerError(f"The store of events, {where}, does not answer: {error}.", "Nothing was stored; send the events again.")
