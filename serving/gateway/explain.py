"""Why an item is or is not answered to a shopper: which step or rule drops it, and the least that would bring it in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from tritonclient.grpc import InferResult, service_pb2

from serving.client.answers import Recommendations
from serving.gateway.rulebook import Plan
from serving.rules.arrange import Candidate
from serving.rules.assortment import BRAND, CATEGORY, Assortment
from serving.rules.rules import Rules

ANSWERED, UNKNOWN, RULE, EXCLUDED, CART = "answered", "unknown_item", "rule", "excluded", "cart"
LEFT_OUT, RANK, RETRIEVAL, ARRANGEMENT = "left_out", "rank", "retrieval", "arrangement"
OUTCOMES: Final = (ANSWERED, UNKNOWN, RULE, EXCLUDED, CART, LEFT_OUT, RANK, RETRIEVAL, ARRANGEMENT)
_MOST_PAGES: Final = 20
"""How often further items are asked for, to find the place of one."""
Ask = Callable[[bytes], Awaitable[bytes]]


@dataclass(frozen=True)
class Explanation:
    """What becomes of an item.

    Attributes:
        outcome: one of ``OUTCOMES``.
        why: in a sentence.
        change: the least that would bring it in, in a sentence; empty where it is answered or nothing would.
        rank: its place, from 1 on, among all that may be answered, by score; None where it has none or it was not found.
        score: its score; None where it has none.
        needed: the score of the last item that is answered; None where fewer than k are.
        violated: the rules that it violates.
    """

    outcome: str
    why: str
    change: str = ""
    rank: int | None = None
    score: float | None = None
    needed: float | None = None
    violated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """The question whose answer is explained.

    Attributes:
        item: the item.
        k: how many items were asked for.
        exclude: what was excluded.
        cart: what is in the cart, as far as the store knows.
        rules: of the request and the shop together.
        answer: what was answered.
    """

    item: str
    k: int
    exclude: Sequence[str]
    cart: Sequence[str]
    rules: Rules
    answer: Recommendations


async def explain(asked: Asked, assortment: Assortment, plain: Plan, ask: Ask) -> Explanation:
    """Explain what becomes of an item.

    Args:
        asked: the question.
        assortment: the items.
        plain: the question under its rules, but for their arrangement.
        ask: asks Triton.
    """
    place = assortment.place(asked.item)
    at = next((number for number, item in enumerate(asked.answer.items) if str(item.item_id) == asked.item), None)
    if place is None:
        return Explanation(
            UNKNOWN,
            "The catalogue of this export does not know the item.",
            "Export again once the item is in the log or the item table.",
        )
    kept_out = _kept_out(asked, assortment, place)
    if kept_out is not None:
        return kept_out
    only = np.ones(assortment.count, bool)
    only[place] = False
    found = await _asked(plain, ask, only, 1)
    if at is not None:
        item = asked.answer.items[at]
        brought = f" Brought by {' and '.join(item.retrievers)}." if item.retrievers else ""
        return Explanation(ANSWERED, f"{item.sentence}{brought}", rank=at + 1, score=item.score)
    if not found:
        return Explanation(
            LEFT_OUT,
            "The export leaves the item out for this shopper, who has bought or seen it (recommend.leave_out).",
            "Prepare and export with another recommend.leave_out.",
        )
    return await _ranked(asked, assortment, plain, ask, found[0])


def _kept_out(asked: Asked, assortment: Assortment, place: int) -> Explanation | None:
    """Return what the request or a rule does to the item before anything is searched."""
    if asked.item in asked.exclude:
        return Explanation(EXCLUDED, "The request excludes the item.", "Leave it out of `exclude`.")
    if asked.item in (*asked.rules.cart_items, *asked.cart):
        return Explanation(CART, "The item is in the cart.", "Take it out of the cart.")
    violated = assortment.violated(asked.rules, place)
    if violated:
        which = "it" if len(violated) == 1 else "each of these"
        change = f"Loosen {which}, or change the item."
        return Explanation(RULE, f"The item violates {'; '.join(violated)}.", change, violated=violated)
    return None


async def _ranked(asked: Asked, assortment: Assortment, plain: Plan, ask: Ask, own: Candidate) -> Explanation:
    """Explain by its place among all that may be answered."""
    seen: list[Candidate] = []
    barred = plain.masks[0].copy()
    most = plain.book.max_k
    while len(seen) < _MOST_PAGES * most:
        page = await _asked(plain, ask, barred, most)
        places = [item.place for item in page]
        if own.place in places:
            return _by_place(asked, assortment, len(seen) + places.index(own.place) + 1, own)
        if page and own.score > page[-1].score:
            return Explanation(
                RETRIEVAL,
                f"Retrieval does not hand the item to ranking, where its score of {own.score:.4g} would stand before others.",
                "Export with more evaluate.candidates.",
                score=own.score,
                needed=_needed(asked),
            )
        seen += page
        if len(page) < most:
            break
        barred[places] = True
    why = f"The item is not among the first {len(seen):,} by score."
    return Explanation(
        RANK, why, f"Ask for more items. {_raise(own, _needed(asked))}".strip(), score=own.score, needed=_needed(asked)
    )


def _by_place(asked: Asked, assortment: Assortment, rank: int, own: Candidate) -> Explanation:
    needed = _needed(asked)
    if asked.rules.arranges:
        what, change = _arranged(asked, assortment, own)
        return Explanation(ARRANGEMENT, f"The item is at place {rank:,} by score, and {what}.", change, rank, own.score, needed)
    why = f"The item is at place {rank:,} by score, and {asked.k:,} were asked for."
    return Explanation(RANK, why, f"Ask for k = {rank}. {_raise(own, needed)}".strip(), rank, own.score, needed)


def _arranged(asked: Asked, assortment: Assortment, own: Candidate) -> tuple[str, str]:
    """Return what keeps an item out that scores well enough, and the least change."""
    answered = [place for item in asked.answer.items if (place := assortment.place(str(item.item_id))) is not None]
    for name, field in ((CATEGORY, "max_per_category"), (BRAND, "max_per_brand")):
        most, group = getattr(asked.rules, field), assortment.text(name, own.place)
        if most and group and sum(assortment.text(name, place) == group for place in answered) >= most:
            return f"the answer holds {most} of {name} {group!r} already ({field})", f"Set {field} to {most + 1} or more."
    special = [str(item.item_id) for item in asked.answer.items if item.reason.name in ("PINNED", "PROMOTED")]
    if asked.rules.variety:
        return f"others are less like those before them (variety {asked.rules.variety:g})", "Set variety to 0, or lower."
    if special:
        return f"pinned and promoted items stand in its place: {', '.join(special)}", f"Ask for k = {asked.k + len(special)}."
    return "others stand before it", "Ask for more items."


def _needed(asked: Asked) -> float | None:
    return asked.answer.items[-1].score if len(asked.answer) == asked.k else None


def _raise(own: Candidate, needed: float | None) -> str:
    return "" if needed is None else f"Or its score of {own.score:.4g} must exceed {needed:.4g}."


async def _asked(plain: Plan, ask: Ask, barred: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], count: int) -> list[Candidate]:
    masks = [barred]
    request = replace(plain, masks=masks).base()(masks, count)
    return plain.candidates(InferResult(service_pb2.ModelInferResponse.FromString(await ask(request))), 0)
