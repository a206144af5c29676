"""Retrieval and ranking together: retrieval finds candidates, the DLRM and the retrieval score order them.

How both scores are joined, ``models/ranking/fusion.json`` says; see ``models.retrieval.fusion``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cartwheel.core.frames import flattened, read_frame
from cartwheel.core.onnx_model import OnnxModel
from cartwheel.core.progress import progress
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_json
from models.families.neighbours.blend import read_blend
from models.metrics.ranked_lists import Judged
from models.metrics.ranking import Floats, Ints, Numbers, Placement, place, top_columns
from models.questions.anchors import QUESTIONS, Anchors, judge, read_anchors, relevant, sample
from models.retrieval.fusion import Fusion, fuse, read_fusion, write_fusion
from models.retrieval.retrieval import Retrieval
from models.retrieval.retriever import blended, retriever, two_stage
from models.retrieval.settings import TwoStageSettings
from models.retrieval.towers import read_catalogue, read_queries
from workflows.compiler.onnx_graph import ENCODED_SUFFIX
from workflows.features.columns import CROSS, QUERY_LISTS
from workflows.features.pair import MISSING, PADDING, cross_features

_PAIRS = 65_536
"""(anchor, candidate) pairs that the ranking model sees at once."""


@dataclass(frozen=True)
class Retrieved:
    """A run's retrieval over one split, and what it made of the whole catalogue for A anchors."""

    retrieval: Retrieval
    judged: Judged

    def take(self, chosen: Ints) -> Retrieved:
        """Return what was made for the anchors numbered ``chosen`` (ascending)."""
        return Retrieved(self.retrieval, self.judged.take(chosen))


@dataclass(frozen=True)
class TwoStage:
    """The candidates of A anchors, C of each, best retrieved first.

    Places that no item fills (a catalogue of fewer than C allowed items) have candidate -1, retrieval score 0 and logit -inf.
    """

    anchors: Anchors
    candidates: Ints
    """[A, C] catalogue columns."""
    retrieval: npt.NDArray[np.float32]
    """[A, C] retrieval scores."""
    logit: npt.NDArray[np.float32]
    """[A, C] ranking scores."""
    relevant: npt.NDArray[np.bool_]
    """[A, C] whether the candidate is a truth item."""
    retrieved: Judged
    """What retrieval alone made of the whole catalogue, for the same anchors."""

    def judged(self, fusion: Fusion) -> Judged:
        """Return where truth items stand by the final score; those that were not retrieved are missed."""
        scores = fusion.scores(self.retrieval, self.logit)
        return Judged(self._placement(scores), self._top(scores))

    def _placement(self, scores: Numbers) -> Placement:
        row, column = np.nonzero(self.relevant)
        return place(scores, row.astype(np.int64), column.astype(np.int64), self.anchors.n_truth)

    def _top(self, scores: Numbers) -> Ints:
        order = top_columns(scores, scores.shape[1])
        return np.where(order < 0, -1, np.take_along_axis(self.candidates, np.maximum(order, 0), axis=1))


def served_name(run: Path, fusion: Fusion) -> str:
    """Return the name of what a run serves: both stages, or the retrieval model where the second stage is not used.

    Raises:
        RunError: if the run does not tell whether it retrieves with neighbours.
    """
    alone = retriever(run)
    if fusion.ranks:
        return two_stage(alone)
    return alone if read_blend(run).alone else blended(alone)


def served_remark(fusion: Fusion, candidates: int) -> str:
    """Say what a reader of the figures of what is served should know."""
    if not fusion.ranks:
        return fusion.sentence
    return f"orders the first {candidates} that the retrieval model finds; others count as missed"


def tune_fusion(run: Path, settings: TwoStageSettings, seed: int) -> Fusion:
    """Choose on ``valid`` how both scores are joined, and write it to ``models/ranking/fusion.json``.

    Args:
        run: run directory with both models' ONNX files.
        settings: how many candidates and anchors to use.
        seed: fixes the sample of anchors, the halves of the shoppers and the resamples.

    Returns:
        What was chosen; where no validation anchor has a truth item among its candidates, what training left there.
    """
    folder = RunLayout(run).model("ranking").path
    anchors = sample(read_anchors(run, "valid"), settings.max_two_stage_anchors, seed)
    if not len(anchors):
        return read_fusion(folder)
    stages = retrieve_and_rank(run, "valid", settings, anchors)
    if not stages.relevant.any():
        return read_fusion(folder)
    fusion = fuse(stages.retrieval, stages.logit, stages.relevant, anchors.n_truth, anchors.users, seed)
    write_fusion(folder, fusion)
    return fusion


