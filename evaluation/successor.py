"""Compares a run with the served version on the newest events: the same questions to both, paired by shopper.

Each answers as it would have on the first of these days. The version that is served knows its export: its items, their statistics and what
goes together, and of the shopper everything up to the question, as a server with live events does. The successor knows all that came before
these days. Neither has seen the events of these days. What the served version cannot recommend, for it is new, counts as missed.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from cartwheel.core.errors import DataError
from cartwheel.core.run_layout import SNAPSHOT, RunLayout
from cartwheel.core.tables import read_json
from evaluation.settings import EvaluateSettings
from models.metrics.intervals import UserBootstrap
from models.metrics.ranking import Floats, ndcg
from models.questions.anchors import Anchors, read_anchors, sample
from models.retrieval.fusion import read_fusion
from models.retrieval.two_stage import retrieve_and_rank
from workflows.settings import FeatureSettings
from workflows.tasks.task_names import SPLIT

CUTOFF: Final = 10
MARGIN: Final = 0.05
"""How much less NDCG@10 than the served version's still counts as not worse, as a share of that."""


@dataclass(frozen=True)
class Successor:
    """Two lists a question, compared.

    Attributes:
        since: where the newest events begin, ISO 8601.
        questions: how many.
        shoppers: who asked them.
        served: mean NDCG@10 of the version that is served.
        new: that of its successor.
        difference: ``new`` less ``served``.
        low: of the 95 % interval of the difference, over shoppers; None where there are too few.
        high: likewise.
        margin: how far below 0 ``low`` may lie.
    """

    since: str
    questions: int
    shoppers: int
    served: float
    new: float
    difference: float
    low: float | None
    high: float | None
    margin: float

    @property
    def is_not_worse(self) -> bool:
        """Whether the lower end of the interval is no more than the margin below 0."""
        return self.low is not None and self.low >= -self.margin

    @property
    def sentence(self) -> str:
        """What was measured, and what follows."""
        ends = "no interval" if self.low is None or self.high is None else f"95 % interval [{self.low:+.4f}, {self.high:+.4f}]"
        told = (
            f"NDCG@{CUTOFF} {self.new:.4f}, that of the version that is served {self.served:.4f}: {self.difference:+.4f} ({ends}) on"
            f" {self.questions:,} questions of {self.shoppers:,} shoppers since {self.since}"
        )
        rule = f"the lower end {'is not' if self.is_not_worse else 'is'} below {-self.margin:+.4f}"
        return f"{told}; {rule}, so it is {'not worse' if self.is_not_worse else 'not shown to be as good'}"

    def content(self) -> dict[str, Any]:
        """Return it as JSON values, with what follows."""
        return {**asdict(self), "is_not_worse": self.is_not_worse, "sentence": self.sentence}


def compare_with_served(
    run: Path, served: Path, scratch: Path, settings: EvaluateSettings, features: FeatureSettings, seed: int
) -> Successor:
    """Ask a run and the one whose export is served for lists, and compare them.

    Args:
        run: run directory after training; its ``test`` split holds the newest events, all after the end of ``served``'s log.
        served: the run directory whose export is served.
        scratch: a folder that is made and removed again.
        settings: candidates, resamples, and how many questions are asked.
        features: how questions are encoded.
        seed: draws the questions and the resamples.

    Raises:
        DataError: if nothing was asked after the end of the log of ``served``, or its log goes on longer.
        RunError: if a file of either run is missing or corrupt.
    """
    anchors = sample(read_anchors(run, SPLIT), settings.max_two_stage_anchors, seed)
    since = str(read_json(RunLayout(run).examples_report)["t_test"])
    _require_unseen(since, served)
    if not len(anchors):
        raise DataError(
            f"No shopper turned to a new item since {since}, so there is nothing to compare.", "Wait for more events."
        )
    view = _as_it_is_served(run, served, scratch, features)
    try:
        new, old = _ndcg(run, anchors, settings), _ndcg(view, _same(view, anchors), settings)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    bootstrap = UserBootstrap(anchors.users, settings.bootstrap, seed)
    ends = bootstrap.percentile(bootstrap.means((new - old)[:, None])[:, 0])
    served_mean = float(old.mean())
    return Successor(
        since,
        len(anchors),
        bootstrap.users,
        served_mean,
        float(new.mean()),
        float((new - old).mean()),
        ends.low,
        ends.high,
        MARGIN * served_mean,
    )


def _require_unseen(since: str, served: Path) -> None:
    """Check that what is evaluated by lies after all that the served version knows."""
    last = int(read_json(RunLayout(served).state)["last_event_us"])
    if round(datetime.fromisoformat(since).timestamp() * 1_000_000) <= last:
        raise DataError(
            f"The events that are judged by begin at {since}, but the version that is served knows events up to then.",
            "Judge it by later ones.",
        )


def _as_it_is_served(run: Path, served: Path, scratch: Path, features: FeatureSettings) -> Path:
    """Lay out a run whose ``test`` split asks the questions of ``run`` about what ``served`` has exported."""
    from workflows.prepare.features import encode_as

    shutil.rmtree(scratch, ignore_errors=True)
    view, asked, old = RunLayout(scratch), RunLayout(run), RunLayout(served)
    for folder in (view.examples_split(SPLIT), view.features_split(SPLIT), view.snapshot_folder, view.item_to_item.path):
        folder.mkdir(parents=True)
    links = {
        view.examples(SPLIT, "recommend"): asked.examples(SPLIT, "recommend"),
        view.examples_report: asked.examples_report,
        view.examples(SPLIT, "catalogue"): old.snapshot("items"),
        view.columns: old.columns,
        view.features(SPLIT, "catalogue"): old.features(SNAPSHOT, "items"),
        view.state: old.state,
        view.workflow_folder: old.workflow_folder,
    }
    links |= {view.model(folder.name).path: folder for folder in old.models_folder.iterdir() if folder != old.item_to_item.path}
    of_items = list(old.item_to_item.path.iterdir()) if old.item_to_item.path.is_dir() else []
    for file in of_items:
        split, _, learner = file.name.partition("_")
        if split == SNAPSHOT:
            links[view.item_to_item.path / f"{SPLIT}_{learner}"] = file
        elif not learner:
            links[view.item_to_item.path / file.name] = file
    if not of_items:
        view.item_to_item.path.rmdir()
    for place, target in links.items():
        if target.exists():
            place.symlink_to(target.absolute())
    encode_as(served, asked.examples(SPLIT, "recommend"), view.features(SPLIT, "recommend").absolute(), settings=features)
    return scratch


def _same(view: Path, anchors: Anchors) -> Anchors:
    """Return the same questions over the catalogue of the other."""
    everyone = read_anchors(view, SPLIT)
    return everyone.take(np.searchsorted(everyone.row, anchors.row))


def _ndcg(run: Path, anchors: Anchors, settings: EvaluateSettings) -> Floats:
    stages = retrieve_and_rank(run, SPLIT, settings, anchors)
    return ndcg(stages.judged(read_fusion(RunLayout(run).model("ranking").path)).placement, CUTOFF)
