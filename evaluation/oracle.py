"""The oracle of a simulated shop on the models' questions: the upper bound of their metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.frames import read_frame
from cartwheel.core.run_layout import RunLayout
from models.metrics.ranking import Floats, Ints, Numbers
from models.questions.anchors import Scorer

_CELLS = 2_000_000


class Oracle(Protocol):
    """What a generator of events knows about its own shoppers."""

    def scores(
        self, user_ids: Sequence[str], timestamps_us: Ints, session_ids: Sequence[str | None], item_ids: Sequence[str]
    ) -> npt.NDArray[np.float32]:
        """Return [B, N], higher for items that the user is likelier to turn to next; ``-inf`` for what cannot be.

        Args:
            user_ids: [B]; "" for an anonymous shopper.
            timestamps_us: [B] Unix microseconds.
            session_ids: [B] the running session, None where a new one begins.
            item_ids: [N].
        """

    def cart_probability(
        self,
        user_ids: Sequence[str],
        item_ids: Sequence[str],
        timestamps_us: Ints,
        session_ids: Sequence[str | None] | None = None,
    ) -> Floats:
        """Return [B] the probability that the line put into the cart at that instant is bought; NaN where there is none.

        Args:
            user_ids: [B].
            item_ids: [B].
            timestamps_us: [B] Unix microseconds of the cart event.
            session_ids: [B] the session of the event, or None.
        """


class OracleQueries:
    """The anchors of ``examples/<split>/recommend`` as questions to the oracle.

    It is told the session only where the session was running before the anchor: the session of an anchor that opens one is
    part of the answer.
    """

    def __init__(self, run: Path, split: str, oracle: Oracle) -> None:
        self._oracle = oracle
        examples = read_frame(RunLayout(run).examples(split, "recommend"), ["example_id", "user_id", "anchor"])
        self.example_id: Ints = examples["example_id"].to_numpy()
        """[A], one for each row of the examples."""
        self._users = examples["user_id"].to_list()
        self._instants: Ints = examples["anchor"].dt.epoch("us").to_numpy()
        self._sessions = _running_sessions(run, self.example_id, self._instants)

    def scorer(self, items: Sequence[str]) -> Scorer:
        """Return the scorer of the items (N ids)."""
        return lambda rows: self._scores(rows, items)

    def pairs(self, row: Ints, items: Sequence[str]) -> Floats:
        """Return [n] the score of item ``items[i]`` for the anchor in row ``row[i]``."""
        names, column = np.unique(np.asarray(items, dtype=object), return_inverse=True)
        result = np.zeros(len(row))
        asked = np.unique(row)
        step = max(1, _CELLS // max(1, len(names)))
        for start in range(0, len(asked), step):
            some = asked[start : start + step]
            scores = self._scores(some, names.tolist())
            mine = np.flatnonzero((row >= some[0]) & (row <= some[-1]))
            result[mine] = scores[np.searchsorted(some, row[mine]), column[mine]]
        return result

    def _scores(self, rows: Ints, items: Sequence[str]) -> Numbers:
        users, sessions = [self._users[row] for row in rows], [self._sessions[row] for row in rows]
        return self._oracle.scores(users, self._instants[rows], sessions, items)


def line_probability(oracle: Oracle, lines: pl.DataFrame) -> Floats:
    """Return [n] the oracle's probability of each cart line, NaN but for the line whose adding made the anchor.

    Args:
        oracle: the truth.
        lines: ``user_id``, ``item_id`` and ``anchor``, which is 1 microsecond after the cart event.
    """
    instants = lines["anchor"].dt.epoch("us").to_numpy() - 1
    return np.asarray(oracle.cart_probability(lines["user_id"].to_list(), lines["item_id"].to_list(), instants), np.float64)


def _running_sessions(run: Path, example_id: Ints, instants: Ints) -> list[str | None]:
    """Return the session of each anchor's event (``example_id`` is its row in the log), None where it began with the anchor."""
    events = read_frame(RunLayout(run).events, ["session_id", "timestamp"])
    begun = events.group_by("session_id").agg(pl.col("timestamp").min().dt.epoch("us").alias("begun"))
    own = events[example_id].select("session_id").join(begun, on="session_id", how="left", maintain_order="left")
    running = own["begun"].fill_null(np.iinfo(np.int64).max).to_numpy() < instants
    return own.select(pl.when(pl.Series(running)).then("session_id")).to_series().to_list()