def retrieve_and_rank(
    run: Path,
    split: str,
    settings: TwoStageSettings,
    anchors: Anchors,
    depth: int = 0,
    table: str = QUESTIONS,
    retrieved: Retrieved | None = None,
) -> TwoStage:
    """Retrieve ``settings.candidates`` items for each anchor and score them with the ranking model.

    Args:
        run: run directory.
        split: ``valid`` or ``test``.
        settings: how many candidates.
        anchors: anchors of that split and table.
        depth: how many places of what retrieval alone makes are looked at, if they are more than the candidates.
        table: the table of questions.
        retrieved: what retrieval has made for these anchors already, at least as deep as the candidates and ``depth``; None has it made.

    Returns:
        Candidates and both scores.
    """
    if retrieved is None:
        found = Retrieval(run, split, anchors.row, table)
        retrieved = Retrieved(found, judge(found, anchors, max(settings.candidates, depth), f"retrieve {split}"))
    retrieval, judged = retrieved.retrieval, retrieved.judged
    candidates = judged.top[:, : settings.candidates]
    pairs = _Pairs(run, split, table)
    score = np.zeros(candidates.shape, np.float32)
    logit = np.full(candidates.shape, -np.inf, np.float32)
    step = max(1, _PAIRS // max(1, candidates.shape[1]))
    with progress(f"rank {split}", len(anchors)) as advance:
        for start in range(0, len(anchors), step):
            part = slice(start, start + step)
            place_of, slot = np.nonzero(candidates[part] >= 0)
            column = candidates[part][place_of, slot]
            row = anchors.row[part][place_of]
            score[start + place_of, slot] = retrieval.pairs(row, column)
            logit[start + place_of, slot] = pairs.logits(row, column)
            advance(len(candidates[part]))
    return TwoStage(anchors, candidates, score, logit, relevant(anchors, candidates), judged)


class _Pairs:
    """The ranking model over (anchor, item) pairs of one split."""

    def __init__(self, run: Path, split: str, table: str) -> None:
        layout = RunLayout(run)
        self._model = OnnxModel(layout.model("ranking").scores)
        self._cross = OnnxModel(layout.graph("cross"))
        length = int(read_json(layout.state)["recent_items"])
        self._queries = {
            name: values for name, values in read_queries(run, split, length, table).items() if name not in QUERY_LISTS
        }
        self._items = read_catalogue(run, split)
        self._raw = _read_raw(run, split, table)

    def logits(self, row: Ints, column: Ints) -> npt.NDArray[np.float32]:
        """Return [n] logits of the anchors in examples row ``row`` [n] with the catalogue items ``column`` [n]."""
        if not len(row):
            return np.zeros(0, np.float32)
        raw = cross_features(
            self._raw.recent_categories[row],
            self._raw.recent_brands[row],
            self._raw.mean_price[row],
            self._raw.category[column],
            self._raw.brand[column],
            self._raw.price[column],
        )
        columns: dict[str, npt.NDArray[Any]] = {
            name: self._cross.batch(raw, name + ENCODED_SUFFIX) for name in CROSS if name in self._model.inputs
        }
        columns |= {name: values[row] for name, values in self._queries.items() if name in self._model.inputs}
        columns |= {name: values[column] for name, values in self._items.items() if name in self._model.inputs}
        return self._model.table(columns)[:, 0]


@dataclass(frozen=True)
class _Raw:
    """What the cross features are computed from, categories and brands as integer codes."""

    recent_categories: Ints
    recent_brands: Ints
    mean_price: Floats
    category: Ints
    brand: Ints
    price: Floats


def _read_raw(run: Path, split: str, table: str) -> _Raw:
    layout = RunLayout(run)
    queries = read_frame(layout.examples(split, table), ["recent_categories", "recent_brands", "user_mean_price"])
    items = read_frame(layout.examples(split, "catalogue"), ["item_category", "item_brand", "item_price"])
    recent_categories, category = _codes(queries["recent_categories"], items["item_category"])
    recent_brands, brand = _codes(queries["recent_brands"], items["item_brand"])
    prices = [
        column.cast(pl.Float64).fill_null(float("nan")).to_numpy() for column in (queries["user_mean_price"], items["item_price"])
    ]
    return _Raw(recent_categories, recent_brands, prices[0], category, brand, prices[1])


def _codes(lists: pl.Series, own: pl.Series) -> tuple[Ints, Ints]:
    """Return lists as [A, L] codes and ``own`` as [N] codes of one table, in which the empty string is ``MISSING``."""
    lengths, flat = flattened(lists)
    names = pl.concat([flat, own.fill_null("")]).unique().sort()
    names = names.filter(names != "")
    code = pl.DataFrame({"name": names, "code": np.arange(1, len(names) + 1)})

    def coded(values: pl.Series) -> Ints:
        joined = pl.DataFrame({"name": values}).join(code, on="name", how="left", maintain_order="left")
        return joined["code"].fill_null(MISSING).to_numpy().astype(np.int64)

    table = np.full((len(lists), max(1, int(lengths.max(initial=0)))), PADDING, np.int64)
    table[np.arange(table.shape[1]) < lengths[:, None]] = coded(flat)
    return table, coded(own.fill_null(""))
