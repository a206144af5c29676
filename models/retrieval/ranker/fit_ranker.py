"""Fits the candidate ranker on windows before validation.

What retrieves for a window is learnt from the interactions before it: tables of neighbours and popularity, added up with weights that are
fitted on all windows. The retrieval model and factor models take no part: they have learnt from the windows' own events, or are too
dear to be learnt once a window. Candidates are the best of that sum, labels what the shopper turned to within the window. LambdaRank
(Burges, 2010) learns from lists that hold something true.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from cartwheel.core.files import write_json
from cartwheel.core.progress import progress
from cartwheel.core.run_layout import RunLayout
from models.families.family import TrainingData
from models.families.neighbours.blend import read_blend
from models.families.neighbours.table import Neighbours
from models.families.rows.lightgbm import LightGBMLearner, LightGBMSettings
from models.metrics.ranking import Ints, Numbers, top_columns
from models.questions.anchors import Anchors, read_anchors, relevant
from models.questions.interactions import Bools
from models.questions.run_log import read_interactions
from models.retrieval.choose_neighbours import DECAYS, LEAST, fit_weights
from models.retrieval.learnt import Learnt
from models.retrieval.pairs import Pairs
from models.retrieval.pool import Pool, build_pool, joined, stacked
from models.retrieval.ranker.columns import RANKER, RankerColumns
from models.retrieval.ranker.features import declared
from models.retrieval.ranker.settings import RankerSettings
from models.retrieval.retrieval import has_history, read_log_popularity, read_recent
from models.training.tables import Table
from workflows.features.feature_set import read_feature_set
from workflows.prepare.windows import read_windows
from workflows.tasks.task import Answer

FIRST: Final = 100
"""Candidates of a list that trees learn from; those behind them hardly ever come to the top."""
LISTS: Final = 100
"""Lists with something true, below which nothing is learnt."""


@dataclass(frozen=True)
class _Window:
    """What retrieves for one window's questions, and their pools of good candidates."""

    name: str
    anchors: Anchors
    recent: Ints
    tables: dict[str, Neighbours]
    pool: Pool
    found: Bools


@dataclass(frozen=True)
class _Rows:
    """Candidates of the lists that hold something true, list by list."""

    columns: dict[str, Numbers]
    label: Numbers
    sizes: Ints


def fit_ranker(run: Path, settings: RankerSettings, candidates: int, neighbours: int, seed: int) -> str:
    """Fit a ranker and write ``models/ranker``; it is empty where there is too little to learn from.

    Args:
        run: run directory with examples, features and ``models/item_to_item``.
        settings: what may be set.
        candidates: C, how many it will order.
        neighbours: of an item in each table.
        seed: draws the features of each tree.

    Returns:
        What it learnt from, or why it did not, in words.

    Raises:
        RunError: if a file of the run is missing or corrupt.
    """
    folder = RunLayout(run).model(RANKER).path
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tables = tuple(table.learner for table in read_blend(run).tables)
    names = read_windows(RunLayout(run)) if settings.trees else ()
    why = ""
    if not names:
        why = "no windows before validation to learn from" if settings.trees else "ranker.trees is 0"
    elif not tables:
        why = "no table of neighbours counts in retrieval, and without one it has little to tell"
    if why:
        return _none(run, why)
    columns = RankerColumns.of(read_feature_set(RunLayout(run)), tables)
    with progress("ranker", 2 * len(names) + 1) as advance:
        learnt = Learnt(run, read_interactions(run), neighbours, seed)
        windows = []
        for name in names:
            windows.append(_window(learnt, name, tables))
            advance(1, name)
        weights = _weights(windows)
        if weights is None:
            return _none(run, f"fewer than {LEAST} questions of the windows have a true item among good candidates")
        rows = []
        for window in windows:
            rows.append(_rows(run, window, columns, weights, candidates))
            advance(1, f"candidates of {window.name}")
        lists = sum(len(part.sizes) for part in rows)
        if lists < LISTS:
            return _none(run, f"{lists} lists of candidates hold a true item, fewer than {LISTS}")
        _fit(run, columns, rows, settings, seed)
        advance(1, "trees")
    return f"learnt from {lists:,} lists of {len(names)} windows"


