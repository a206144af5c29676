"""Cart examples: lines, labels and censoring, by hand and against brute force."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from workflows.events.event_log import DAY_US, HOUR_US, code_events
from workflows.features import columns
from workflows.features.item import ItemHistory
from workflows.features.recompute import cart_lines
from workflows.features.shopper import ShopperFeatures
from workflows.settings import PrepareSettings
from workflows.tasks.cart import MAX_LINES, CartLog, cart_frame, choose_carts
from workflows.tasks.split import SPLITS, Split


def _rows(told: str) -> list[dict[str, object]]:
    """Read "hour kind item" triples parted by commas, all of one user."""
    kinds = {"+": "cart", "-": "remove_from_cart", "$": "purchase", "?": "view"}
    triples = [part.split() for part in told.split(",")]
    return [{"user_id": "a", "item_id": i, "event_type": kinds[k], "time": round(float(h) * HOUR_US)} for h, k, i in triples]


def _lines(events: pl.DataFrame, window: float) -> dict[float, dict[str, bool]]:
    log = code_events(events, ("cart",))
    carts = CartLog(log, window)
    found = carts.carts(*carts.anchors())
    lines: dict[float, dict[str, bool]] = {(at - 1) / HOUR_US: {} for at in found.anchor.tolist()}
    for cart, item, bought in zip(found.cart.tolist(), found.item.tolist(), found.bought.tolist(), strict=True):
        lines[(found.anchor[cart] - 1) / HOUR_US][log.items[item]] = bought
    return lines


def test_a_cart_holds_what_was_added_lately_and_neither_bought_nor_removed(event_maker: Callable[..., pl.DataFrame]) -> None:
    events = event_maker(_rows("0 + x, 1 + y, 2 - x, 3 + z, 4 $ y, 5 + w, 6 ? w, 12 + v"))
    assert _lines(events, 8) == {
        0: {"x": False},
        1: {"y": True, "x": False},
        3: {"z": False, "y": True},
        5: {"w": False, "z": False},
        12: {"v": False, "w": False},
    }


def test_added_again_is_one_line_and_the_window_ends_sharply(event_maker: Callable[..., pl.DataFrame]) -> None:
    events = event_maker(_rows("0 + x, 3 + x, 4 + y, 14 $ x, 14.00000001 $ y"))
    assert _lines(events, 10) == {0: {"x": False}, 3: {"x": False}, 4: {"y": False, "x": True}}


def test_a_log_without_adds_has_neither_carts_nor_lines(event_maker: Callable[..., pl.DataFrame]) -> None:
    carts = CartLog(code_events(event_maker(_rows("0 ? x, 1 $ x")), ("view",)), 8)
    found = carts.carts(*carts.anchors())
    assert [len(part) for part in (found.key, found.anchor, found.cart, found.item, found.bought)] == [0] * 5


def test_lines_and_labels_equal_brute_force(log_maker: Callable[..., pl.DataFrame], shop_settings: PrepareSettings) -> None:
    events = log_maker(1200, seed=11, users=12, days=6.0)
    log = code_events(events, shop_settings.interaction_types)
    carts = CartLog(log, shop_settings.cart_window_hours)
    found = carts.carts(*carts.anchors())
    name = pl.coalesce("user_id", pl.lit("session:") + pl.col("session_id"))
    timed = events.with_columns(pl.col("timestamp").dt.epoch("us").alias("time"), name.alias("key"))
    of_key = {key[0]: part.to_dicts() for key, part in timed.partition_by("key", as_dict=True, maintain_order=True).items()}
    longest = 0
    for cart in range(len(found.key)):
        lines = found.cart == cart
        listed = dict(zip(log.items.gather(found.item[lines]), found.bought[lines].tolist(), strict=True))
        expected = cart_lines(of_key[log.keys[int(found.key[cart])]], int(found.anchor[cart]), shop_settings)
        assert list(listed.items()) == list(expected.items())
        longest = max(longest, len(listed))
    assert longest > 3
    assert found.bought.any()


def test_many_lines_are_cut_to_the_latest_but_counted_whole(event_maker: Callable[..., pl.DataFrame]) -> None:
    rows = _rows(", ".join(f"{n / 10} + i{n:02}" for n in range(30)) + ", 3 $ i29")
    for row in rows:
        row["price"] = 2.0
    priced = [{"user_id": "b", "item_id": f"i{n:02}", "event_type": "view", "time": -DAY_US, "price": 2.0} for n in range(30)]
    log = code_events(event_maker(priced + rows), ("cart", "purchase"))
    carts = CartLog(log, 24)
    key, anchor = carts.anchors()
    settings = PrepareSettings()
    history, items = ShopperFeatures(log, 30, 20), ItemHistory(log, 7)
    table = cart_frame(log, history, items, carts.carts(key[-1:], anchor[-1:]), settings)
    assert table["item_id"].to_list() == [f"i{n:02}" for n in range(29, 29 - MAX_LINES, -1)]
    assert table["cart_lines"].unique().to_list() == [30]
    assert table["cart_value"].unique().to_list() == [60]
    assert table["label"].to_list() == [1] + [0] * (MAX_LINES - 1)
    assert table["cart_label"].unique().to_list() == [1]
    assert table["user_carts"].unique().to_list() == [30]
    few = cart_frame(log, history, items, carts.carts(key, anchor), settings, max_rows=45)
    assert len(few) == 40
    assert few["anchor"].min() == few["anchor"].unique().sort()[-2]


def test_carts_whose_window_passes_the_split_are_censored() -> None:
    anchor = np.array([0, 5, 10, 15, 19, 20, 25, 26, 29, 30])
    split = Split(t_valid=10, t_test=20, end=30)
    settings = PrepareSettings()
    kept = {
        name: choose_carts(np.zeros(10, dtype=np.int64), anchor, 4, split, name, settings, np.random.default_rng(0))
        for name in SPLITS
    }
    assert {name: found[1].tolist() for name, found in kept.items()} == {"train": [0, 5], "valid": [10, 15], "test": [20, 25]}
    assert {name: found[2] for name, found in kept.items()} == {"train": 0, "valid": 1, "test": 3}


def test_the_file_has_every_column_and_ids_of_its_own(shop_run: Path) -> None:
    for name in SPLITS:
        table = pl.read_parquet(shop_run / "examples" / name / "cart.parquet")
        head, tail = ["cart_id", "user_key", "anchor"], ["label", "cart_label"]
        assert table.columns == [*head, *columns.QUERY_SCALARS, *columns.ITEM, *columns.CROSS, *columns.CART, *tail]
        per_cart = table.group_by("cart_id").agg(
            pl.col("label").max(), pl.col("cart_label").unique(), pl.len(), pl.col("cart_lines").first()
        )
        assert per_cart.select((pl.col("cart_label").list.first() == pl.col("label")).all()).item()
        assert per_cart.select((pl.col("len") == pl.col("cart_lines").clip(upper_bound=MAX_LINES)).all()).item()
        assert table["label"].n_unique() == 2
