"""Learns the table of neighbours, and chooses on validation how it is learnt and how much it counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from cartwheel.core.progress import progress
from cartwheel.core.run_layout import RunLayout
from models.families.neighbours.blend import Blend
from models.families.neighbours.sequential_rules import SequentialRules
from models.families.neighbours.settings import ItemToItemSettings
from models.families.neighbours.strongest import strongest
from models.families.neighbours.table import Neighbours
from models.families.recommender import ItemToItem
from models.families.registry import EASE, ItemKNN
from models.metrics.ranking import Ints, Numbers, top_columns
from models.questions.anchors import Anchors, allowed, read_anchors, relevant, sample
from models.questions.interactions import Interactions
from models.questions.run_log import catalogue_codes, read_interactions, split_start
from models.retrieval.fusion import tuned_weight
from models.retrieval.retrieval import read_recent
from models.retrieval.settings import TwoStageSettings
from models.retrieval.towers import Towers

DECAYS: Final = (1.0, 0.9, 0.8, 0.5)
EASE_ITEMS: Final = 5_000
"""The most popular items, which are all that EASE learns: its time grows with their cube, and it is learnt up to three times."""
_POOL: Final = 200
"""Best items of each score that are looked at to choose; NDCG@10 sees the first ten."""
_CELLS: Final = 20_000_000
"""Scores held at a time."""


@dataclass(frozen=True)
class Chosen:
    """A blend, and the mean NDCG@10 of validation with it and with the retrieval model alone."""

    blend: Blend
    ndcg: float
    alone: float


def learners(most: int) -> Mapping[str, Callable[[], ItemToItem]]:
    """Return name -> the model that is fitted, for ``most`` neighbours; discounted rules hold back what follows everything."""
    return {
        "item_knn": lambda: ItemKNN(neighbours=most),
        "ease": lambda: EASE(max_items=EASE_ITEMS),
        "sequential_rules": lambda: SequentialRules(discount=0.0),
        "discounted_rules": SequentialRules,
    }


def fit_item_to_item(run: Path, settings: ItemToItemSettings, evaluate: TwoStageSettings, seed: int) -> Chosen:
    """Choose learner, decay and weight on ``valid``, and write ``models/item_to_item`` of a run.

    The tables of ``valid`` and ``test`` are learnt from the interactions before these splits begin, that of ``snapshot``, which is
    served, from all: a table is a statistic of the log like an item's popularity, so it is refreshed, not frozen at training.

    Args:
        run: run directory with examples and the retrieval model's ONNX files.
        settings: which learners to try.
        evaluate: how many validation anchors to use.
        seed: fixes the sample of anchors.

    Returns:
        What was chosen; without validation anchors the retrieval model alone.

    Raises:
        RunError: if a file of the run is missing or corrupt.
    """
    names = {"auto": tuple(learners(1)), "none": ()}.get(settings.learner, (settings.learner,))
    anchors = sample(read_anchors(run, "valid"), evaluate.max_two_stage_anchors, seed)
    if not names or not len(anchors):
        return _finish(run, Chosen(Blend(), 0.0, 0.0), None, settings)
    log = read_interactions(run)
    choice = _Choice(run, anchors)
    best = Chosen(Blend(), choice.alone, choice.alone)
    with progress("item to item", len(names) * len(DECAYS)) as advance:
        for name in names:
            table = _table(run, "valid", log, name, settings.neighbours)
            for decay in DECAYS:
                weight, ndcg = choice.weigh(table, decay)
                advance(1, f"{name} NDCG@10 {ndcg:.4f}")
                if weight > 0 and ndcg > best.ndcg:
                    best = Chosen(Blend(name, decay, weight), ndcg, choice.alone)
    return _finish(run, best, log, settings)


def _finish(run: Path, chosen: Chosen, log: Interactions | None, settings: ItemToItemSettings) -> Chosen:
    for split in ("valid", "test", "snapshot"):
        path = RunLayout(run).item_to_item.neighbours(split)
        if chosen.blend.learner and log is not None:
            _table(run, split, log, chosen.blend.learner, settings.neighbours).write(path)
        else:
            path.unlink(missing_ok=True)
    chosen.blend.write(run)
    return chosen


def _table(run: Path, split: str, log: Interactions, name: str, most: int) -> Neighbours:
    """Learn the table of a catalogue from what happened before it was asked about."""
    model = learners(most)[name]()
    model.fit(log if split == "snapshot" else log.take(log.time < split_start(run, split)))
    matrix: Any = model.similarities(most)
    catalogue = RunLayout(run).snapshot("items") if split == "snapshot" else RunLayout(run).examples(split, "catalogue")
    columns = catalogue_codes(catalogue, log)
    return Neighbours.from_matrix(strongest(matrix[columns][:, columns].tocsr(), most), most)


class _Choice:
    """The validation anchors with the retrieval model's scores, on which blends are compared.

    Args:
        run: run directory.
        anchors: A validation anchors.
    """

    def __init__(self, run: Path, anchors: Anchors) -> None:
        self._anchors = anchors
        self._towers = Towers(run, "valid", anchors.row)
        self._recent = read_recent(run, "valid")[anchors.row]
        self._hidden = _marked(anchors)
        self._step = max(1, _CELLS // anchors.items)
        most = min(_POOL, anchors.items)
        self._first = np.concatenate([top_columns(allowed(self._towers(part.row), part), most) for part in self._parts()])
        dot = self._dot(self._first)
        self.alone = tuned_weight(np.zeros_like(dot), dot, relevant(anchors, self._first), anchors.n_truth)[1]
        """Mean NDCG@10 of the retrieval model by itself."""

    def weigh(self, table: Neighbours, decay: float) -> tuple[float, float]:
        """Return the best weight of a table with a decay, and the mean NDCG@10 with it."""
        spoken_for = table.spoken_for(self._recent, decay)
        fresh = spoken_for - spoken_for.multiply(self._hidden)
        second = Neighbours.from_matrix(strongest(fresh.tocsr(), _POOL), _POOL).columns
        pool = np.sort(np.concatenate([self._first, second], axis=1), axis=1)
        pool[:, 1:][pool[:, 1:] == pool[:, :-1]] = -1  # in both
        rows = np.repeat(np.arange(len(pool)), pool.shape[1])
        added = np.asarray(spoken_for[rows, np.maximum(pool, 0).ravel()]).reshape(pool.shape)
        return tuned_weight(added, self._dot(pool), relevant(self._anchors, pool), self._anchors.n_truth)

    def _parts(self) -> list[Anchors]:
        count = len(self._anchors)
        return [self._anchors.take(np.arange(at, min(at + self._step, count))) for at in range(0, count, self._step)]

    def _dot(self, pool: Ints) -> Numbers:
        """Return [A, P] dot products, -inf where the pool has a gap."""
        begins = range(0, len(self._anchors), self._step)
        parts = [
            np.take_along_axis(self._towers(part.row), np.maximum(pool[begin : begin + len(part)], 0), axis=1)
            for begin, part in zip(begins, self._parts(), strict=True)
        ]
        return np.where(pool >= 0, np.concatenate(parts), -np.inf)


def _marked(anchors: Anchors) -> Any:
    """Return a ``scipy.sparse.csr_matrix`` [A, N] with 1 for what must not be recommended."""
    from scipy.sparse import csr_matrix

    places = (anchors.hidden_row, anchors.hidden_column)
    return csr_matrix((np.ones(len(places[0]), np.float32), places), shape=(len(anchors), anchors.items))
