"""Retrieval as served: dot products of the model's vectors plus the weighted retrievers of ``Blend``."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.frames import flattened, read_frame
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_json
from models.families.factors.scores import FactorScores
from models.families.neighbours.blend import POPULARITY, log_popularity, read_blend
from models.families.neighbours.table import Neighbours
from models.metrics.ranking import Ints, Numbers
from models.questions.anchors import QUESTIONS, Scorer
from models.retrieval.retriever import retriever
from models.retrieval.towers import Towers
from workflows.events.event_log import codes_in


class Retrieval:
    """A run's retrieval over one split: a ``Scorer``.

    Args:
        run: run directory.
        split: ``valid`` or ``test``.
        rows: the rows of ``examples/<split>/<table>`` that will be asked for; None means all.
        table: the table of questions.

    Raises:
        RunError: if a file of the run is missing or corrupt.
    """

    def __init__(self, run: Path, split: str, rows: Ints | None = None, table: str = QUESTIONS) -> None:
        self.towers = Towers(run, split, rows, table)
        self.blend = read_blend(run)
        self.run, self._split, self._table = run, split, table
        self._asked = np.arange(len(self.towers.queries)) if rows is None else rows

    def __call__(self, rows: Ints) -> Numbers:
        """Return [b, N] scores."""
        scores = self.towers(rows)
        if self.blend.alone:
            return scores
        recent, base = self._recent[rows], self._base
        known = has_history(recent).astype(np.int64)
        scores = self.blend.retrieval[known][:, None] * scores + base[known]
        for model, queries, weight in self._factors:
            scores += (weight[known][:, None] * queries[rows]) @ model.items.T
        for table, shares in self._tables:
            scores += table.scores(recent, shares)
        return scores

    def pairs(self, row: Ints, column: Ints) -> npt.NDArray[np.float32]:
        """Return [n] scores of the anchors in examples row ``row`` [n] with the catalogue items ``column`` [n]."""
        scores = np.einsum("nd,nd->n", self.towers.queries[row], self.towers.items[column])
        if not self.blend.alone and len(row):
            asked, place = np.unique(row, return_inverse=True)
            recent = self._recent[asked]
            known = has_history(recent).astype(np.int64)[place]
            scores = self.blend.retrieval[known] * scores + self._base[known, column]
            for model, queries, weight in self._factors:
                scores += weight[known] * np.einsum("nd,nd->n", queries[row], model.items[column])
            for table, shares in self._tables:
                scores += np.asarray(table.spoken_for(recent, shares)[place, column], np.float32).ravel()
        return np.asarray(scores, np.float32)

    def parts(self) -> dict[str, Scorer]:
        """Return each retriever that counts by itself, by name; ``popularity`` is one."""
        parts: dict[str, Scorer] = {}
        if self.blend.retrieval.any():
            parts[retriever(self.run)] = self.towers
        logs = read_log_popularity(self.run, self._split)
        popular = np.stack([base.of_items(logs) for base in (self.blend.stranger, self.blend.known)])
        if popular.any():
            parts["popularity"] = lambda rows: popular[has_history(self._recent[rows]).astype(np.int64)]
        for name, (model, queries, _) in zip(self.blend.factors, self._factors, strict=True):
            parts[name] = partial(_products, model, queries)
        for told, (table, shares) in zip(self.blend.tables, self._tables, strict=True):
            parts[told.learner] = partial(self._of_table, table, shares)
        return parts

    def _of_table(self, table: Neighbours, shares: npt.NDArray[np.float32], rows: Ints) -> Numbers:
        return table.scores(self._recent[rows], shares)

    @cached_property
    def _base(self) -> npt.NDArray[np.float32]:
        """[2, N] what popularity adds, without a history and with one."""
        biases = {name: model.bias for name, model in zip(self.blend.factors, self._factor_models, strict=True)}
        return self.blend.bases(read_log_popularity(self.run, self._split), biases)

    @cached_property
    def _factor_models(self) -> list[FactorScores]:
        files, items = RunLayout(self.run).item_to_item, len(self.towers.items)
        return [FactorScores.read(files.factor_scores(self._split, name), items) for name in self.blend.factors]

    @cached_property
    def _factors(self) -> list[tuple[FactorScores, Numbers, npt.NDArray[np.float32]]]:
        """Each factor model that counts, its query vectors of all rows, zero where not asked for, and its weights."""
        users, asked = read_users(self.run, self._split, self._table), self._asked
        factors = []
        for model, weight in zip(self._factor_models, self.blend.factors.values(), strict=True):
            queries = np.zeros((len(users), model.items.shape[1]), np.float32)
            queries[asked] = model.queries(users.gather(asked), self._recent[asked])
            factors.append((model, queries, weight))
        return factors

    @cached_property
    def _tables(self) -> list[tuple[Neighbours, npt.NDArray[np.float32]]]:
        files, items = RunLayout(self.run).item_to_item, len(self.towers.items)
        return [
            (Neighbours.read(files.neighbours(self._split, table.learner), items), table.by_age(self._recent.shape[1]))
            for table in self.blend.tables
        ]

    @cached_property
    def _recent(self) -> Ints:
        return read_recent(self.run, self._split, self._table)


def _products(model: FactorScores, queries: Numbers, rows: Ints) -> Numbers:
    return np.asarray(queries[rows] @ model.items.T + model.bias)


def has_history(recent: Ints) -> npt.NDArray[np.bool_]:
    """Return which rows of ``read_recent`` [A, L] hold an item, in the catalogue or not: [A]."""
    return np.asarray((recent >= 0).any(axis=1))


def read_log_popularity(run: Path, split: str) -> npt.NDArray[np.float32]:
    """Return [N, 2] the logarithms of popularity of a split's catalogue, as of its start.

    Raises:
        RunError: if the catalogue is missing or lacks a column.
    """
    table = read_frame(RunLayout(run).examples(split, "catalogue"), POPULARITY)
    return log_popularity({name: table[name].cast(pl.Float64).fill_null(0.0).to_numpy() for name in POPULARITY})


def read_users(run: Path, split: str, table: str = QUESTIONS) -> pl.Series:
    """Return the user of every row of ``examples/<split>/<table>``, "" for a stranger.

    Raises:
        RunError: if the file is missing or lacks the column.
    """
    return read_frame(RunLayout(run).examples(split, table), ["user_id"])["user_id"].fill_null("")


def read_recent(run: Path, split: str, table: str = QUESTIONS) -> Ints:
    """Return the recent items of every row of ``examples/<split>/<table>`` as ``Neighbours.scores`` reads them, [A, L].

    Raises:
        RunError: if a file of the run is missing or lacks a column.
    """
    layout = RunLayout(run)
    width = int(read_json(layout.state)["recent_items"])
    lengths, items = flattened(read_frame(layout.examples(split, table), ["recent_items"])["recent_items"])
    catalogue = read_frame(layout.examples(split, "catalogue"), ["item_id"])["item_id"]
    code = codes_in(catalogue, items).to_numpy()
    recent = np.full((len(lengths), width), -1, np.int64)
    recent[np.arange(width) < lengths[:, None]] = np.where(code < 0, len(catalogue), code)
    return recent
