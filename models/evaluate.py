"""Judging the models of a run on its test split: retrieval, ranking, carts, and the two stages together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from models.baselines import POPULARITY
from models.evaluate_chances import cart_records, ranking_records
from models.figures import Evaluation, Protocol, Record, merged
from models.fusion import read_fusion
from models.judge_lists import CatalogueFacts, Entry, list_records, read_facts, two_stage_remark
from models.oracle_scores import Oracle, OracleQueries
from models.retrieval_scores import Anchors, Scorer, TwoTower, judge, popularity, read_anchors
from models.run_tables import read_json, read_table
from models.settings import EvaluateSettings
from models.two_stage import TwoStage, retrieve_and_rank, sample

__all__ = ["Evaluation", "Oracle", "evaluate_run"]

SPLIT: Final = "test"
RETRIEVAL: Final = "retrieval"
TWO_STAGE: Final = "two_stage"
TWO_TOWER: Final = "two_tower"
TWO_STAGE_MODEL: Final = "two_tower+dlrm"
ORACLE: Final = "oracle"


@dataclass(frozen=True)
class _Catalogue:
    """What the list tasks share: the anchors, the scorers beside the models, and words for the protocol."""

    run: Path
    settings: EvaluateSettings
    seed: int
    oracle: Oracle | None
    anchors: Anchors
    facts: CatalogueFacts
    excluded: str

    @property
    def everything(self) -> str:
        return f"all {self.anchors.items} items first seen before the {SPLIT} split began"

    @property
    def depth(self) -> int:
        return max(self.settings.cutoffs)

    def protocol(self, anchors: Anchors) -> Protocol:
        return Protocol(SPLIT, self.everything, "", anchors.sample_size, self.excluded, "")

    def beside(self, anchors: Anchors) -> Iterator[Entry]:
        """Judge the baselines, and the oracle where there is one."""
        for name, column in POPULARITY.items():
            scorer = popularity(self.run, SPLIT, column)
            yield Entry(name, "baseline", judge(scorer, anchors, self.depth, f"evaluate {name}"))
        if self.oracle is not None:
            yield Entry(ORACLE, "oracle", judge(self._oracle_scorer(self.oracle), anchors, self.depth, f"evaluate {ORACLE}"))

    def _oracle_scorer(self, oracle: Oracle) -> Scorer:
        items = read_table(self.run / "examples" / SPLIT / "catalogue.parquet", ["item_id"])["item_id"].to_list()
        return OracleQueries(self.run, SPLIT, oracle).scorer(items)


def evaluate_run(run: Path, settings: EvaluateSettings, seed: int, oracle: Oracle | None = None) -> Evaluation:
    """Judge what a run has trained, through the ONNX files that get served, and write ``evaluation/metrics.json``.

    Four tasks, each with its baselines, a 95% interval over users around every figure, and paired differences:

    - ``retrieval``: the two-tower ranks the whole catalogue.
    - ``two_stage``: its first ``settings.candidates`` items, ordered by DLRM and dot product together.
    - ``ranking``: the DLRM tells items that were interacted with from sampled others.
    - ``cart_line`` and ``cart``: which cart lines, and which carts, get bought; only where the log has carts.

    Args:
        run: run directory after prepare and train.
        settings: cutoffs, resamples, candidates.
        seed: fixes samples and resamples; equal seeds give equal bytes.
        oracle: the truth of a simulated shop, judged beside the models.

    Returns:
        All records.

    Raises:
        RunError: if the run lacks a file or a column that evaluation needs, or tables are not row-aligned.
    """
    anchors = read_anchors(run, SPLIT)
    hides = bool(read_json(run / "snapshot" / "state.json")["exclude_recent"])
    excluded = "the shopper's recent items, as candidates and as truth" if hides else "nothing"
    lists = _Catalogue(run, settings, seed, oracle, anchors, read_facts(run, SPLIT), excluded)
    evaluation = merged(
        [
            _retrieval_records(lists),
            _two_stage_records(lists),
            ranking_records(run, settings, seed, oracle),
            cart_records(run, settings, seed, oracle),
        ]
    )
    evaluation.write(run)
    return evaluation


def _retrieval_records(lists: _Catalogue) -> list[Record]:
    anchors = lists.anchors
    if len(anchors):
        scorer = TwoTower(lists.run, SPLIT, anchors.row)
        entries = [Entry(TWO_TOWER, "model", judge(scorer, anchors, lists.depth, f"evaluate {TWO_TOWER}"))]
        entries += lists.beside(anchors)
    else:
        entries = _unjudged(lists, [TWO_TOWER])
    return list_records(RETRIEVAL, entries, anchors, lists.facts, lists.settings, lists.seed, lists.protocol(anchors))


def _two_stage_records(lists: _Catalogue) -> list[Record]:
    anchors = sample(lists.anchors, lists.settings.max_two_stage_anchors, lists.seed)
    if len(anchors):
        stages = retrieve_and_rank(lists.run, SPLIT, lists.settings, anchors)
        entries = [*_stages(lists, stages), *lists.beside(anchors)]
    else:
        entries = _unjudged(lists, [TWO_STAGE_MODEL, TWO_TOWER])
    return list_records(TWO_STAGE, entries, anchors, lists.facts, lists.settings, lists.seed, lists.protocol(anchors))


def _stages(lists: _Catalogue, stages: TwoStage) -> Iterator[Entry]:
    """Return both stages together, and as a baseline the first stage alone on the same anchors."""
    judged = stages.judged(read_fusion(lists.run / "models" / "ranking"))
    yield Entry(TWO_STAGE_MODEL, "model", judged, two_stage_remark(stages.candidates.shape[1]))
    yield Entry(TWO_TOWER, "baseline", stages.retrieved)


def _unjudged(lists: _Catalogue, models: list[str]) -> list[Entry]:
    """Return entries without a judgement, for a split without anchors."""
    nothing = judge(lambda rows: np.zeros((len(rows), lists.anchors.items)), lists.anchors, 1, "evaluate nothing")
    entries = [Entry(model, "model", nothing) for model in models]
    entries += [Entry(name, "baseline", nothing) for name in POPULARITY]
    if lists.oracle is not None:
        entries.append(Entry(ORACLE, "oracle", nothing))
    return entries
