"""Metrics of the two stages and the baselines by segment: kinds of shoppers and of items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.frames import read_frame
from cartwheel.core.run_layout import RunLayout
from evaluation.figures import Protocol, Record, Role
from evaluation.lists import Entry, left_out, list_records, read_facts
from evaluation.settings import EvaluateSettings
from models.families.tabular.logistic_regression import POPULARITY
from models.metrics.ranked_lists import Judged
from models.metrics.ranking import Ints, Placement
from models.questions.anchors import Anchors, judge, read_anchors, sample
from models.retrieval.fusion import Fusion, read_fusion
from models.retrieval.run_scorer import popularity
from models.retrieval.two_stage import TwoStage, retrieve_and_rank, served_name, served_remark

Bools = npt.NDArray[np.bool_]

HISTORY_EDGES: Final = (1, 10, 100)
"""Interactions before the anchor at which the next kind of shopper begins."""
NEVER_SEEN: Final = "items never seen before"
"""Items that the shop listed and nobody had interacted with when the split began; there are some where the shop brings an item table."""
HEAD_SHARE: Final = 0.5
"""Share of all interactions that the head of the catalogue holds."""


@dataclass(frozen=True)
class Segment:
    """A kind of shopper or of item.

    An anchor belongs to it if ``anchors`` says so and something true is among ``items``; only that counts as true.
    """

    about: str
    """``shopper`` or ``item``."""
    name: str
    anchors: Bools
    """[A]"""
    items: Bools | None = None
    """[N] catalogue items; None means all, and those that are in no catalogue."""


@dataclass(frozen=True)
class Lists:
    """The lists that some anchors got from one scorer."""

    model: str
    role: Role
    judged: Judged
    columns: Ints
    """[P] catalogue column of each truth item of ``judged.placement``."""


@dataclass(frozen=True)
class Shown:
    """Everything that was shown to a sample of anchors of a split: by both stages, by the first alone, and by each baseline."""

    run: Path
    split: str
    anchors: Anchors
    stages: TwoStage
    fusion: Fusion
    lists: tuple[Lists, ...]
    """What is served first: both stages, or the first where the second is not used."""

    @property
    def top(self) -> Ints:
        """[A, C] catalogue columns that are recommended, best first; -1 where a list is shorter."""
        return self.lists[0].judged.top


def show(run: Path, split: str, settings: EvaluateSettings, seed: int) -> Shown:
    """Ask both stages and the popularity baselines, at the anchors on which ``evaluate`` judges the two stages.

    Args:
        run: run directory after train.
        split: ``valid`` or ``test``.
        settings: candidates, cutoffs, and how many anchors at most.
        seed: fixes the sample; the evaluation's own gives its anchors.

    Raises:
        RunError: if a file or a column is missing.
    """
    anchors = sample(read_anchors(run, split), settings.max_two_stage_anchors, seed)
    fusion = read_fusion(RunLayout(run).model("ranking").path)
    stages = retrieve_and_rank(run, split, settings, anchors, max(settings.cutoffs), counted=fusion)
    found = stages.candidates[np.nonzero(stages.relevant)]
    lists = [Lists(served_name(run, fusion), "model", stages.judged(fusion), found)]
    for name, column in POPULARITY.items():
        judged = judge(popularity(run, split, column), anchors, max(settings.cutoffs), f"show {name}")
        lists.append(Lists(name, "baseline", judged, anchors.truth_column))
    return Shown(run, split, anchors, stages, fusion, tuple(lists))


def segments(shown: Shown, edges: Sequence[int] = HISTORY_EDGES, head_share: float = HEAD_SHARE) -> list[Segment]:
    """Cut anchors by the shopper's history and truth items by their popularity.

    - Shoppers: interactions strictly before the anchor, in the ranges that ``edges`` bounds; the first range is "new".
    - Items: the head is the fewest items that held ``head_share`` of all interactions when the split began, the rest the tail; those
      of the tail that nobody had interacted with by then once more by themselves.

    Args:
        shown: what was shown to whom.
        edges: ascending, positive.
        head_share: in (0, 1).

    Returns:
        Segments that hold an anchor; those about shoppers share the anchors out among them.
    """
    layout = RunLayout(shown.run)
    history = read_frame(layout.examples(shown.split, "recommend"), ["user_events"])["user_events"].fill_null(0.0).to_numpy()
    kind, names = history_kinds(history[shown.anchors.row], edges)
    parts = [Segment("shopper", name, kind == number) for number, name in enumerate(names)]
    counts = read_frame(layout.examples(shown.split, "catalogue"), ["item_events"])["item_events"].fill_null(0.0).to_numpy()
    head = head_items(counts.astype(np.float64), head_share)
    for name, items in (("head items", head), ("tail items", ~head), (NEVER_SEEN, counts == 0)):
        parts.append(Segment("item", f"{name} ({np.count_nonzero(items):,})", _having(shown.anchors, items), items))
    return [part for part in parts if part.anchors.any()]


def history_kinds(history: npt.NDArray[np.floating[Any]], edges: Sequence[int] = HISTORY_EDGES) -> tuple[Ints, list[str]]:
    """Return the kind of shopper [n] of each history, a number of interactions [n], and what the kinds are called, one more than edges.

    >>> history_kinds(np.array([0.0, 1.0, 250.0]), (1, 10))
    (array([0, 1, 2]), ['new shoppers', '1 to 9 events', '10 events or more'])
    """
    kind = np.searchsorted(np.asarray(edges), history, side="right").astype(np.int64)
    return kind, [_range_name(edges, number) for number in range(len(edges) + 1)]


def head_items(counts: npt.NDArray[np.float64], share: float) -> Bools:
    """Return [N] whether an item is one of the fewest that together hold ``share`` of ``counts`` ([N]).

    >>> head_items(np.array([1.0, 5.0, 2.0, 2.0]), 0.5)
    array([False,  True, False, False])
    """
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    head = np.zeros(len(counts), np.bool_)
    head[order[before < share * counts.sum()]] = True
    return head


def segment_records(shown: Shown, parts: Sequence[Segment], settings: EvaluateSettings, seed: int) -> list[Record]:
    """Judge the lists of ``shown`` in each segment apart.

    Args:
        shown: what was shown to whom.
        parts: the segments; each one's name is the task of its records.
        settings: cutoffs and resamples.
        seed: fixes the resamples.

    Returns:
        The records that ``evaluate`` makes of list tasks: figures, intervals over users, paired differences from baselines.
    """
    hidden = left_out(shown.run)
    everything = f"all {shown.anchors.items} items first seen before the {shown.split} split began"
    first = served_remark(shown.fusion, shown.stages.candidates.shape[1])
    facts = read_facts(shown.run, shown.split)
    records = []
    for part in parts:
        anchors = anchors_of(shown.anchors, part)
        entries = [
            Entry(each.model, each.role, judged_of(each, shown.anchors, part), first if each.role == "model" else "")
            for each in shown.lists
        ]
        excluded = hidden if part.items is None else f"{hidden}; truth other than {part.name}"
        protocol = Protocol(shown.split, everything, "", anchors.sample_size, excluded, "")
        records += list_records(part.name, entries, anchors, facts, settings, seed, protocol)
    return records


def anchors_of(anchors: Anchors, part: Segment) -> Anchors:
    """Return the anchors of the segment, with only the segment's items as truth."""
    if part.items is None:
        return anchors.take(np.flatnonzero(part.anchors))
    kept = part.items[anchors.truth_column]
    row, column = anchors.truth_row[kept], anchors.truth_column[kept]
    number = np.bincount(row, minlength=len(anchors))
    about = Anchors(anchors.row, anchors.users, number, row, column, anchors.hidden_row, anchors.hidden_column, anchors.items)
    return about.take(np.flatnonzero(part.anchors & (number > 0)))


