"""Retrieval and ranking together: retrieval finds candidates; its score, the candidate ranker and the DLRM rank them.

How the scores are joined, ``models/ranking/fusion.json`` says; see ``models.retrieval.choose_fusion``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cartwheel.core.onnx_model import OnnxModel
from cartwheel.core.progress import progress
from cartwheel.core.run_layout import RunLayout
from models.families.neighbours.blend import read_blend
from models.metrics.ranked_lists import Judged
from models.metrics.ranking import Ints, Numbers, Placement, place, top_columns
from models.questions.anchors import QUESTIONS, Anchors, judge, read_anchors, relevant, sample
from models.retrieval.choose_fusion import fuse
from models.retrieval.fusion import Fusion, read_fusion, write_fusion
from models.retrieval.pairs import Pairs
from models.retrieval.ranker.ranker import ListRanker, has_ranker
from models.retrieval.retrieval import Retrieval
from models.retrieval.retriever import blended, ordered, retriever
from models.retrieval.settings import TwoStageSettings

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
    """[A, C] ranking scores; 0 of all candidates where the ranking model was not asked."""
    relevant: npt.NDArray[np.bool_]
    """[A, C] whether the candidate is a truth item."""
    retrieved: Judged
    """What retrieval alone made of the whole catalogue, for the same anchors."""
    listed: npt.NDArray[np.float32] | None = None
    """[A, C] scores of the candidate ranker; None where the run has none, or it was not asked."""

    def judged(self, fusion: Fusion) -> Judged:
        """Return where truth items stand by the final score; those that were not retrieved are missed."""
        scores = fusion.scores(self.retrieval, self.logit, self.listed)
        return Judged(self._placement(scores), self._top(scores))

    def _placement(self, scores: Numbers) -> Placement:
        row, column = np.nonzero(self.relevant)
        return place(scores, row.astype(np.int64), column.astype(np.int64), self.anchors.n_truth)

    def _top(self, scores: Numbers) -> Ints:
        order = top_columns(scores, scores.shape[1])
        return np.where(order < 0, -1, np.take_along_axis(self.candidates, np.maximum(order, 0), axis=1))


def served_name(run: Path, fusion: Fusion) -> str:
    """Return the name of what a run serves: retrieval with what orders its candidates, or alone where the second stage is not used.

    Raises:
        RunError: if the run does not tell whether it retrieves with neighbours.
    """
    alone = retriever(run)
    if fusion.used:
        return ordered(alone, dlrm=fusion.ranks, trees=fusion.lists)
    return alone if read_blend(run).alone else blended(alone)


def served_remark(fusion: Fusion, candidates: int) -> str:
    """Say what a reader of the figures of what is served should know."""
    if not fusion.used:
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
    fusion = fuse(stages.retrieval, stages.logit, stages.relevant, anchors.n_truth, anchors.users, seed, stages.listed)
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
    counted: Fusion | None = None,
) -> TwoStage:
    """Retrieve ``settings.candidates`` items for each anchor and score them with what may order them.

    Args:
        run: run directory.
        split: ``valid`` or ``test``.
        settings: how many candidates.
        anchors: anchors of that split and table.
        depth: how many places of what retrieval alone makes are looked at, if they are more than the candidates.
        table: the table of questions.
        retrieved: what retrieval has made for these anchors already, at least as deep as the candidates and ``depth``; None has it made.
        counted: how the scores will be joined: what does not count is not asked. None asks all that there is.

    Returns:
        Candidates and their scores.
    """
    if retrieved is None:
        found = Retrieval(run, split, anchors.row, table)
        retrieved = Retrieved(found, judge(found, anchors, max(settings.candidates, depth), f"retrieve {split}"))
    retrieval, judged = retrieved.retrieval, retrieved.judged
    candidates = judged.top[:, : settings.candidates]
    pairs = Pairs(run, split, table)
    dlrm = OnnxModel(RunLayout(run).model("ranking").scores) if counted is None or counted.ranks else None
    ranker = ListRanker(run, split, table) if (counted is None or counted.lists) and has_ranker(run) else None
    listed = None if ranker is None else np.full(candidates.shape, -np.inf, np.float32)
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
            logit[start + place_of, slot] = 0.0
            if len(row) and dlrm is not None:
                logit[start + place_of, slot] = dlrm.table(pairs.columns(row, column, dlrm.inputs))[:, 0]
            if ranker is not None and listed is not None:
                listed[part] = ranker.scores(pairs, anchors.row[part], candidates[part])
            advance(len(candidates[part]))
    return TwoStage(anchors, candidates, score, logit, relevant(anchors, candidates), judged, listed)
