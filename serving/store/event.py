"""A stored event, and its representation in requests to the ensembles."""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass, fields
from typing import Final, NamedTuple


@dataclass(frozen=True)
class Tracked:
    """One sound event.

    Attributes:
        event_id: what it is known by; the same id is the same event.
        user_id: who; None only where ``session_id`` names an anonymous visit.
        item_id: of what.
        event_type: such as ``view``.
        time_us: when, Unix microseconds.
        session_id: the visit, if the shop names it.
        category: of the item, as the shop had it then.
        brand: likewise.
        price: what was shown or paid.
        quantity: how many.
    """

    event_id: str
    user_id: str | None
    item_id: str
    event_type: str
    time_us: int
    session_id: str | None = None
    category: str | None = None
    brand: str | None = None
    price: float | None = None
    quantity: float | None = None

    @property
    def shopper(self) -> str:
        """Whose history it belongs to, as :func:`shopper_key` names it."""
        return shopper_key(self.user_id, self.session_id)

    def text(self) -> str:
        """Return it as a line of JSON."""
        return json.dumps(astuple(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def parsed(cls, text: str) -> Tracked:
        """Return what :meth:`text` wrote."""
        return cls(*json.loads(text))


USER: Final = "u"
VISIT: Final = "s"
FIELDS: Final = tuple(field.name for field in fields(Tracked))


class Recent(NamedTuple):
    """What a request gives of one event.

    Attributes:
        item_id: the item.
        event_type: its type.
        time_us: when, Unix microseconds.
        price: None where it has none.
        quantity: likewise.
        session_id: the visit; None where the shop did not name it.
    """

    item_id: str
    event_type: str
    time_us: int
    price: float | None
    quantity: float | None = None
    session_id: str | None = None


class OfItem(NamedTuple):
    """What somebody did with an item.

    Attributes:
        shopper: who, as :func:`shopper_key` names them.
        event_type: its type.
        time_us: when, Unix microseconds.
        price: None where it has none.
        quantity: likewise.
    """

    shopper: str
    event_type: str
    time_us: int
    price: float | None
    quantity: float | None


def shopper_key(user_id: str | None, session_id: str | None = None) -> str:
    """Return the name of a history: that of the user, else that of the anonymous visit; the first letter keeps them apart."""
    return f"{USER}{user_id}" if user_id else f"{VISIT}{session_id or ''}"
