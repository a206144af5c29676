"""Lists that are ready made for places of a shop, and whole pages of them in which no item stands twice."""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from cartwheel.core.errors import UsageError
from serving.client.answers import Metadata, ShopId
from serving.client.requests import RecommendRequest, When
from serving.gateway.asking import Asking, Wanted
from serving.gateway.gate import Gate
from serving.gateway.ladder import CAUSES
from serving.gateway.refusal import RefusedError, invalid
from serving.gateway.rulebook import Rulebook
from serving.gateway.visit import Visit
from serving.rules.arrange import PINNED, PROMOTED, Candidate, advanced, lockstep
from serving.rules.rules import Rules
from serving.store.event import Recent
from workflows.events.kinds import PURCHASE

FOR_YOU, SIMILAR, COMPLETES, TOGETHER = "for_you", "similar", "completes_the_cart", "bought_together"
AGAIN, TRENDING, ON_SALE, VIEWED = "buy_again", "trending", "on_sale", "recently_viewed"
PLACEMENTS: Final = (FOR_YOU, SIMILAR, COMPLETES, TOGETHER, AGAIN, TRENDING, ON_SALE, VIEWED)
ON_SALE_FILTER: Final = "discount >= 0.05"
"""On sale is what costs at least so much less than at the export."""
PAGE: Final = "page"
"""What metrics and logs call a page, in place of an ensemble."""
_MOST_SECTIONS: Final = 20
_WHY: Final = {
    TOGETHER: "It goes with {because}.",
    SIMILAR: "It is like {because}.",
    COMPLETES: "It goes with what is in the cart.",
    AGAIN: "Bought before.",
    TRENDING: "Many look at it these days.",
    ON_SALE: "On sale.",
    VIEWED: "Looked at before.",
    PINNED: "Chosen by the shop.",
    PROMOTED: "Promoted by the shop.",
}


@dataclass(frozen=True)
class Wish:
    """One list that is wanted.

    Attributes:
        placement: one of ``PLACEMENTS``.
        item_id: the item that ``similar`` and ``bought_together`` are about; empty is none.
        k: how many items.
    """

    placement: str
    item_id: str = ""
    k: int = 10


@dataclass(frozen=True)
class Who:
    """Whom a page is for, and what must not stand in it.

    Attributes:
        user_id: the user; None for a stranger.
        recent_items: of the running visit, the latest last.
        cart_items: what is in the cart.
        exclude: what must not be answered.
        timestamp: when it is asked.
        rules: beside those of the shop.
    """

    user_id: ShopId | None
    recent_items: Sequence[ShopId]
    cart_items: Sequence[ShopId]
    exclude: Sequence[ShopId]
    timestamp: When
    rules: Rules | None


@dataclass(frozen=True)
class Placed:
    """One item of a list; ``why`` is its reason in a sentence."""

    item_id: ShopId
    score: float
    reason: str
    because_of: ShopId | None
    why: str


@dataclass(frozen=True)
class Section:
    """One list, with why it holds fewer items than were wanted, where it does."""

    placement: str
    items: tuple[Placed, ...]
    fewer: str = ""


