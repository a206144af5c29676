"""Windows of the training span, each as long as validation: questions for a ranker that learns from the candidates of its own retrievers.

What retrieves for a window is learnt from the events before it, so a ranker meets there what it will meet when it serves: candidates
that were found without knowing what came next. Windows end where validation begins, and each ends where the one before it begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_json
from workflows.events.asof import Ints
from workflows.events.event_log import EventLog
from workflows.features.item import ItemHistory
from workflows.features.shopper import ShopperFeatures
from workflows.settings import PrepareSettings
from workflows.tasks.catalogue import catalogue_frame
from workflows.tasks.leave_out import LeftOut
from workflows.tasks.recommend import Anchors, choose_anchors, examples_to_judge, recommend_frame
from workflows.tasks.split import Split

_STREAM: Final = 101
"""Keeps the draws of windows apart from those of the splits."""
BEFORE: Final = 0.25
"""Share of the log's events that must lie before a window, for retrievers to learn from."""


@dataclass(frozen=True)
class Window:
    """The questions of one window.

    Attributes:
        name: of its folder among the examples; ``window_1`` is the latest.
        split: begins at ``t_valid`` and ends before ``t_test``.
        questions: as ``recommend_frame`` makes them, with their truth within the window.
        catalogue: the items as of its beginning.
    """

    name: str
    split: Split
    questions: pl.DataFrame
    catalogue: pl.DataFrame


def window_splits(times: Ints, split: Split, most: int) -> list[Split]:
    """Return where windows begin and end, the latest first.

    Args:
        times: int64 [N], instants of the events, any order, microseconds.
        split: the run's own.
        most: how many windows at most.
    """
    length, found = split.t_test - split.t_valid, list[Split]()
    for number in range(most):
        begin, end = split.t_valid - (number + 1) * length, split.t_valid - number * length
        if np.count_nonzero(times < begin) < BEFORE * len(times):
            break
        found.append(Split(begin, end, split.end))
    return found


def cut_windows(
    log: EventLog, history: ShopperFeatures, items: ItemHistory, left_out: LeftOut, anchors: Anchors, split: Split,
    settings: PrepareSettings, seed: int,
) -> list[Window]:  # fmt: skip
    """Cut the questions of every window; one without a question is left out.

    Args:
        log: the events.
        history: the interactions.
        items: the item statistics.
        left_out: what is neither asked for nor true.
        anchors: every moment that asks for a recommendation.
        split: the run's own.
        settings: how many windows and questions at most.
        seed: draws the questions.
    """
    sampled = settings.model_copy(update={"max_eval_anchors": settings.max_window_anchors})
    found = []
    for number, own in enumerate(window_splits(log.time, split, settings.windows), start=1):
        rng = np.random.default_rng([seed, _STREAM, number])
        chosen = choose_anchors(anchors, own, "valid", sampled, rng)
        if len(chosen.key):
            examples = examples_to_judge(history, chosen, own, "valid", settings, left_out)
            questions = recommend_frame(log, history, items, examples, settings)
            found.append(Window(f"window_{number}", own, questions, catalogue_frame(items, own.t_valid)))
    return found


def read_windows(layout: RunLayout) -> tuple[str, ...]:
    """Return the names of a run's windows, the latest first; none where an earlier release prepared it, or there is no report.

    Raises:
        RunError: if the report of the examples cannot be read.
    """
    return tuple(read_json(layout.examples_report).get("windows", {})) if layout.examples_report.is_file() else ()
