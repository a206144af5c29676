"""Markup that escapes what it is given: a text becomes markup only by passing through ``tag`` or by being ``Html`` already."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Union

VOID = frozenset({"meta", "br", "hr"})


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Child = Union[str, int, None, "Iterable[Child]"]


def tag(name: str, /, *children: Child, **attributes: str | int | None) -> Html:
    """Return an element.

    Args:
        name: of the element.
        children: texts, which are escaped, markup, or iterables of both; None is left out.
        attributes: ``class_`` means ``class``, an underscore within a name a hyphen; None is left out.

    >>> tag("p", "1 < 2, ", tag("b", "yes"), class_="note")
    '<p class="note">1 &lt; 2, <b>yes</b></p>'
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Html(f"<{name}{told}>")
    return Html(f"<{name}{told}>{markup(children)}</{name}>")


def markup(child: Child) -> Html:
    """Return a child as markup.

    >>> markup(["a & b", tag("br"), None])
    'a &amp; b<br>'
    """
    if child is None:
        return Html("")
    if isinstance(child, Html):
        return child
    if isinstance(child, str | int):
        return Html(html.escape(str(child), quote=False))
    return Html("".join(markup(each) for each in child))


def table(head: Iterable[Child], rows: Iterable[Iterable[Child]], *, numbers_from: int = 1, class_: str | None = None) -> Html:
    """Return a table; columns from ``numbers_from`` on are numbers, which stand right. A row may be a finished ``tr``."""
    body = [row if isinstance(row, Html) else tag("tr", cells(row, "td", numbers_from)) for row in rows]
    top = tag("thead", tag("tr", cells(head, "th", numbers_from)))
    return tag("div", tag("table", top, tag("tbody", body), class_=class_), class_="scroll")


def cells(values: Iterable[Child], kind: str = "td", numbers_from: int = 1) -> list[Html]:
    """Return the cells of one row."""
    return [tag(kind, value, class_="number" if place >= numbers_from else None) for place, value in enumerate(values)]


def paragraphs(texts: Iterable[str], class_: str | None = None) -> list[Html]:
    """Return one paragraph a text."""
    return [tag("p", text, class_=class_) for text in texts]
