"""Evaluates the served lists by form of request, next to the popularity baselines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from cartwheel.core.frames import read_frame
from cartwheel.core.run_layout import RunLayout
from evaluation.figures import Protocol, Record
from evaluation.lists import NOTHING, CatalogueFacts, Entry, list_records
from evaluation.settings import EvaluateSettings
from models.families.tabular.logistic_regression import POPULARITY
from models.questions.anchors import Anchors, judge, read_anchors, sample
from models.retrieval.fusion import read_fusion
from models.retrieval.run_scorer import popularity
from models.retrieval.two_stage import retrieve_and_rank, served_name, served_remark
from workflows.tasks.recommend_requests import RECOMMEND_REQUESTS
from workflows.tasks.task_names import RECOMMEND_OF, SPLIT

_CANDIDATES: Final = "all {} items first seen before the {} split began, asked for as a request of the form: {}"


def list_request_records(run: Path, settings: EvaluateSettings, seed: int, facts: CatalogueFacts, excluded: str) -> list[Record]:
    """Judge what is served on ``features/test/recommend_requests``, each form of request by itself.

    Args:
        run: run directory after prepare and train.
        settings: cutoffs, resamples, candidates; at most ``max_two_stage_anchors`` requests are asked, of all forms together.
        seed: fixes sample and resamples.
        facts: of the catalogue.
        excluded: what is left out, in words; of each form, as much of it as is stored or told.

    Returns:
        The records of each form that can be asked for; none for a run of an earlier release.

    Raises:
        RunError: if a file or a column is missing or tables are not row-aligned.
    """
    path = RunLayout(run).examples(SPLIT, RECOMMEND_REQUESTS)
    if not path.is_file():
        return []
    known = excluded if excluded == NOTHING else f"{excluded}; of these what is stored of the shopper and what the request tells"
    forms = read_frame(path, ["form"])["form"].to_numpy()
    every = sample(read_anchors(run, SPLIT, RECOMMEND_REQUESTS), settings.max_two_stage_anchors, seed)
    entries = _entries(run, settings, every) if len(every) else []
    records: list[Record] = []
    for form, task in RECOMMEND_OF.items():
        chosen = np.flatnonzero(forms[every.row] == form)
        anchors = every.take(chosen)
        if len(anchors):
            protocol = Protocol(SPLIT, _CANDIDATES.format(anchors.items, SPLIT, form), "", anchors.sample_size, known, "")
            of_form = [replace(entry, judged=entry.judged.take(chosen)) for entry in entries]
            records += list_records(task, of_form, anchors, facts, settings, seed, protocol)
    return records


def _entries(run: Path, settings: EvaluateSettings, anchors: Anchors) -> list[Entry]:
    """Judge what is served, and the popularity baselines, for requests of all forms together."""
    depth = max(settings.cutoffs)
    fusion = read_fusion(RunLayout(run).model("ranking").path)
    stages = retrieve_and_rank(run, SPLIT, settings, anchors, depth, RECOMMEND_REQUESTS, counted=fusion)
    served = Entry(served_name(run, fusion), "model", stages.judged(fusion), served_remark(fusion, stages.candidates.shape[1]))
    return [
        served,
        *(
            Entry(name, "baseline", judge(popularity(run, SPLIT, column), anchors, depth, f"evaluate {name}, requests"))
            for name, column in POPULARITY.items()
        ),
    ]
