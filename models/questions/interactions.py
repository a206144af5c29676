"""Interactions as integer codes: training data of recommenders, and histories of queries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.errors import DataError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Interactions:
    """Interactions in order of (user, time, place in the source); arrays are [n].

    Attributes:
        user: user code, 0 ... users-1.
        item: item code, 0 ... items-1.
        time: microseconds since 1970 UTC; where the source has no times, the place in the user's history.
        session: session number; codes of different users differ. Where the source has none, the user code.
        weight: strength of the interaction, 1 where the source says nothing of it.
        user_ids: [users] the shop's user ids.
        item_ids: [items] the shop's item ids.
        category: [items] category code, 0 where unknown.
    """

    user: Ints
    item: Ints
    time: Ints
    session: Ints
    weight: Floats
    user_ids: pl.Series
    item_ids: pl.Series
    category: Ints

    def __len__(self) -> int:
        return len(self.user)

    @property
    def users(self) -> int:
        """How many users there are, those without an interaction included."""
        return len(self.user_ids)

    @property
    def items(self) -> int:
        """How many items there are, those without an interaction included."""
        return len(self.item_ids)

    @cached_property
    def starts(self) -> Ints:
        """[users + 1] where each user's interactions begin."""
        return np.searchsorted(self.user, np.arange(self.users + 1)).astype(np.int64)

    def take(self, chosen: Bools | Ints) -> Interactions:
        """Return some of the interactions (a mask or ascending places), with all users and items kept."""
        return replace(
            self,
            user=self.user[chosen],
            item=self.item[chosen],
            time=self.time[chosen],
            session=self.session[chosen],
            weight=self.weight[chosen],
        )

    def matrix(self, *, weighted: bool = False) -> Any:
        """Return a ``scipy.sparse.csr_matrix`` [users, items]: 1 where a user interacted with an item, or the sum of the weights."""
        from scipy.sparse import csr_matrix

        values = self.weight if weighted else np.ones(len(self))
        result = csr_matrix((values, (self.user, self.item)), shape=(self.users, self.items))
        result.sum_duplicates()
        if not weighted:
            result.data[:] = 1.0
        return result


@dataclass(frozen=True)
class Queries:
    """Questions to a recommender: who asks, when, and what the asker has done before; scalars are [q].

    Attributes:
        user: user code in the training interactions, -1 for a stranger.
        now: the moment of the question, as ``Interactions.time``.
        starts: [q + 1] where each asker's history begins in ``history``.
        history: item codes, strictly before the question, oldest first.
        times: their instants.
        session_length: [q] how many of the last items of the history belong to the running session.
    """

    user: Ints
    now: Ints
    starts: Ints
    history: Ints
    times: Ints
    session_length: Ints

    def __len__(self) -> int:
        return len(self.user)

    @property
    def lengths(self) -> Ints:
        """[q] how many items each history holds."""
        return np.diff(self.starts)

    @property
    def rows(self) -> Ints:
        """[h] the question that each item of ``history`` belongs to."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, chosen: Ints) -> Queries:
        """Return the questions numbered ``chosen``, in that order."""
        lengths = self.lengths[chosen]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        places = np.repeat(self.starts[chosen] - starts[:-1], lengths) + np.arange(starts[-1])
        return Queries(
            self.user[chosen], self.now[chosen], starts, self.history[places], self.times[places], self.session_length[chosen]
        )

    def last(self, length: int) -> Ints:
        """Return [q, length] the last items of each history, oldest first, -1 where it is shorter."""
        slot = np.arange(length) - length
        places = self.starts[1:, None] + slot
        inside = places >= self.starts[:-1, None]
        filled = np.append(self.history, -1)
        return np.where(inside, filled[np.where(inside, places, len(self.history))], -1)

    def matrix(self, items: int) -> Any:
        """Return a ``scipy.sparse.csr_matrix`` [q, items] with 1 for each item of a history."""
        from scipy.sparse import csr_matrix

        result = csr_matrix((np.ones(len(self.history)), self.history, self.starts), shape=(len(self), items))
        result.sum_duplicates()
        result.data[:] = 1.0
        return result


def from_events(events: pl.DataFrame) -> Interactions:
    """Code a table of events.

    Args:
        events: ``user_id`` and ``item_id`` (strings or integers), ``timestamp`` (datetime or integer), and where known ``session_id``,
            ``weight`` and ``category``; no nulls in the first three. Rows of equal user and time keep their order.

    Returns:
        The interactions; users and items are numbered in the order of their ids.

    Raises:
        DataError: if a column is missing or holds nulls, or there are no rows.
    """
    for column in ("user_id", "item_id", "timestamp"):
        if column not in events.columns:
            raise DataError(f"The interactions have no column {column!r}; they have {events.columns}.", "Name the columns so.")
        if events[column].null_count():
            raise DataError(
                f"Column {column!r} of the interactions has {events[column].null_count()} nulls.", "Drop those rows first."
            )
    if not events.height:
        raise DataError("There are no interactions.", "Give a longer log.")
    stamp = pl.col("timestamp")
    time = stamp.dt.epoch("us") if events.schema["timestamp"].is_temporal() else stamp.cast(pl.Int64)
    session = pl.struct("user_id", "session_id") if "session_id" in events.columns else pl.col("user_id")
    coded = events.select(
        user=pl.col("user_id").rank("dense").cast(pl.Int64) - 1,
        item=pl.col("item_id").rank("dense").cast(pl.Int64) - 1,
        time=time,
        session=session.rank("dense").cast(pl.Int64) - 1,
        weight=pl.col("weight").cast(pl.Float64) if "weight" in events.columns else pl.lit(1.0),
        category=pl.col("category") if "category" in events.columns else pl.lit(None, pl.String),
    ).sort("user", "time", maintain_order=True)
    arrays = {name: coded[name].to_numpy() for name in ("user", "item", "time", "session", "weight")}
    return Interactions(
        **arrays,
        user_ids=events["user_id"].unique().sort(),
        item_ids=events["item_id"].unique().sort(),
        category=_categories(coded),
    )


def _categories(coded: pl.DataFrame) -> Ints:
    """Return [items] the code of each item's last known category, 0 where it has none."""
    known = coded.sort("time", maintain_order=True).group_by("item").agg(pl.col("category").drop_nulls().last())
    code = pl.when(pl.col("category").is_null()).then(0).otherwise(pl.col("category").rank("dense"))
    return known.sort("item").select(code.cast(pl.Int64)).to_series().to_numpy()
