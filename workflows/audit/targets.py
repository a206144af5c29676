"""Targets in disguise: columns that alone tell what is to be predicted."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import polars as pl

from cartwheel.core.errors import LeakageError
from workflows.audit.event_index import FIX, Table, Tables, file_of, height, read
from workflows.events.asof import Bools
from workflows.features.columns import CART, CROSS, ITEM, QUERY
from workflows.settings import LeaveOut
from workflows.tasks.recommend import REFIT
from workflows.tasks.split import SplitName

MAX_AUC: Final = 0.99
"""A single column that separates better than this has seen the label."""
MIN_AUC_ROWS: Final = 200
"""Rows from which on an area under a curve says something."""
MIN_ROWS_OF_A_CLASS: Final = 5
"""Rows of each label from which on a one-to-one function of it is no chance: with 5 of 20, one in 15,504."""
MIN_ROWS_OF_COPY: Final = 20
MAX_CLASSES: Final = 20
_AUC_ROWS: Final = 100_000
_NO_FEATURES: Final = frozenset({"example_id", "cart_id", "user_key", "anchor", "label", "cart_label", "form"})
_CONTRACT: Final = frozenset({*QUERY, *ITEM, *CROSS, *CART})


def check_labelled(table: Table, name: tuple[SplitName, str]) -> int:
    """Check that no column of a labelled table is the label under another name, or tells it almost perfectly.

    The columns of the contract (``workflows.features.columns``) are computed again from the events elsewhere, so of these only what
    the order of
    their values tells is looked at: in a shop with one bestseller its id may well tell the label. Of every other column, such as one
    that the shop brought, what each value tells is looked at as well.

    Returns:
        How many rows were looked at: 0 where there is no label or there are fewer than ``MIN_ROWS_OF_COPY`` rows.

    Raises:
        LeakageError: it names the column.
    """
    lazy, count = table.lazy(), height(table)
    if "label" not in lazy.collect_schema() or count < MIN_ROWS_OF_COPY:
        return 0
    # Every n-th row of a ranking table could be targets only, since an example's rows follow one another.
    every = max(count // _AUC_ROWS, 1)
    rows = (lazy.gather_every(every) if name[1] != "ranking" else lazy.head(_AUC_ROWS)).collect()
    for column in rows.columns:
        if column not in _NO_FEATURES and (told := _told(rows, column)):
            raise LeakageError(
                f"{file_of(name)}, column {column}: {told}",
                "Leave the column out, or compute it from events strictly before the anchor.",
            )
    return len(rows)


def _told(rows: pl.DataFrame, column: str) -> str | None:
    """Return how a column tells the label, or None."""
    own = column not in _CONTRACT
    if own and (pairs := one_to_one(rows[column], rows["label"])):
        return f"it is the label under another name ({pairs}), as {len(rows)} rows show."
    if len(rows) < MIN_AUC_ROWS:
        return None
    label = (rows["label"] > 0).to_numpy()
    area = ordered_area(rows[column], label)
    if area <= MAX_AUC and own:
        area = area_by_value(rows[column], label)
    if area <= MAX_AUC:
        return None
    return (
        f"alone it tells the label of {len(rows)} rows with an area under the ROC curve of {area:.4f}, above {MAX_AUC}; only a feature "
        f"that has seen the label does."
    )


def check_left_out(tables: Tables, leave_out: LeaveOut) -> int:
    """Check that no example asks for what is left out for its shopper.

    That what is left out is told rightly, ``workflows.audit.recompute`` looks at; of examples that are learnt from it is not told, and
    there the recent items are looked at, where these are left out.

    Returns:
        How many recommend examples were looked at; 0 where nothing is left out.

    Raises:
        LeakageError: it names the example.
    """
    looked_at = 0
    recent = leave_out in ("recent", "interacted")
    for name, table in tables.items():
        if name[1] not in {"recommend", REFIT} or leave_out == "nothing":
            continue
        columns = ("left_out", *(("recent_items",) if recent else ()))
        asked = read(table, *columns, "target_items")
        for column in columns:
            told = asked[column].list.set_intersection(asked["target_items"]).list.len() > 0
            if told.any():
                row = int(told.arg_max() or 0)
                example = read(table, "example_id")["example_id"][row]
                raise LeakageError(
                    f"{file_of(name)}, column {column}: {int(told.sum())} examples have a target among what is left out, the first in "
                    f"row {row + 1} (example_id {example}); none is expected under recommend.leave_out = {leave_out!r}.",
                    FIX,
                )
        looked_at += height(table)
    return looked_at


def one_to_one(values: pl.Series, label: pl.Series) -> str | None:
    """Return which value stands for which label where the two are one-to-one functions of each other, else None.

    Args:
        values: a column of any type, [N]; null is a value of its own.
        label: [N]; with one value only, more than ``MAX_CLASSES``, or fewer than ``MIN_ROWS_OF_A_CLASS`` rows of one, nothing is said.
    """
    classes = label.alias("label").value_counts(name="rows")
    if len(label) < MIN_ROWS_OF_COPY or not 1 < classes.height <= MAX_CLASSES or classes["rows"].min() < MIN_ROWS_OF_A_CLASS:  # type: ignore[operator]
        return None
    if values.dtype.is_nested() or values.n_unique() != classes.height:
        return None
    pairs = pl.DataFrame({"value": values, "label": label}).unique(maintain_order=True).sort("label")
    if pairs.height != classes.height:
        return None
    return ", ".join(f"{value!r} for {label!r}" for value, label in pairs.iter_rows())


def ordered_area(values: pl.Series, label: Bools) -> float:
    """Compute the area under the ROC curve of a column that has an order, in the better of the two directions.

    Args:
        values: numbers, booleans or times [N]; for all other types the answer is 0.5.
        label: bool [N].
    """
    if not (values.dtype.is_numeric() or values.dtype.is_temporal() or values.dtype == pl.Boolean):
        return 0.5
    area = roc_auc(values.to_physical(), label)
    return max(area, 1 - area)


def area_by_value(values: pl.Series, label: Bools, seed: int = 0) -> float:
    """Compute the area under the ROC curve of what each value of a column tells of the label.

    Each row is scored by the mean label of the rows with its value in the other of two halves, drawn at random; a value that the other half
    lacks has that half's mean. So a column of names that never recur, which tells each row's label in hindsight, scores about 0.5.

    Args:
        values: a column of any type but lists and structs, for which the answer is 0.5; [N].
        label: bool [N].
        seed: draws the halves.
    """
    if values.dtype.is_nested():
        return 0.5
    half = np.random.default_rng(seed).permutation(len(values)) % 2
    rows = pl.DataFrame({"value": values, "label": label.astype(np.float64), "half": half})
    other = [(aggregate.over("value") - aggregate.over("value", "half")) for aggregate in (pl.col("label").sum(), pl.len())]
    mean = (pl.col("label").sum() - pl.col("label").sum().over("half")) / (pl.len() - pl.len().over("half"))
    scores = rows.select(total=other[0], count=other[1].cast(pl.Int64), mean=mean)
    return roc_auc(
        scores.select(pl.when(pl.col("count") > 0).then(pl.col("total") / pl.col("count")).otherwise("mean"))["total"], label
    )


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