def judged_of(lists: Lists, anchors: Anchors, part: Segment) -> Judged:
    """Return the same lists, evaluated at the segment's anchors by the segment's truth alone; other truth is just a candidate."""
    placement = lists.judged.placement
    truth = anchors.n_truth
    kept = part.anchors[placement.row]
    if part.items is not None:
        kept &= part.items[lists.columns]
        truth = np.bincount(anchors.truth_row[part.items[anchors.truth_column]], minlength=len(anchors))
    chosen = np.flatnonzero(part.anchors & (truth > 0))
    row, above = placement.row[kept], placement.above[kept]
    group = row * (above.max(initial=0) + 1) + above
    _, inverse, counts = np.unique(group, return_inverse=True, return_counts=True)
    part_placement = Placement(
        np.searchsorted(chosen, row).astype(np.int64),
        above,
        placement.tied[kept],
        counts[inverse].astype(np.int64),
        truth[chosen],
    )
    return Judged(part_placement, lists.judged.top[chosen])


def perfect_lists(anchors: Anchors) -> Placement:
    """Return where truth items stand in lists that put every one of them first, as far as the catalogue holds them."""
    starts = np.searchsorted(anchors.truth_row, np.arange(len(anchors)))
    above = np.arange(len(anchors.truth_row)) - starts[anchors.truth_row]
    ones = np.ones_like(above)
    return Placement(anchors.truth_row, above.astype(np.int64), ones, ones, anchors.n_truth)


