"""What may lie on both sides of a split instant, and what may not.

An example, a label and its window lie on one side: the same example in two splits is a leak. A session that goes on across the split
instant is none. Time cuts it where it cuts everything: the later examples look back on the earlier events, as they would when served,
and no training label is an event from the split instant on. But the examples of one session are of one intent, so those after the
instant are easier for a model that learnt from those before it, and less independent than their number says. How many there are is
counted and told; an analyst who wants none of them cuts the log between sessions.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from cartwheel.core.errors import LeakageError
from workflows.audit.event_index import FIX, EventIndex, Table, Tables, file_of, height, read
from workflows.events.event_log import HOUR_US
from workflows.events.sessions import with_sessions
from workflows.settings import PrepareSettings
from workflows.tasks.cart_requests import CART_REQUESTS
from workflows.tasks.recommend import REFIT
from workflows.tasks.recommend_requests import RECOMMEND_REQUESTS
from workflows.tasks.split import SPLITS, Split, SplitName, iso

_IDENTITIES: Final = (
    ("recommend", ("example_id",)),
    ("recommend", ("user_key", "anchor", "item_id")),
    (RECOMMEND_REQUESTS, ("example_id", "form")),
    (RECOMMEND_REQUESTS, ("user_key", "anchor", "form", "item_id")),
    (REFIT, ("example_id",)),
    (REFIT, ("user_key", "anchor", "item_id")),
    ("ranking", ("example_id", "item_id")),
    ("cart", ("cart_id", "item_id")),
    ("cart", ("user_key", "anchor", "item_id")),
    (CART_REQUESTS, ("cart_id", "item_id")),
    (CART_REQUESTS, ("user_key", "anchor", "form", "item_id")),
)
"""Task -> what names one of its rows: by its event, and by who turned to what when."""
_LONG_SESSIONS: Final = 0.5


def check_split_order(tables: Tables, split: Split, settings: PrepareSettings) -> int:
    """Check that every anchor lies in its split and that no label window of a cart ends after it.

    Returns:
        How many rows were looked at.

    Raises:
        LeakageError: an example reaches into another split.
    """
    if not split.t_valid < split.t_test:
        raise LeakageError(f"t_valid {iso(split.t_valid)} is not before t_test {iso(split.t_test)}.", FIX)
    for (name, task), table in tables.items():
        anchors = read(table, "anchor")["anchor"].dt.epoch("us").to_numpy()
        outside = ~split.mask(name, anchors)
        if outside.any():
            raise LeakageError(
                f"{file_of((name, task))}: {int(outside.sum())} anchors lie outside the split, the first, in row "
                f"{int(outside.argmax()) + 1}, at {iso(int(anchors[outside][0]))}; {name} ends before {iso(split.end_of(name))}.",
                FIX,
            )
        ends = anchors + round(settings.cart_window_hours * HOUR_US)
        if task in {"cart", CART_REQUESTS} and (ends >= split.end_of(name)).any():
            raise LeakageError(
                f"{file_of((name, task))}, row {int(ends.argmax()) + 1}: a label window ends at {iso(int(ends.max()))}, after the "
                f"end of the split {iso(split.end_of(name))}.",
                FIX,
            )
    return sum(height(table) for table in tables.values())


def check_duplicates(tables: Tables) -> int:
    """Check that no recommend example, no pair and no cart line is there twice, in one split or in two.

    Rows are the same if they come from the same event, and also if the same shopper turned to the same item at the same instant.

    Returns:
        How many rows were looked at.

    Raises:
        LeakageError: it names the example, and the splits that have it.
    """
    for task, identity in _IDENTITIES:
        of_task = {name: table for (name, other), table in tables.items() if other == task}
        if not of_task:
            continue
        together = pl.concat(
            [read(table, *identity).with_columns(pl.lit(name).alias("_split")) for name, table in of_task.items()]
        )
        twice = together.filter(together.select(identity).is_duplicated())
        if not twice.is_empty():
            first = twice.row(0, named=True)
            same = pl.all_horizontal(pl.col(column).eq_missing(pl.lit(first[column])) for column in identity)
            where = " and ".join(twice.filter(same)["_split"].unique(maintain_order=True))
            told = ", ".join(f"{column} {first[column]}" for column in identity)
            raise LeakageError(
                f"examples/*/{task}.parquet: the example with {told} is there more than once, in {where}; "
                f"{twice.height} rows are not the only ones of their kind.",
                FIX,
            )
    return sum(height(table) for table in tables.values())


def count_crossing_sessions(tables: Tables, log: EventIndex, settings: PrepareSettings) -> tuple[dict[str, int], list[str]]:
    """Count the sessions that have examples in several splits; see the module for why that is no leak.

    Args:
        tables: the example tables; those of recommend and cart are looked at, since pairs have the sessions of their examples.
        log: the events.
        settings: the pause that ends a session where the log names none.

    Returns:
        ``sessions_across_splits`` and, for ``valid`` and ``test``, ``examples_of_earlier_sessions_<split>``: examples whose session an
        earlier split has examples of; and a warning where there are any.
    """
    named = log.frame.select("user_key", "time").with_columns(
        with_sessions(log.canonical, settings.session_gap_minutes)["session_id"].alias("session")
    )
    parts = [
        _sessions(table, task, named).select("user_key", "session", pl.lit(SPLITS.index(name)).alias("split"))
        for (name, task), table in tables.items()
        if task in {"recommend", "cart"}
    ]
    counts = {"sessions_across_splits": 0, **{f"examples_of_earlier_sessions_{name}": 0 for name in SPLITS[1:]}}
    if not parts:
        return counts, []
    rows = pl.concat(parts)
    rows = rows.with_columns(pl.col("split").min().over("user_key", "session").alias("first"))
    later = rows.filter(pl.col("split") > pl.col("first"))
    counts["sessions_across_splits"] = later.select("user_key", "session").n_unique()
    shares = []
    for name in SPLITS[1:]:
        of_split = rows.filter(pl.col("split") == SPLITS.index(name)).height
        continued = later.filter(pl.col("split") == SPLITS.index(name)).height
        counts[f"examples_of_earlier_sessions_{name}"] = continued
        shares.append((name, continued, of_split))
    return counts, _warn_of_crossing(counts["sessions_across_splits"], shares)


def _sessions(table: Table, task: str, named: pl.DataFrame) -> pl.DataFrame:
    """Return ``user_key`` and ``session`` of each example of a table."""
    if task == "recommend":
        return named[read(table, "example_id")["example_id"]]
    # The anchor of a cart is the microsecond after the add.
    carts = read(table, "cart_id", "user_key", "anchor").unique("cart_id")
    carts = carts.select("user_key", (pl.col("anchor").dt.epoch("us") - 1).alias("time"))
    return carts.join(named.unique(["user_key", "time"], keep="last", maintain_order=True), on=["user_key", "time"])


def _warn_of_crossing(sessions: int, shares: list[tuple[SplitName, int, int]]) -> list[str]:
    if not sessions:
        return []
    told = " and ".join(f"{continued} of the {rows} {name} examples" for name, continued, rows in shares)
    warning = (
        f"{sessions} sessions go on across a split instant: {told} (carts counted as well) belong to sessions of which an earlier "
        f"split has examples. They look at nothing from their anchors on, so this is no leak, but they are not independent of what "
        f"was trained on."
    )
    if any(continued > _LONG_SESSIONS * rows for _, continued, rows in shares):
        warning += (
            " So many mean that session_id names something longer than a visit: leave it unmapped to find visits by pauses."
        )
    return [warning]