class Placements:
    """Makes lists.

    Args:
        gate: what every request passes.
        asking: asks questions.
    """

    def __init__(self, gate: Gate, asking: Asking) -> None:
        self._gate, self._asking = gate, asking

    async def page(self, visit: Visit, who: Who, wishes: Sequence[Wish], seconds: float | None) -> tuple[Section, ...]:
        """Return the lists that are wanted, in which no item stands twice: one that a list holds is none of a later one.

        Raises:
            RefusedError: if a wish or a rule cannot be honoured, or a question is not answered.
        """
        metadata = self._asking.metadata(visit, who.user_id)
        book = visit.route.rulebook if visit.route is not None else None
        if book is None:
            raise invalid("The export that is served holds no items for lists; write it again with `cartwheel export`.")
        _check(wishes, book.max_k, who)
        begun, stood = time.monotonic(), [str(item) for item in who.exclude]
        sections: list[Section] = []
        rung = ""
        for wish in wishes:
            left = None if seconds is None else max(0.0, seconds - (time.monotonic() - begun))
            rules = (who.rules or Rules()).model_copy(
                update={"cart_items": (*(who.rules.cart_items if who.rules else ()), *map(str, who.cart_items), *stood)}
            )
            try:
                items = await self._list(visit, book, metadata, replace(who, rules=rules), wish, sections, left)
            except UsageError as error:
                raise invalid(str(error)) from error
            stood += [str(item.item_id) for item in items]
            fewer = f"{len(items)} of {wish.k} items are answered: no further item may stand here." if len(items) < wish.k else ""
            sections.append(Section(wish.placement, items, fewer))
            rung = visit.rung or rung
        visit.ensemble, visit.rung = PAGE, rung
        return tuple(sections)

    async def _list(
        self,
        visit: Visit,
        book: Rulebook,
        metadata: Metadata,
        who: Who,
        wish: Wish,
        before: Sequence[Section],
        left: float | None,
    ) -> tuple[Placed, ...]:
        visit.rules, visit.ladder, visit.rung, visit.k = who.rules, True, "", 0
        visit.explores = wish.placement == FOR_YOU and not any(section.placement == FOR_YOU for section in before)
        wanted = Wanted(left, wish.k, who.timestamp)
        if wish.placement in (FOR_YOU, ON_SALE):
            return await self._recommended(visit, who, wish, wanted)
        if wish.placement in (SIMILAR, COMPLETES):
            try:
                return await self._scored(visit, who, wish, wanted)
            except RefusedError as error:
                if error.code not in CAUSES:
                    raise
        candidates = self._listed(book, who, wish)
        return _arranged(book, metadata, who, wish, candidates)

    async def _recommended(self, visit: Visit, who: Who, wish: Wish, wanted: Wanted) -> tuple[Placed, ...]:
        on_sale = wish.placement == ON_SALE
        if on_sale and who.rules is not None:
            where = f"({who.rules.where}) and {ON_SALE_FILTER}" if who.rules.where else ON_SALE_FILTER
            visit.rules = who.rules.model_copy(update={"where": where})
        asked = RecommendRequest(who.user_id, who.recent_items, who.exclude, who.timestamp)
        answer = await self._asking.recommend(visit, asked, None, wanted)
        return tuple(
            Placed(
                item.item_id,
                item.score,
                ON_SALE if on_sale and item.reason.name.lower() not in (PINNED, PROMOTED) else item.reason.name.lower(),
                item.because_of,
                _WHY[ON_SALE] if on_sale else item.sentence,
            )
            for item in answer.items
        )

    async def _scored(self, visit: Visit, who: Who, wish: Wish, wanted: Wanted) -> tuple[Placed, ...]:
        if wish.placement == SIMILAR:
            found = await self._asking.similar_items(visit, wish.item_id, wanted)
            because: ShopId | None = wish.item_id
        else:
            answer = await self._asking.cart(visit, who.cart_items, who.user_id, who.recent_items, wanted)
            found, because = answer.completions, None
        why = _WHY[wish.placement].format(because=because)
        return tuple(Placed(item.item_id, item.score, wish.placement, because, why) for item in found)

    def _listed(self, book: Rulebook, who: Who, wish: Wish) -> list[Candidate]:
        """Return the items of a list that nothing has to be asked for, the best first."""
        if wish.placement == TRENDING:
            rise = book.rise()
            return [Candidate(int(place), float(rise[place])) for place in np.argsort(-rise, kind="stable") if rise[place] > 0]
        if wish.placement in (TOGETHER, SIMILAR, COMPLETES):
            about = [str(item) for item in who.cart_items] if wish.placement == COMPLETES else [wish.item_id]
            return _neighbours(book, about)
        user = "" if who.user_id is None else str(who.user_id)
        events = self._gate.live.recent(user) if self._gate.live is not None and user else []
        if wish.placement == AGAIN:
            return _again(book, user, events)
        return _viewed(book, user, events, [str(item) for item in who.recent_items])


