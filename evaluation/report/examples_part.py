"""The part of the page that shows what was recommended to some shoppers."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.report.details import NO_DETAILS, Details, Example, Item
from evaluation.report.html import Html, tag


def examples(details: Details | None) -> list[Html]:
    """Return what was recommended to some shoppers."""
    if details is None:
        return [tag("p", NO_DETAILS, class_="missing")]
    if not details.examples:
        return [tag("p", "No anchor of the test split has a true item, so there are no examples.", class_="missing")]
    intro = "A random sample of the test split: first moments with a hit, then without. Marked items are hits."
    return [
        tag("p", intro),
        tag("div", [_example(each, number) for number, each in enumerate(details.examples, 1)], class_="examples"),
    ]


def _example(each: Example, number: int) -> Html:
    hits = set(each.hits)
    return tag(
        "article",
        tag("h4", f"Moment {number}: ", f"{len(hits)} of the first {len(each.recommended)} are hits" if hits else "no hit"),
        tag(
            "div",
            tag("div", tag("h5", "Recent items"), _items(each.recent, set(), "nothing yet")),
            tag("div", tag("h5", "Recommended"), _items(each.recommended, hits, "nothing", ordered=True)),
            tag("div", tag("h5", "True items"), _items(each.turned_to, hits, "nothing")),
            class_="columns",
        ),
        class_="card",
    )


def _items(items: Sequence[Item], hits: set[str], none: str, *, ordered: bool = False) -> Html:
    if not items:
        return tag("p", none, class_="note")
    return tag("ol" if ordered else "ul", [_item(item, hit=item.item_id in hits) for item in items], class_="items")


def _item(item: Item, *, hit: bool) -> Html:
    facts = [item.category, item.brand, None if item.price is None else f"{item.price:,.2f}"]
    told = ", ".join(fact for fact in facts if fact)
    if item.interactions == 0:
        told = ", ".join(part for part in (told, "not sold before the split") if part)
    return tag("li", tag("b", item.title or item.item_id), tag("small", told), class_="hit" if hit else None)
