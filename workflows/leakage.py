"""The leakage audit: no example may have looked at its own future. It runs in every prepare and fails the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl

from cartwheel.errors import LeakageError
from workflows.brute_force import Event, cart_lines, cross_columns, item_features, query_features, recommend_truth
from workflows.event_log import ANONYMOUS_PREFIX, HOUR_US, MINUTE_US
from workflows.settings import PrepareSettings
from workflows.split import Split, SplitName, iso

Tables = Mapping[tuple[SplitName, str], pl.DataFrame]
"""Example tables by (split, task): tasks are recommend, ranking and cart."""

SAMPLE = 200
"""Rows that are computed again, spread over the tables; but at least ``MIN_ROWS_OF_A_TABLE`` of each."""
MIN_ROWS_OF_A_TABLE = 20
_ROWS_WITH_PEERS = 5
MAX_AUC = 0.99
MIN_AUC_ROWS = 200
_AUC_ROWS = 100_000
_TOLERANCE = 1e-5
_NOT_FEATURES: Final = {"example_id", "label", "cart_label"}
_FIX = "This is a fault in how the examples were made, not in your events: report it, and do not train on them."


def audit(tables: Tables, events: pl.DataFrame, split: Split, settings: PrepareSettings, seed: int) -> dict[str, int]:
    """Run every check on the examples of a run.

    Args:
        tables: the example tables.
        events: the canonical events that they were made from, in file order.
        split: the split instants.
        settings: how the examples were made.
        seed: picks the examples that are computed again.

    Returns:
        How many rows each check looked at.

    Raises:
        LeakageError: a check failed; the message names the file, the column and the example.
    """
    return {
        "rows_in_time_order": check_split_order(tables, split, settings),
        "rows_recomputed": check_features(tables, events, split, settings, seed),
        "rows_against_single_features": sum(check_single_features(table, name) for name, table in tables.items()),
        "rows_without_duplicates": check_duplicates(tables),
    }


def check_features(tables: Tables, events: pl.DataFrame, split: Split, settings: PrepareSettings, seed: int) -> int:
    """Compute a sample of rows again, by brute force over events strictly before their anchors, and compare.

    Args:
        tables: the example tables.
        events: canonical events in file order.
        split: the split instants.
        settings: how the examples were made.
        seed: picks the rows.

    Returns:
        How many rows were compared.

    Raises:
        LeakageError: a value differs from what the events before the anchor give.
    """
    log = _EventIndex(events)
    size = max(SAMPLE // max(len(tables), 1), MIN_ROWS_OF_A_TABLE)
    compared = 0
    for number, (name, table) in enumerate(tables.items()):
        rng = np.random.default_rng([seed, number])
        chosen = rng.choice(len(table), size=min(size, len(table)), replace=False)
        sample = log.with_keys(table[chosen]).with_columns(pl.col("anchor").dt.epoch("us").alias("_anchor"))
        for place, row in enumerate(sample.iter_rows(named=True)):
            _compare(row, log, split, settings, name, with_peers=place < _ROWS_WITH_PEERS)
        compared += len(sample)
    return compared


def _compare(
    row: dict[str, Any],
    log: _EventIndex,
    split: Split,
    settings: PrepareSettings,
    name: tuple[SplitName, str],
    *,
    with_peers: bool,
) -> None:
    """Compare one row with brute force; the price ratio, which looks at a whole category, only where ``with_peers``."""
    own, anchor = log.of_key(row["user_key"]), row["_anchor"]
    query = query_features(own, anchor, settings)
    instant = anchor // (settings.state_minutes * MINUTE_US) * settings.state_minutes * MINUTE_US
    related = log.of_item(row["item_id"]) + (log.peers(row["item_id"], instant) if with_peers else [])
    item = item_features(row["item_id"], related, instant, settings)
    expected = query | item | cross_columns(query, item) | _labels(row, own, split, settings, name)
    if not with_peers:
        del expected["item_price_ratio"]
    for column, value in expected.items():
        if column in row and not _same(row[column], value):
            raise LeakageError(
                f"examples/{name[0]}/{name[1]}.parquet, column {column}: the example of {row['user_key']} at {iso(anchor)} "
                f"(item {row['item_id']}) has {row[column]!r}, but the events that it may look at give {value!r}.",
                _FIX,
            )


def _labels(
    row: dict[str, Any], own: list[Event], split: Split, settings: PrepareSettings, name: tuple[SplitName, str]
) -> dict[str, Any]:
    """What the labels of an example must be, by column."""
    if name[1] == "cart":
        return {"label": int(cart_lines(own, row["_anchor"], settings).get(row["item_id"], -1))}
    # A view beside a removal at one instant says nothing of the removed item: only interactions are targets.
    at_anchor = {e["item_id"] for e in own if e["time"] == row["_anchor"] and e["event_type"] in settings.interaction_types}
    if name[1] == "ranking":
        return {"label": int(row["item_id"] in at_anchor)}
    if name[0] == "train":
        return {"target_items": [row["item_id"]] if row["item_id"] in at_anchor else []}
    true = recommend_truth(own, row["_anchor"], split.end_of(name[0]), settings)
    return {"target_items": [row["item_id"], *sorted(true - {row["item_id"]})] if row["item_id"] in true else []}


class _EventIndex:
    """Finds the events of a key, of an item, and of the items that share a category with it."""

    def __init__(self, events: pl.DataFrame) -> None:
        self._events = events.select(
            pl.int_range(pl.len()).alias("row"),
            pl.coalesce("user_id", pl.lit(ANONYMOUS_PREFIX) + pl.col("session_id").fill_null("")).alias("user_key"),
            "item_id",
            "event_type",
            pl.col("timestamp").dt.epoch("us").alias("time"),
            pl.col("category").fill_null(""),
            "brand",
            pl.col("price").fill_nan(None),
        )
        self._cached: dict[tuple[str, str], list[Event]] = {}

    def with_keys(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Add ``user_key`` to rows that lack it: an example is named by the row of its event."""
        if "user_key" in rows.columns:
            return rows
        return rows.with_columns(self._events["user_key"].gather(rows["example_id"]).alias("user_key"))

    def of_key(self, key: str) -> list[Event]:
        """List every event of a history key, in order."""
        return self._where("user_key", key)

    def of_item(self, item: str) -> list[Event]:
        """List every event of an item, in order."""
        return self._where("item_id", item)

    def _where(self, column: str, value: str) -> list[Event]:
        if (column, value) not in self._cached:
            self._cached[column, value] = self._events.filter(pl.col(column) == value).to_dicts()
        return self._cached[column, value]

    def peers(self, item: str, instant: int) -> list[Event]:
        """List, for each other item that ever shared a category with ``item``, what decides its category and price.

        That is its latest event with a category and its latest with a price before ``instant``: all the events of half a shop for
        each sampled row would take minutes.
        """
        categories = list({event["category"] for event in self.of_item(item)} - {""})
        if not categories:
            return []
        members = self._events.filter(pl.col("category").is_in(categories))["item_id"].unique().to_list()
        others = pl.col("item_id").is_in(members) & (pl.col("item_id") != item)
        past = self._events.filter((pl.col("time") < instant) & others)
        named, priced = past.filter(pl.col("category") != ""), past.filter(pl.col("price").is_not_null())
        deciding = pl.concat([rows.unique("item_id", keep="last", maintain_order=True) for rows in (named, priced)])
        return deciding.sort("row").to_dicts()


