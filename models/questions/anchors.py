"""Ranking a whole catalogue for each anchor, a chunk of anchors at a time, so that no [A, N] matrix is ever held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.frames import flattened, read_frame
from cartwheel.core.run_layout import RunLayout
from models.metrics.ranked_lists import Chunk, Judged, pairs_of, rank
from models.metrics.ranking import Floats, Ints, Numbers

QUESTIONS: Final = "recommend"
"""The table of questions, unless another is named."""

Scorer = Callable[[Ints], Numbers]
"""Rows of the table of questions [b] -> scores of the catalogue [b, N]."""


@dataclass(frozen=True)
class Anchors:
    """The moments at which a model is asked, what came true, and what must not be recommended.

    ``truth_*`` and ``hidden_*`` are parallel lists of (anchor, catalogue column), sorted by anchor.
    """

    row: Ints
    """[A] row of the anchor in ``examples/<split>/recommend``."""
    users: npt.NDArray[Any]
    """[A] user key."""
    n_truth: Ints
    """[A] truth items, in the catalogue or not; at least 1."""
    truth_row: Ints
    truth_column: Ints
    hidden_row: Ints
    hidden_column: Ints
    items: int
    """N, size of the catalogue."""

    def __len__(self) -> int:
        return len(self.row)

    def take(self, chosen: Ints) -> Anchors:
        """Return the anchors numbered ``chosen`` (ascending), renumbered from 0."""
        truth_row, truth = pairs_of(self.truth_row, chosen)
        hidden_row, hidden = pairs_of(self.hidden_row, chosen)
        return replace(
            self,
            row=self.row[chosen],
            users=self.users[chosen],
            n_truth=self.n_truth[chosen],
            truth_row=truth_row,
            truth_column=self.truth_column[truth],
            hidden_row=hidden_row,
            hidden_column=self.hidden_column[hidden],
        )

    @cached_property
    def reachable(self) -> Floats:
        """[A] share of each anchor's truth items that are in the catalogue."""
        return np.bincount(self.truth_row, minlength=len(self)) / self.n_truth

    @property
    def sample_size(self) -> dict[str, int]:
        """Anchors, users, truth items and catalogue items."""
        return {
            "anchors": len(self),
            "users": len(np.unique(self.users)),
            "truth_items": int(self.n_truth.sum()),
            "catalogue_items": self.items,
        }


def read_anchors(run: Path, split: str, table: str = QUESTIONS) -> Anchors:
    """Read the anchors of a table of ``split`` that have something to find.

    What the run's ``recommend.leave_out`` leaves out for a shopper is neither a candidate nor true; anchors that have no other truth item
    are left out.

    Raises:
        RunError: if a file is missing or lacks a column.
    """
    layout = RunLayout(run)
    queries = read_frame(layout.examples(split, table), ["user_key", "left_out", "target_items"]).with_row_index("row")
    catalogue = read_frame(layout.examples(split, "catalogue"), ["item_id"]).with_row_index("column")
    truth = _exploded(queries, "target_items")
    hidden = _exploded(queries, "left_out")
    truth = truth.join(hidden, on=["row", "item_id"], how="anti")
    n_truth = np.bincount(truth["row"].to_numpy(), minlength=len(queries))
    everyone = Anchors(
        row=np.arange(len(queries)),
        users=queries["user_key"].to_numpy(),
        n_truth=n_truth,
        **_positions("truth", truth, catalogue),
        **_positions("hidden", hidden, catalogue),
        items=len(catalogue),
    )
    return everyone.take(np.flatnonzero(n_truth))


def judge(scorer: Scorer, anchors: Anchors, depth: int, title: str, *, shared: bool = False) -> Judged:
    """Rank the catalogue for every anchor.

    Args:
        scorer: gives the scores of some anchors.
        anchors: A anchors over a catalogue of N items.
        depth: K, how long the lists are that coverage and re-ranking look at.
        title: what to call it in the progress.
        shared: whether several threads may ask the scorer at a time.
    """

    def chunk(start: int, stop: int) -> Chunk:
        part = anchors.take(np.arange(start, stop))
        scores = scorer(part.row)
        return Chunk(scores, part.truth_row, part.truth_column, part.n_truth, lambda each: allowed(each, part))

    return rank(len(anchors), anchors.items, depth, title, chunk, shared=shared)


def allowed(scores: Numbers, anchors: Anchors) -> Numbers:
    """Return a copy of ``scores`` ([A, N]) with ``-inf`` where an item must not be recommended."""
    result = np.array(scores)
    result[anchors.hidden_row, anchors.hidden_column] = -np.inf
    return result


def sample(anchors: Anchors, most: int, seed: int) -> Anchors:
    """Return at most ``most`` of the anchors, drawn without replacement, in their order."""
    if len(anchors) <= most:
        return anchors
    chosen = np.random.default_rng(seed).choice(len(anchors), size=most, replace=False)
    return anchors.take(np.sort(chosen))


def halves(users: npt.NDArray[Any], seed: int) -> Ints:
    """Return [A] 0 or 1 for each anchor, the same for all of a user ([A]), as many users of each or one more."""
    code = np.unique(users, return_inverse=True)[1]
    drawn = np.random.default_rng(seed).permutation(int(code.max(initial=-1)) + 1)
    return np.asarray(drawn[code] % 2, np.int64)


def relevant(anchors: Anchors, candidates: Ints) -> npt.NDArray[np.bool_]:
    """Return whether each of an anchor's candidates ([A, C] catalogue columns, -1 for none) is one of its truth items."""
    wanted = np.unique(anchors.truth_row * anchors.items + anchors.truth_column)
    pairs = np.arange(len(candidates))[:, None] * anchors.items + candidates
    found: npt.NDArray[np.bool_] = np.isin(pairs, wanted) & (candidates >= 0)
    return found


def _exploded(queries: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return the distinct (row, item_id) pairs of a list column, by row."""
    lengths, items = flattened(queries[column])
    pairs = pl.DataFrame({"row": np.repeat(queries["row"].to_numpy(), lengths), "item_id": items})
    return pairs.filter(pl.col("item_id") != "").unique(maintain_order=True)


def _positions(name: str, pairs: pl.DataFrame, catalogue: pl.DataFrame) -> dict[str, Any]:
    found = pairs.join(catalogue, on="item_id", how="inner").sort("row", "column")
    return {
        f"{name}_row": found["row"].to_numpy().astype(np.int64),
        f"{name}_column": found["column"].to_numpy().astype(np.int64),
    }
