"""Examples of the task "cart": which lines of a cart, as it stood just after something was added to it, get bought."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from workflows.events.asof import AsOf, Bools, Ints, expand, parts_of
from workflows.events.event_log import HOUR_US, EventLog, float32, instants
from workflows.features.item import ItemHistory, state_instant
from workflows.features.shopper import Queries, ShopperFeatures
from workflows.settings import PrepareSettings
from workflows.tasks.ranking import cross_frame
from workflows.tasks.split import Split, SplitName

MAX_LINES = 20
"""Lines of a cart that become examples, the latest added; ``cart_lines`` and ``cart_value`` count them all."""
_PAIRS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Carts:
    """Carts at their anchors and the lines in them.

    Attributes:
        key: int64 [C], history key.
        anchor: int64 [C], one microsecond after the event that added to the cart.
        cart: int64 [N], the cart of each line.
        item: int64 [N], the item of each line; lines of a cart are ordered latest added first.
        bought: bool [N], whether the key buys the item within the window after the anchor.
    """

    key: Ints
    anchor: Ints
    cart: Ints
    item: Ints
    bought: Bools


class CartLog:
    """The events that touch a cart (add, remove, buy), in time order for each key.

    A line is an item whose latest touch by the key strictly before the anchor is an add no older than the window. Touches at one
    instant are taken in file order.

    Args:
        log: the coded events.
        window_hours: how long an added item stays a line, and how long after the anchor its purchase counts.
    """

    def __init__(self, log: EventLog, window_hours: float) -> None:
        added, bought = log.is_kind("cart"), log.is_kind("purchase")
        rows = np.flatnonzero(added | bought | log.is_kind("remove_from_cart"))
        self._key, self._item, self._time, self._added = log.key[rows], log.item[rows], log.time[rows], added[rows]
        self._width = len(log.items)
        self.window_us = round(window_hours * HOUR_US)
        self._as_of = AsOf(self._key, self._time)
        self._next_touch = self._find_next_touch()
        buys = np.flatnonzero(bought)
        pair = log.key[buys] * self._width + log.item[buys]
        order = np.lexsort((log.time[buys], pair))
        self._purchases = AsOf(pair[order], log.time[buys][order])

    def anchors(self) -> tuple[Ints, Ints]:
        """Return ``(key, anchor)`` of every add, int64 [C] each, adds at one instant being one; sorted by (anchor, key)."""
        key, time = self._key[self._added], self._time[self._added]
        order = np.lexsort((key, time))
        key, time = key[order], time[order]
        fresh = np.ones(len(key), dtype=bool)
        fresh[1:] = (np.diff(key) != 0) | (np.diff(time) != 0)
        return key[fresh], time[fresh] + 1

    def carts(self, key: Ints, anchor: Ints) -> Carts:
        """Find the lines of each cart and which of them get bought.

        Args:
            key: int64 [C].
            anchor: int64 [C], microseconds.
        """
        found = list(self._lines(key, anchor))
        cart = np.concatenate([part[0] for part in found]) if found else np.empty(0, dtype=np.int64)
        item = np.concatenate([part[1] for part in found]) if found else np.empty(0, dtype=np.int64)
        pair, after = key[cart] * self._width + item, anchor[cart] + 1
        bought = self._purchases.count(pair, after + self.window_us) > self._purchases.count(pair, after)
        return Carts(key, anchor, cart, item, bought)

    def _lines(self, key: Ints, anchor: Ints) -> Iterator[tuple[Ints, Ints]]:
        stop = self._as_of.bounds(key, anchor)[1]
        start = self._as_of.bounds(key, anchor - self.window_us)[1]
        for carts in parts_of(stop - start, _PAIRS_AT_ONCE):
            cart, row = expand(start[carts], stop[carts])
            line = self._added[row] & (self._next_touch[row] >= stop[carts][cart])
            cart, row = carts[cart[line]], row[line]
            latest_first = np.lexsort((-row, cart))
            yield cart[latest_first], self._item[row[latest_first]]

    def _find_next_touch(self) -> Ints:
        order = np.lexsort((np.arange(len(self._key)), self._item, self._key))
        following = np.full(len(order), len(order), dtype=np.int64)
        same = (np.diff(self._key[order]) == 0) & (np.diff(self._item[order]) == 0)
        following[order[:-1][same]] = order[1:][same]
        return following


def choose_carts(
    key: Ints,
    anchor: Ints,
    window_us: int,
    split: Split,
    name: SplitName,
    settings: PrepareSettings,
    rng: np.random.Generator,
) -> tuple[Ints, Ints, int]:
    """Choose the carts of a split: the latest for training, a sample elsewhere.

    A cart whose label window passes the end of its split is censored: whether its lines get bought is not known by then.

    Returns:
        ``(key, anchor)`` of the chosen carts, sorted by anchor, and how many carts are censored.
    """
    inside = split.mask(name, anchor)
    whole = inside & (anchor + window_us < split.end_of(name))
    rows = np.flatnonzero(whole)
    if name == "train":
        rows = rows[-settings.max_train_examples :]
    else:
        rows = np.sort(rng.choice(rows, size=min(len(rows), settings.max_eval_anchors), replace=False))
    return key[rows], anchor[rows], int(inside.sum() - whole.sum())


def cart_frame(
    log: EventLog,
    history: ShopperFeatures,
    items: ItemHistory,
    carts: Carts,
    settings: PrepareSettings,
    *,
    max_rows: int | None = None,
) -> pl.DataFrame:
    """Write the lines of carts as the log has them: with the whole history of the shopper up to the anchor; see ``line_frame``."""
    queries = history.queries(carts.key, carts.anchor)
    return line_frame(log, history, items, carts, queries, settings, max_rows=max_rows)[0]


def line_frame(
    log: EventLog,
    history: ShopperFeatures,
    items: ItemHistory,
    carts: Carts,
    queries: Queries,
    settings: PrepareSettings,
    *,
    max_rows: int | None = None,
) -> tuple[pl.DataFrame, Ints]:
    """Write the lines of carts as a frame, carts in order of their anchors.

    Args:
        log: the coded events.
        history: what the recent items of ``queries`` are rows of.
        items: the item statistics.
        carts: the carts and all their lines.
        queries: what is known of the shopper of each cart, [C].
        settings: how item statistics are refreshed.
        max_rows: keep the latest carts that fit into so many rows; None keeps all.

    Returns:
        ``cart_id``, ``user_key``, ``anchor``, query scalars, item columns (of the line), cross columns, ``cart_lines``,
        ``cart_value``, ``label``, ``cart_label`` (whether any line of the cart that is in the frame gets bought); and the cart of each
        row, int64.
    """
    count = len(carts.key)
    lines = np.bincount(carts.cart, minlength=count)
    state = items.arrays(carts.item, state_instant(carts.anchor, settings.state_minutes)[carts.cart])
    value = np.bincount(carts.cart, weights=np.nan_to_num(state["item_price"], nan=0.0), minlength=count)
    place = np.arange(len(carts.cart)) - (np.cumsum(lines) - lines)[carts.cart]
    kept = place < MAX_LINES
    if max_rows is not None:
        from_the_end = np.cumsum(np.minimum(lines, MAX_LINES)[::-1])[::-1]
        kept &= from_the_end[carts.cart] <= max_rows
    cart, item, bought = carts.cart[kept], carts.item[kept], carts.bought[kept]
    state = {name: values[kept] for name, values in state.items()}
    head = pl.DataFrame({"user_key": log.keys.gather(carts.key), "anchor": instants(carts.anchor)}).select(
        pl.format("{}@{}", "user_key", pl.col("anchor").dt.epoch("us")).alias("cart_id"), "user_key", "anchor"
    )
    query_frame = head.hstack(history.frame(queries, lists=False))[cart]
    any_bought = np.bincount(cart, weights=bought, minlength=count)[cart] > 0
    tail = pl.DataFrame(
        {
            "cart_lines": float32(lines[cart].astype(np.float64)),
            "cart_value": float32(value[cart]),
            "label": pl.Series(values=bought.astype(np.int8), dtype=pl.Int8),
            "cart_label": pl.Series(values=any_bought.astype(np.int8), dtype=pl.Int8),
        }
    )
    return query_frame.hstack(items.frame(item, state)).hstack(cross_frame(history, queries, cart, state)).hstack(tail), cart