def _check(wishes: Sequence[Wish], max_k: int, who: Who) -> None:
    if not 0 < len(wishes) <= _MOST_SECTIONS:
        raise invalid(f"sections holds {len(wishes)} lists; ask for 1 to {_MOST_SECTIONS}.")
    for place, wish in enumerate(wishes):
        where = f"sections[{place}]"
        if wish.placement not in PLACEMENTS:
            near = difflib.get_close_matches(wish.placement, PLACEMENTS, n=1)
            meant = f"Did you mean {near[0]!r}? " if near else ""
            raise invalid(f"{where}.placement is {wish.placement!r}. {meant}There are {', '.join(PLACEMENTS)}.")
        if not 1 <= wish.k <= max_k:
            raise invalid(f"{where}.k is {wish.k}; this server answers 1 to {max_k} items.")
        if wish.placement in (SIMILAR, TOGETHER) and not wish.item_id:
            raise invalid(f"{where}.item_id is empty; {wish.placement} is about an item.")
        if wish.placement == COMPLETES and not who.cart_items:
            raise invalid(f"cart_items is empty; {COMPLETES} is about a cart.")


def _neighbours(book: Rulebook, about: Sequence[str]) -> list[Candidate]:
    """Return what goes with some items, the strongest first."""
    scores: dict[int, float] = {}
    strongest: dict[int, tuple[float, str]] = {}
    for item in about:
        place = book.assortment.place(item)
        for other, weight in book.goes_with(place) if place is not None else ():
            scores[other] = scores.get(other, 0.0) + weight
            strongest[other] = max(strongest.get(other, (0.0, item)), (weight, item))
    barred = {book.assortment.place(item) for item in about}
    order = sorted((place for place in scores if place not in barred), key=lambda place: (-scores[place], place))
    return [Candidate(place, scores[place], because=strongest[place][1].encode()) for place in order]


def _again(book: Rulebook, user: str, events: Sequence[Recent]) -> list[Candidate]:
    """Return what a shopper bought: since the export first, the latest first, then until then, the most often bought first."""
    since = [event.item_id for event in reversed(events) if event.event_type == PURCHASE]
    return _in_order([*_places(book, since), *book.history_of(user).bought])


def _viewed(book: Rulebook, user: str, events: Sequence[Recent], visit: Sequence[str]) -> list[Candidate]:
    since = [*reversed(visit), *(event.item_id for event in reversed(events))]
    return _in_order([*_places(book, since), *book.history_of(user).viewed])


def _places(book: Rulebook, items: Sequence[str]) -> list[int]:
    return [place for item in items if (place := book.assortment.place(item)) is not None]


def _in_order(places: Sequence[int]) -> list[Candidate]:
    return [Candidate(place, -float(number)) for number, place in enumerate(dict.fromkeys(places), 1)]


def _arranged(book: Rulebook, metadata: Metadata, who: Who, wish: Wish, candidates: Sequence[Candidate]) -> tuple[Placed, ...]:
    """Take out what rules bar, and arrange the rest."""
    rules = book.effective(who.rules)
    rules = rules.model_copy(update={"pinned": (), "promoted": ()})  # of an order that is no ranking
    barred = book.barred(rules, book.assortment.passing(rules))
    run = lockstep([book.arrangement(rules, barred, wish.k)])
    need, done = advanced(run, None)
    while need is not None:
        need, done = advanced(run, [[item for item in candidates if not need.barred[0][item.place]]])
    items = []
    for item in done[0]:
        because = metadata.item_id(item.because) if item.because else None
        why = _WHY[wish.placement].format(because=because)
        items.append(
            Placed(metadata.item_id(book.assortment.table.ids[item.place].encode()), item.score, wish.placement, because, why)
        )
    return tuple(items)
