"""Evaluates the models of a run on its test split: retrieval, ranking, carts, and the two stages together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cartwheel.core.frames import read_frame
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_json
from evaluation.figures import Evaluation, Protocol, Record, merged
from evaluation.forecasts import cart_records, ranking_records
from evaluation.list_requests import list_request_records
from evaluation.lists import CatalogueFacts, Entry, left_out, list_records, read_facts
from evaluation.oracle import Oracle, OracleQueries
from evaluation.report.details import RetrieverTable
from evaluation.report.gather import gather
from evaluation.requests import request_records
from evaluation.retrievers import retriever_table
from evaluation.segments import Lists, Shown
from evaluation.settings import EvaluateSettings
from models.families.registry import make_baseline
from models.families.tabular.logistic_regression import POPULARITY
from models.metrics.ranking import Ints
from models.questions.anchors import Anchors, Scorer, judge, read_anchors, sample
from models.questions.run_log import read_interactions, read_questions
from models.retrieval.fusion import read_fusion
from models.retrieval.retrieval import Retrieval
from models.retrieval.retriever import blended, retriever, two_stage
from models.retrieval.run_scorer import RunScorer, popularity
from models.retrieval.two_stage import Retrieved, retrieve_and_rank, served_name, served_remark
from workflows.tasks.task_names import ORACLE, RETRIEVAL, SPLIT, TWO_STAGE

__all__ = ["Evaluation", "Oracle", "evaluate_run"]


@dataclass(frozen=True)
class _Lists:
    """What the list tasks share: the anchors, what was evaluated beside the models, and words for the protocol."""

    run: Path
    settings: EvaluateSettings
    seed: int
    anchors: Anchors
    facts: CatalogueFacts
    excluded: str
    beside: tuple[Entry, ...]
    """The baselines, and the oracle where there is one, evaluated on all anchors."""
    first: tuple[Entry, ...]
    """The retrieval model by itself and, where it retrieves with neighbours, both together, evaluated on all anchors."""
    retrieved: Retrieved | None
    """What the last of them made of the catalogue, as deep as the candidates; None where there is no anchor."""

    def sampled(self) -> tuple[Anchors, Ints]:
        """Return the anchors on which what is served is evaluated, and their numbers among all."""
        anchors = sample(self.anchors, self.settings.max_two_stage_anchors, self.seed)
        return anchors, np.searchsorted(self.anchors.row, anchors.row)

    @property
    def retriever(self) -> str:
        """Name of the retrieval model."""
        return retriever(self.run)

    def records(self, task: str, entries: list[Entry], anchors: Anchors) -> list[Record]:
        everything = f"all {anchors.items} items first seen before the {SPLIT} split began"
        protocol = Protocol(SPLIT, everything, "", anchors.sample_size, self.excluded, "")
        return list_records(task, entries, anchors, self.facts, self.settings, self.seed, protocol)


def evaluate_run(run: Path, settings: EvaluateSettings, seed: int, oracle: Oracle | None = None) -> Evaluation:
    """Judge what a run has trained, through the ONNX files that get served.

    Writes ``evaluation/metrics.json`` with every record, and ``evaluation/details.json`` with what the report draws beside them.

    Four tasks, each with its baselines (less one that is the retrieval model itself), a 95% interval over users around every
    figure, and paired differences:

    - ``retrieval``: the retrieval model ranks the whole catalogue, by itself and with the neighbours that it is served with.
    - ``two_stage``: the first ``settings.candidates`` items of the latter, ordered as served: by DLRM and retrieval score together, or by
      the latter alone where the DLRM was no better on validation.
    - ``ranking``: the DLRM tells items that were interacted with from sampled others.
    - ``cart_line`` and ``cart``: which cart lines, and which carts, get bought; only where the log has carts. Both once more for each
      form of request (``workflows.tasks.task_names.CART_LINE_OF`` and ``CART_OF``), as served, beside the base rate of the form.

    Args:
        run: run directory after prepare and train.
        settings: cutoffs, resamples, candidates.
        seed: fixes samples and resamples; equal seeds give equal bytes.
        oracle: the truth of a simulated shop, evaluated beside the models.

    Returns:
        All records.

    Raises:
        RunError: if the run lacks a file or a column that evaluation needs, or tables are not row-aligned.
    """
    anchors = read_anchors(run, SPLIT)
    beside = tuple(_beside(run, settings, seed, oracle, anchors))
    first = _first_stage(run, settings, anchors)
    lists = _Lists(run, settings, seed, anchors, read_facts(run, SPLIT), left_out(run), beside, *first)
    of_both, shown = _two_stage(lists)
    ranking, of_ranking = ranking_records(run, settings, seed, oracle)
    carts, of_carts = cart_records(run, settings, seed, oracle)
    requests, of_forms = request_records(run, settings, seed)
    asked = list_request_records(run, settings, seed, lists.facts, lists.excluded)
    cut = str(read_json(RunLayout(run).examples_report).get("split", ""))  # a run of an earlier release does not tell
    evaluation = merged([_retrieval_records(lists), of_both, asked, ranking, carts, requests]).cut(cut)
    details = gather(run, evaluation, shown, of_ranking | of_carts, of_forms, settings, seed)
    details = details.model_copy(update={"retrievers": _retrievers(lists)})
    evaluation.write(run)
    details.write(run)
    return evaluation


def _beside(run: Path, settings: EvaluateSettings, seed: int, oracle: Oracle | None, anchors: Anchors) -> Iterator[Entry]:
    """Judge the baselines, and the oracle where there is one, on all anchors."""
    depth = max(settings.cutoffs)
    for name, scorer in _scorers(run, settings, seed, anchors):
        shared = isinstance(scorer, RunScorer) and scorer.shared
        yield Entry(name, "baseline", judge(scorer, anchors, depth, f"evaluate {name}", shared=shared))
        del scorer  # before the next one is fitted: EASE's weights alone may take a gigabyte
    if oracle is not None:
        items = read_frame(RunLayout(run).examples(SPLIT, "catalogue"), ["item_id"])["item_id"].to_list()
        truth = OracleQueries(run, SPLIT, oracle).scorer(items)
        yield Entry(ORACLE, "oracle", judge(truth, anchors, depth, f"evaluate {ORACLE}"))


def _scorers(run: Path, settings: EvaluateSettings, seed: int, anchors: Anchors) -> Iterator[tuple[str, Scorer]]:
    """Yield each baseline, fitted on what happened before the split began; one at a time, since some are large."""
    for name, column in POPULARITY.items():
        yield name, popularity(run, SPLIT, column)
    learnt = [name for name in settings.baselines if name not in (*POPULARITY, retriever(run))]
    if learnt and len(anchors):
        log = read_interactions(run)
        questions = read_questions(run, SPLIT, log)
        for name in learnt:
            yield name, RunScorer(make_baseline(name, seed, settings.baseline_parameters.get(name)), run, SPLIT, log, questions)


def _first_stage(run: Path, settings: EvaluateSettings, anchors: Anchors) -> tuple[tuple[Entry, ...], Retrieved | None]:
    """Judge the retrieval model, and it with the neighbours where the run has some, on all anchors; return what is served, too."""
    if not len(anchors):
        return (), None
    depth, alone = max(settings.cutoffs), retriever(run)
    deep = max(depth, settings.candidates)  # the second stage orders what was found here
    retrieval = Retrieval(run, SPLIT, anchors.row)
    if retrieval.blend.alone:
        found = judge(retrieval, anchors, deep, f"evaluate {alone}")
        return (Entry(alone, "model", found.cut(depth)),), Retrieved(retrieval, found)
    both, first = blended(alone), Entry(alone, "model", judge(retrieval.towers, anchors, depth, f"evaluate {alone}"))
    found = judge(retrieval, anchors, deep, f"evaluate {both}")
    return (first, Entry(both, "model", found.cut(depth), retrieval.blend.sentence)), Retrieved(retrieval, found)


def _retrieval_records(lists: _Lists) -> list[Record]:
    models = list(lists.first) or _unjudged(lists, [lists.retriever])
    return lists.records(RETRIEVAL, [*models, *lists.beside], lists.anchors)


def _two_stage(lists: _Lists) -> tuple[list[Record], Shown | None]:
    """Return the records of what is served, and the lists behind them; None where there is no anchor."""
    anchors, chosen = lists.sampled()
    if lists.retrieved is None:
        both = two_stage(lists.retriever)
        return lists.records(TWO_STAGE, [*_unjudged(lists, [both, lists.retriever]), *lists.beside], anchors), None
    depth, retrieved = max(lists.settings.cutoffs), lists.retrieved.take(chosen)
    fusion = read_fusion(RunLayout(lists.run).model("ranking").path)
    stages = retrieve_and_rank(lists.run, SPLIT, lists.settings, anchors, depth, retrieved=retrieved, counted=fusion)
    judged, name = stages.judged(fusion), served_name(lists.run, fusion)
    beside = [replace(entry, judged=entry.judged.take(chosen), role="baseline") for entry in lists.first if entry.model != name]
    beside += [replace(entry, judged=entry.judged.take(chosen)) for entry in lists.beside]
    entries = [Entry(name, "model", judged, served_remark(fusion, stages.candidates.shape[1])), *beside]
    found = stages.candidates[np.nonzero(stages.relevant)]
    shown = [Lists(each.model, each.role, each.judged, anchors.truth_column) for each in beside]
    shown.insert(0, Lists(name, "model", judged, found))
    return lists.records(TWO_STAGE, entries, anchors), Shown(lists.run, SPLIT, anchors, stages, fusion, tuple(shown))


def _retrievers(lists: _Lists) -> RetrieverTable | None:
    """Ask the retrievers of the sum one by one, for a sample of the anchors."""
    if lists.retrieved is None:
        return None
    anchors, chosen = lists.sampled()
    done = {entry.model: entry.judged.take(chosen) for entry in lists.first}
    return retriever_table(lists.retrieved.retrieval, done, anchors, lists.settings.candidates)


def _unjudged(lists: _Lists, models: list[str]) -> list[Entry]:
    """Return entries without a judgement, for a split without anchors."""
    nothing = judge(lambda rows: np.zeros((len(rows), lists.anchors.items)), lists.anchors, 1, "evaluate nothing")
    return [Entry(model, "model", nothing) for model in models]