def check_split_order(tables: Tables, split: Split, settings: PrepareSettings) -> int:
    """Check that every anchor lies in its split and that no label window of a cart ends after it.

    Raises:
        LeakageError: an example reaches into another split.
    """
    if not split.t_valid < split.t_test:
        raise LeakageError(f"t_valid {iso(split.t_valid)} is not before t_test {iso(split.t_test)}.", _FIX)
    for (name, task), table in tables.items():
        anchors = table["anchor"].dt.epoch("us").to_numpy()
        outside = ~split.mask(name, anchors)
        if outside.any():
            raise LeakageError(
                f"examples/{name}/{task}.parquet: {int(outside.sum())} anchors lie outside the split, the first at "
                f"{iso(int(anchors[outside][0]))}; {name} ends before {iso(split.end_of(name))}.",
                _FIX,
            )
        ends = anchors + round(settings.cart_window_hours * HOUR_US)
        if task == "cart" and (ends >= split.end_of(name)).any():
            raise LeakageError(
                f"examples/{name}/cart.parquet: a label window ends at {iso(int(ends.max()))}, after the end of the split "
                f"{iso(split.end_of(name))}.",
                _FIX,
            )
    return sum(len(table) for table in tables.values())


def check_single_features(table: pl.DataFrame, name: tuple[SplitName, str]) -> int:
    """Check that no single number of a labelled table tells the label almost perfectly.

    Returns:
        How many rows were looked at: 0 where there is no label or there are fewer than ``MIN_AUC_ROWS`` rows.

    Raises:
        LeakageError: the area under the ROC curve of a column is above ``MAX_AUC``, in either direction.
    """
    if "label" not in table.columns or len(table) < MIN_AUC_ROWS:
        return 0
    # Every n-th row of a ranking table could be targets only, since an example's rows follow one another.
    rows = table.gather_every(max(len(table) // _AUC_ROWS, 1)) if name[1] != "ranking" else table.head(_AUC_ROWS)
    label = (rows["label"] > 0).to_numpy()
    for column, dtype in rows.schema.items():
        if column in _NOT_FEATURES or not (dtype.is_numeric() or dtype == pl.Boolean):
            continue
        area = roc_auc(rows[column], label)
        if max(area, 1 - area) > MAX_AUC:
            raise LeakageError(
                f"examples/{name[0]}/{name[1]}.parquet, column {column}: alone it tells the label of {len(rows)} rows with an area "
                f"under the ROC curve of {max(area, 1 - area):.4f}, above {MAX_AUC}; only a feature that has seen the label does.",
                "Leave the column out, or compute it from events strictly before the anchor.",
            )
    return len(rows)


def roc_auc(values: pl.Series, label: np.ndarray[Any, np.dtype[np.bool_]]) -> float:
    """Compute the area under the ROC curve, ties counted half (the Mann-Whitney statistic); 0.5 where a class is empty.

    Args:
        values: numbers or booleans [N]; null is a value of its own, below all others.
        label: bool [N].
    """
    positives = int(label.sum())
    negatives = len(label) - positives
    if not positives or not negatives:
        return 0.5
    ranks = values.cast(pl.Float64).fill_null(-math.inf).rank("average").to_numpy()
    return float((ranks[label].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def check_duplicates(tables: Tables) -> int:
    """Check that no recommend example, and no cart line, is there twice, in one split or in two.

    Raises:
        LeakageError: it names the example.
    """
    checked = 0
    for task, identity in (
        ("recommend", ["example_id"]),
        ("ranking", ["example_id", "item_id"]),
        ("cart", ["cart_id", "item_id"]),
    ):
        parts = [table.select(identity) for (_, of_task), table in tables.items() if of_task == task]
        if not parts:
            continue
        together = pl.concat(parts)
        checked += len(together)
        twice = together.filter(together.is_duplicated())
        if not twice.is_empty():
            first = ", ".join(f"{name} {value}" for name, value in twice.row(0, named=True).items())
            raise LeakageError(f"examples/*/{task}.parquet: {first} is there more than once.", _FIX)
    return checked


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        ordered = found == expected
        return ordered or (len(found) > 0 and expected[:1] == found[:1] and sorted(found) == sorted(expected))
    if found is None or expected is None or isinstance(expected, str):
        return bool(found == expected)
    return math.isclose(found, expected, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