def examples(shown: Shown, k: int, number: int, seed: int) -> list[dict[str, Any]]:
    """Draw anchors to look at: half of them with a true item among the first k, half without, each drawn at random.

    Args:
        shown: what was shown to whom.
        k: how long the lists are.
        number: how many anchors; fewer where a half has too few.
        seed: fixes the draw.

    Returns:
        For each anchor ``history`` (the shopper's recent items, last first), ``turned_to`` (what came true) and
        ``recommended``, each a list of (item, category, interactions before the split), and ``hits``, the true ones recommended.
    """
    layout = RunLayout(shown.run)
    queries = read_frame(layout.examples(shown.split, "recommend"), ["recent_items", "target_items"])[shown.anchors.row]
    catalogue = read_frame(layout.examples(shown.split, "catalogue"), ["item_id", "item_category", "item_events"])
    known = {item: (item, category or "", int(events or 0)) for item, category, events in catalogue.iter_rows()}
    names = catalogue["item_id"].to_list()
    best = [[names[column] for column in row if column >= 0] for row in shown.top[:, :k]]
    recent, true = queries["recent_items"].to_list(), queries["target_items"].to_list()
    hits = [[item for item in shown_items if item in set(wanted)] for shown_items, wanted in zip(best, true, strict=True)]
    generator = np.random.default_rng(seed)
    drawn: list[int] = []
    for rows in (np.flatnonzero([bool(each) for each in hits]), np.flatnonzero([not each for each in hits])):
        drawn += generator.permutation(rows)[: number // 2].tolist()

    def described(items: Sequence[str]) -> list[tuple[str, str, int]]:
        return [known.get(item, (item, "", 0)) for item in items]

    return [
        {
            "history": described((recent[row] or [])[::-1]),
            "turned_to": described(true[row]),
            "recommended": described(best[row]),
            "hits": hits[row],
        }
        for row in drawn
    ]


def _having(anchors: Anchors, items: Bools) -> Bools:
    held: Bools = np.bincount(anchors.truth_row[items[anchors.truth_column]], minlength=len(anchors)) > 0
    return held


def _range_name(edges: Sequence[int], number: int) -> str:
    if number == 0:
        return "new shoppers" if edges[0] == 1 else f"under {edges[0]} events"
    if number == len(edges):
        return f"{edges[-1]} events or more"
    return f"{edges[number - 1]} to {edges[number] - 1} events"
