"""Filters over item columns: what they let pass, held against plain Python, and how they refuse what they do not know."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cartwheel.core.errors import UsageError
from serving.rules.expression import Column, Expression, Names, Texts

PRICES = [9.5, 20.0, math.nan, 35.0]
BRANDS = ["x", "y", "", "x"]
LABELS = [["new"], ["new", "red"], [], ["red"]]


def columns() -> dict[str, Column]:
    words = ("", "x", "y")
    pairs = [(item, ("new", "red").index(name)) for item, names in enumerate(LABELS) for name in names]
    items, codes = np.array(pairs, np.int32).T
    return {
        "price": np.array(PRICES),
        "size": np.array([1.0, 2.0, 3.0, math.nan]),
        "brand": Texts(np.array([words.index(brand) for brand in BRANDS], np.int32), words),
        "maker": Texts(np.array([1, 1, 0, 2], np.int32), ("", "y", "x")),
        "sale": np.array([1.0, 0.0, math.nan, 1.0]),
        "labels": Names(items, codes, ("new", "red"), 4),
    }


def passing(text: str) -> list[int]:
    return np.flatnonzero(Expression.parsed(text).passing(columns(), 4)).tolist()


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("price < 20", [0]),
        ("10 <= price <= 35", [1, 3]),
        ("price != 20", [0, 3]),  # what is not known satisfies no comparison
        ("not price < 20", [1, 2, 3]),
        ("price is None", [2]),
        ("price is not None and size is not None", [0, 1]),
        ("price / size > 9.9 or size == 3", [1, 2]),
        ("price - -1 > 2 * 10 + 0.5", [1, 3]),
        ("price / 0 > 1", []),
        ('brand == "x" and not price > 20', [0]),
        ('brand in ("x", "z")', [0, 3]),
        ('brand not in ["x"]', [1, 2]),
        ('brand == ""', [2]),
        ("brand is None", [2]),
        ("brand == maker", [1, 2, 3]),
        ('"x" == brand', [0, 3]),
        ("price in {20, 35}", [1, 3]),
        ("sale", [0, 3]),
        ("sale == True", [0, 3]),
        ("not sale", [1, 2]),
        ('"new" in labels', [0, 1]),
        ('"blue" not in labels', [0, 1, 2, 3]),
        ("labels is None", [2]),
        ("True", [0, 1, 2, 3]),
        ("1 == 2", []),
    ],
)
def test_what_passes(text: str, items: list[int]) -> None:
    assert passing(text) == items


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("pric < 20", r"names the column 'pric', which items do not have\. Did you mean 'price'\? There are brand, labels"),
        ("price <", "which is not an expression"),
        ("__import__('os').system('true')", "which filters do not know"),
        ("price.real > 1", "which filters do not know"),
        ("[x for x in labels]", "which filters do not know"),
        ("lambda: 1", "which filters do not know"),
        ("price ** 2 > 1", "which filters do not know"),
        ("f'{price}' == 'x'", "which filters do not know"),
        ('price == "20"', "compares a number with a text"),
        ('brand < "x"', "orders texts"),
        ("brand", "is neither true nor false"),
        ("brand + 1 > 2", "is a text, with which one cannot reckon"),
        ("brand in (1, 2)", "looks for a text among values of another kind"),
        ("price in (size, 2)", "something else than values"),
        ("price in brand", "uses `in` with neither"),
        ("price is 3", "only None may follow"),
        ("price == None", "write `column is None`"),
        ("price < 1e999", "too large a number"),
        ("b'x' == brand", "values are numbers, strings"),
        ("price < 1j", "values are numbers, strings"),
        ("not " * 1100 + "sale", "the limit is 4,096"),
        ("(" * 300 + "sale" + ")" * 300, "not an expression"),
        ("1<" * 600 + "2", "the limit is 1,000"),
        ("price < 20; 1", "not an expression"),
    ],
)
def test_what_is_no_filter_is_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        passing(text)
    assert "\n" not in str(caught.value)


atoms = st.sampled_from(["price < 20", "20 <= price", "size == 2", 'brand == "x"', 'brand in ("y", "")', "sale", "price is None"])
filters: st.SearchStrategy[str] = st.recursive(
    atoms,
    lambda inner: st.builds("({}) {} ({})".format, inner, st.sampled_from(["and", "or"]), inner) | inner.map("not ({})".format),
    max_leaves=8,
)


class _Unknown(float):
    """A number that satisfies no comparison, for plain Python."""

    __hash__ = None  # type: ignore[assignment]

    def __ne__(self, _other: object) -> bool:
        return False


@settings(deadline=None, max_examples=150)
@given(text=filters)
def test_a_filter_means_what_it_means_in_python(text: str) -> None:
    sizes, sales = [1.0, 2.0, 3.0, math.nan], [True, False, False, True]
    kept = []
    for item in range(4):
        price: Any = None if math.isnan(PRICES[item]) else PRICES[item]
        names = {
            "price": _Unknown("nan") if price is None else price,
            "size": sizes[item],
            "brand": BRANDS[item],
            "sale": sales[item],
        }
        if eval(text.replace("price is None", str(price is None)), {"__builtins__": {}}, names):
            kept.append(item)
    assert passing(text) == kept


@settings(deadline=None, max_examples=200)
@given(
    text=st.text(max_size=40)
    | st.lists(st.sampled_from([*"()[]<>=!,.+-*/", "price", "and", "not", "in", "is", "1", "'x'"]), max_size=12).map(" ".join)
)
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        found = Expression.parsed(text).passing(columns(), 4)
    except UsageError:
        return
    assert found.shape == (4,)