def _none(run: Path, why: str) -> str:
    write_json(RunLayout(run).model(RANKER).config, {"tables": [], "why": why})
    return f"not learnt: {why}"


def _window(learnt: Learnt, name: str, tables: Sequence[str]) -> _Window:
    run = learnt.run
    anchors = read_anchors(run, name)
    recent = read_recent(run, name)[anchors.row]
    of_window = {table: learnt.table(name, table) for table in tables}
    nothing = np.zeros((1, anchors.items), np.float32)
    pool = build_pool(
        anchors,
        lambda rows: np.broadcast_to(nothing, (len(rows), anchors.items)),
        recent,
        of_window,
        DECAYS,
        read_log_popularity(run, name),
    )
    return _Window(name, anchors, recent, of_window, pool, relevant(anchors, pool.items))


def _weights(windows: Sequence[_Window]) -> dict[bool, Numbers] | None:
    """Return the weights of the sum for shoppers with and without a history; None where nothing can be told."""
    known = np.concatenate([has_history(window.recent) for window in windows])
    pool, found = joined([window.pool for window in windows]), stacked([window.found for window in windows], 0)
    used = np.ones(pool.width, bool)
    used[Pool.retrieval] = False
    weights = {}
    for value in (True, False):
        chosen = np.flatnonzero(known == value)
        if found[chosen].any(axis=1).sum() >= LEAST:
            weights[value] = fit_weights(pool.take(chosen), found[chosen], used)
    if not weights:
        return None
    return {value: weights.get(value, next(iter(weights.values()))) for value in (True, False)}


def _rows(run: Path, window: _Window, columns: RankerColumns, weights: dict[bool, Numbers], candidates: int) -> _Rows:
    """Return the best candidates of the sum for each question that has something true among them."""
    of_each = np.stack([weights[False], weights[True]])[has_history(window.recent).astype(np.int64)]
    sums = np.einsum("apw,aw->ap", window.pool.scores, of_each).astype(np.float32)
    sums = np.where(window.pool.items >= 0, sums, np.float32(-np.inf))
    place = top_columns(sums, min(candidates, sums.shape[1]))
    taken = np.maximum(place, 0)
    true = np.take_along_axis(window.found, taken, axis=1) & (place >= 0)
    kept = np.flatnonzero(true.any(axis=1))
    place, taken, true = place[kept], taken[kept], true[kept]
    items = np.where(place < 0, -1, np.take_along_axis(window.pool.items[kept], taken, axis=1))
    real = items >= 0
    asker, slot = np.nonzero(real)
    pairs = Pairs(run, window.name).columns(window.anchors.row[kept][asker], items[asker, slot], columns.pair)
    found = columns.rows(pairs, window.tables, window.recent[kept], items)
    real[:, FIRST:] = False
    real &= (true & real).any(axis=1)[:, None]
    sizes = real.sum(axis=1).astype(np.int64)
    return _Rows({name: found[name][real] for name in columns.names}, true[real].astype(np.float64), sizes[sizes > 0])


def _fit(run: Path, columns: RankerColumns, parts: Sequence[_Rows], settings: RankerSettings, seed: int) -> None:
    layout = RunLayout(run).model(RANKER)
    rows = {name: np.concatenate([part.columns[name] for part in parts]) for name in columns.names}
    sizes = np.concatenate([part.sizes for part in parts])
    label = np.concatenate([part.label for part in parts])
    train = Table(layout.path, rows)
    data = TrainingData(
        RANKER,
        Answer.RANKING,
        declared(columns.names),
        {},
        train,
        label,
        train.head(0),
        label[:0],
        np.repeat(np.arange(len(sizes)), sizes),
        np.zeros(0, np.int64),
    )
    config = LightGBMSettings(
        rounds=settings.trees,
        rounds_without_validation=settings.trees,
        leaves=settings.leaves,
        learning_rate=settings.learning_rate,
        min_rows=settings.min_rows,
        l2=settings.l2,
        feature_share=settings.feature_share,
        truncation=30,
        num_threads=1,
    )
    fitted = LightGBMLearner(config).fit(data, seed)
    fitted.save(layout.path)
    onnx.save_model(fitted.onnx(), str(layout.scores))
    write_json(layout.config, {"tables": list(columns.tables), "lists": len(sizes), "candidates": int(sizes.sum())})
