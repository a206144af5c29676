"""Links between visitors and users: told by the shop at a login, and counted from the next question on, as ``[tables.identity]`` is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter

from serving.store.event import Recent, shopper_key
from serving.store.link import Link


class Links:
    """The links that are known: an event of a visitor belongs to the last user that they were linked to by then, if to any."""

    def __init__(self) -> None:
        self._of_visitor: dict[str, dict[int, str]] = {}
        self._visitors: dict[str, set[str]] = {}

    def update(self, links: Iterable[Link]) -> None:
        """Take links in; of a visitor and an instant the last one counts."""
        for link in links:
            self._of_visitor.setdefault(link.visitor, {})[link.since_us] = link.user_id
            self._visitors.setdefault(link.user_id, set()).add(link.visitor)

    def histories(self, users: Sequence[str]) -> list[list[str]]:
        """Return the names of the histories that each user's events may stand in, the user's own first."""
        return [[shopper_key(user), *sorted(self._visitors.get(user, ()))] for user in users]

    def joined(self, user: str, histories: Sequence[str], events: Mapping[str, Sequence[Recent]]) -> list[Recent]:
        """Return a user's events in the order of time.

        Args:
            user: their id.
            histories: from :meth:`histories`.
            events: of each history, oldest first.
        """
        own, *visitors = histories
        found = [event for event in events[own] if self._user_of(own, event.time_us, user) == user]
        for visitor in visitors:
            found += [event for event in events[visitor] if self._user_of(visitor, event.time_us, "") == user]
        return sorted(found, key=attrgetter("time_us")) if visitors else found

    def _user_of(self, visitor: str, time_us: int, otherwise: str) -> str:
        links = self._of_visitor.get(visitor)
        since = max((instant for instant in links if instant <= time_us), default=None) if links else None
        return otherwise if links is None or since is None else links[since]
