"""Frequencies count training events, not mentions, and the order of ids does not depend on the order of rows."""

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from workflows.encoding.vocabulary import choose, choose_vocabularies, count_items, count_users
from workflows.settings import FeatureSettings

ROW = st.tuples(st.sampled_from("xyz"), st.sampled_from("abcd"), st.lists(st.sampled_from("abcde"), unique=True, max_size=3))


def examples(rows: list[tuple[str, str, list[str]]]) -> pl.DataFrame:
    columns = {"user_key": pl.String, "item_id": pl.String, "recent_items": pl.List(pl.String)}
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    return frame.with_columns(
        user_id="user_key",
        item_category=pl.lit(""),
        item_brand=pl.lit("b"),
        recent_categories=pl.col("recent_items").list.eval(pl.element() + "!"),
        recent_brands=pl.col("recent_items").list.eval(pl.lit("")),
    )


def counts(frame: pl.DataFrame) -> dict[str, int]:
    return dict(frame.select("value", "count").iter_rows())


def test_an_item_recalled_often_was_still_seen_once() -> None:
    frame = examples([("x", "a", []), ("x", "b", ["a"]), ("x", "c", ["a", "b"]), ("y", "b", ["e"]), ("y", "b", ["e", "b"])])
    assert counts(count_items(frame)) == {"a": 1, "b": 3, "c": 1, "e": 1}
    assert counts(count_users(frame)) == {"x": 3, "y": 2}


@given(st.lists(ROW, min_size=1, max_size=12))
def test_items_count_targets_and_shoppers_who_only_recall_them(rows: list[tuple[str, str, list[str]]]) -> None:
    expected: dict[str, int] = {}
    for _, target, _ in rows:
        expected[target] = expected.get(target, 0) + 1
    targets = {(user, target) for user, target, _ in rows}
    for user, recalled in sorted({(user, recent) for user, _, recents in rows for recent in recents} - targets):
        assert user
        expected[recalled] = expected.get(recalled, 0) + 1
    assert counts(count_items(examples(rows))) == expected


@given(st.lists(ROW, min_size=1, max_size=12), st.randoms())
def test_ids_do_not_depend_on_the_order_of_rows(rows: list[tuple[str, str, list[str]]], random: object) -> None:
    first = choose_vocabularies(examples(rows), FeatureSettings())
    random.shuffle(rows)  # type: ignore[attr-defined]
    assert choose_vocabularies(examples(rows), FeatureSettings()) == first


def test_rare_values_are_left_out_and_equals_are_in_order() -> None:
    frame = pl.DataFrame({"value": ["b", "a", "z", "rare"], "count": [2, 2, 5, 1]})
    assert choose(frame, 2) == ["z", "a", "b"]
    assert choose(frame, 0) == ["z", "a", "b", "rare"]
    assert choose(frame, 9) == ["z"]


def test_blanks_are_a_category_of_items_but_not_of_recent_ones() -> None:
    vocabularies = choose_vocabularies(examples([("x", "a", ["b"]), ("y", "a", [])]), FeatureSettings())
    assert vocabularies["item_category"] == ["", "b!"]
    assert vocabularies["item_brand"] == ["b"]
