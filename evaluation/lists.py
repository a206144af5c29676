"""Metrics of ranked lists: accuracy, novelty, diversity and coverage, with intervals and differences from baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from cartwheel.core.errors import RunError
from cartwheel.core.frames import read_frame
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_json
from evaluation.figures import DIFFERENCE, Protocol, Record, Role, corrected, fingerprint, record
from evaluation.protocols.protocol import TIES
from evaluation.settings import EvaluateSettings
from models.families.tabular.logistic_regression import MOST_POPULAR
from models.metrics import beyond_accuracy, ranking
from models.metrics.intervals import Interval, UserBootstrap, coverage_interval, group_jackknife_interval
from models.metrics.ranked_lists import Judged
from models.metrics.ranking import Floats, Ints
from models.metrics.significance import permutation_p_values
from models.questions.anchors import Anchors

BOOTSTRAP: Final = "95% percentile of {} bootstrap resamples of users"
PAIRED: Final = "95% percentile of {} paired bootstrap resamples of users"
JACKKNIFE: Final = "95% normal, jackknife over users"
GROUP_JACKKNIFE: Final = "95% normal, jackknife over groups of users"
SHOWN_TIES: Final = "ties broken by catalogue order"
"""Of metrics that look at the shown lists, not at where the truth stands in them."""
NOTHING: Final = "nothing"
"""Is left out where all that was asked for counts."""
NO_ANCHORS: Final = "no anchor of the split has a truth item"

_AT_K: Final = {
    "recall": ranking.recall,
    "precision": ranking.precision,
    "ndcg": ranking.ndcg,
    "map": ranking.average_precision,
    "hit_rate": ranking.hit_rate,
}
TIE_RULES: Final = dict.fromkeys((*_AT_K, "mrr"), TIES)
"""Metrics of where the truth stands, which are exact in expectation over ties; differences are told of these."""

_Key = tuple[str, int | None]


@dataclass(frozen=True)
class Entry:
    """A scorer that was evaluated in a task."""

    model: str
    role: Role
    judged: Judged
    remark: str = ""
    """Warning for readers of its metrics."""


@dataclass(frozen=True)
class CatalogueFacts:
    """What novelty, popularity and diversity look at, of N items."""

    interactions: Ints
    """[N] interactions before the split."""
    category: Ints
    """[N] category code, 0 where unknown."""


def left_out(run: Path) -> str:
    """Say what is neither a candidate nor true at an anchor of a run, by its ``recommend.leave_out``.

    Raises:
        RunError: if the run holds no snapshot, or one of an earlier release.
    """
    path = RunLayout(run).state
    state = read_json(path)
    if "leave_out" not in state:
        raise RunError(f"{path} lacks leave_out.", "Run `cartwheel prepare` again: the run is from an earlier release.")
    told = {
        "recent": f"the shopper's recent items (at most {state['recent_items']})",
        "purchased": "what the shopper had bought and not returned, over the whole history",
        "interacted": f"what the shopper had interacted with ({', '.join(state['interaction_types'])}), over the whole history",
        "nothing": "",
    }[state["leave_out"]]
    return f"{told}, as candidates and as truth" if told else NOTHING


def read_facts(run: Path, split: str) -> CatalogueFacts:
    """Read the facts of a split's catalogue, as of its start.

    Raises:
        RunError: if a file is missing or lacks a column.
    """
    table = read_frame(RunLayout(run).examples(split, "catalogue"), ["item_events", "item_category"])
    name = pl.col("item_category")
    code = pl.when(name.fill_null("") == "").then(0).otherwise(name.rank("dense"))
    return CatalogueFacts(
        table["item_events"].fill_null(0.0).fill_nan(0.0).to_numpy().astype(np.int64),
        table.select(code.cast(pl.Int64)).to_series().to_numpy(),
    )


def list_records(
    task: str,
    entries: Sequence[Entry],
    anchors: Anchors,
    facts: CatalogueFacts,
    settings: EvaluateSettings,
    seed: int,
    protocol: Protocol,
) -> list[Record]:
    """Return the records of a task whose answers are lists.

    Args:
        task: name of the task.
        entries: what was evaluated, all of them on ``anchors``.
        anchors: A anchors; none gives records without values.
        facts: of the catalogue.
        settings: cutoffs and resamples.
        seed: fixes resamples and permutations.
        protocol: what all records share; tie rule, interval and fingerprint are filled in.

    Returns:
        For each entry all figures, and for each model the paired differences from each baseline, with p-values.
    """
    if not len(anchors):
        return _without_anchors(task, entries, settings, protocol)
    protocol = replace(protocol, data=fingerprint(anchors.users, anchors.truth_row, anchors.truth_column, anchors.n_truth))
    bootstrap = UserBootstrap(anchors.users, settings.bootstrap, seed)
    truth = anchors.truth_row, anchors.truth_column
    expected = next((entry.judged.top for entry in entries if entry.model == MOST_POPULAR), None)
    values = {entry.model: _figures(entry.judged, facts, expected, truth, settings.cutoffs) for entry in entries}
    keys = list(next(iter(values.values())))
    draws = {model: bootstrap.known_means(np.column_stack([figures[key] for key in keys])) for model, figures in values.items()}
    records = [_reachable(task, anchors, bootstrap, settings, protocol)]
    for entry in entries:
        for index, (metric, k) in enumerate(keys):
            shared = _stamped(protocol, entry, TIE_RULES.get(metric, SHOWN_TIES), BOOTSTRAP.format(settings.bootstrap))
            value = mean_known(values[entry.model][metric, k])
            interval = bootstrap.percentile(draws[entry.model][:, index])
            records.append(record(task, entry.model, metric, value, interval, shared, n=len(anchors), role=entry.role, k=k))
        records += _of_the_whole(task, entry, anchors, bootstrap, settings, protocol)
    compared = [index for index, (metric, _) in enumerate(keys) if metric in TIE_RULES]
    baselines = [other for other in entries if other.role == "baseline"]
    for entry in (entry for entry in entries if entry.role == "model" and baselines):
        shared = _stamped(protocol, entry, TIES, PAIRED.format(settings.bootstrap))
        gains = np.array([[values[entry.model][keys[i]] - values[other.model][keys[i]] for i in compared] for other in baselines])
        p_values = permutation_p_values(gains.reshape(-1, len(anchors)).T, anchors.users, seed).reshape(gains.shape[:2])
        for number, baseline in enumerate(baselines):
            for place, index in enumerate(compared):
                (metric, k), value = keys[index], float(gains[number, place].mean())
                interval = bootstrap.percentile(draws[entry.model][:, index] - draws[baseline.model][:, index])
                name, p_value = metric + DIFFERENCE + baseline.model, float(p_values[number, place])
                records.append(
                    record(task, entry.model, name, value, interval, shared, n=len(anchors), role="model", k=k, p_value=p_value)
                )
    return corrected(records)


def _figures(
    judged: Judged, facts: CatalogueFacts, expected: Ints | None, truth: tuple[Ints, Ints], cutoffs: Sequence[int]
) -> dict[_Key, Floats]:
    """Return the [A] values of every metric that is a mean over anchors; NaN where an anchor has no value."""
    figures: dict[_Key, Floats] = {(name, k): metric(judged.placement, k) for name, metric in _AT_K.items() for k in cutoffs}
    figures["mrr", None] = ranking.reciprocal_rank(judged.placement)
    items = len(facts.category)
    for k in cutoffs:
        figures["novelty", k] = beyond_accuracy.novelty(judged.top, facts.interactions, k)
        figures["average_popularity", k] = beyond_accuracy.average_popularity(judged.top, facts.interactions, k)
        if facts.category.any():
            figures["diversity", k] = beyond_accuracy.intra_list_diversity(judged.top, facts.category, k)
        if expected is not None:
            figures["serendipity", k] = beyond_accuracy.serendipity(judged.top, expected, *truth, items, k)
    return figures


def mean_known(values: Floats) -> float:
    """Return the mean of the values that are not NaN; NaN where all are."""
    known = ~np.isnan(values)
    return float(values[known].mean()) if known.any() else float("nan")


def _of_the_whole(
    task: str, entry: Entry, anchors: Anchors, bootstrap: UserBootstrap, settings: EvaluateSettings, protocol: Protocol
) -> list[Record]:
    """Return what is no mean over anchors: coverage and the Gini coefficient of exposure, jackknifed over users."""
    shared = _stamped(protocol, entry, SHOWN_TIES, JACKKNIFE)
    records = []
    for k in settings.cutoffs:
        value = ranking.coverage(entry.judged.top, anchors.items, k)
        interval = coverage_interval(entry.judged.top, bootstrap.codes, anchors.items, k, value)
        records.append(record(task, entry.model, "coverage", value, interval, shared, n=len(anchors), role=entry.role, k=k))
        records.append(_gini(task, entry, anchors, bootstrap, k, replace(shared, interval=GROUP_JACKKNIFE)))
    return records


def _gini(task: str, entry: Entry, anchors: Anchors, bootstrap: UserBootstrap, k: int, protocol: Protocol) -> Record:
    top = entry.judged.top
    value = beyond_accuracy.gini(top, anchors.items, k)
    interval = group_jackknife_interval(value, bootstrap.codes, lambda kept: beyond_accuracy.gini(top[kept], anchors.items, k))
    return record(task, entry.model, "gini", value, interval, protocol, n=len(anchors), role=entry.role, k=k)


def _reachable(task: str, anchors: Anchors, bootstrap: UserBootstrap, settings: EvaluateSettings, protocol: Protocol) -> Record:
    interval = bootstrap.percentile(bootstrap.means(anchors.reachable[:, None])[:, 0])
    shared = replace(protocol, tie_rule="none: no scores", interval=BOOTSTRAP.format(settings.bootstrap))
    value = float(anchors.reachable.mean())
    return record(task, "catalogue", "reachable", value, interval, shared, n=len(anchors), role="task")


def _without_anchors(task: str, entries: Sequence[Entry], settings: EvaluateSettings, protocol: Protocol) -> list[Record]:
    keys: list[_Key] = [(name, k) for name in (*_AT_K, "coverage") for k in settings.cutoffs]
    none, nan = Interval(None, None), float("nan")
    return [
        record(
            task,
            entry.model,
            metric,
            nan,
            none,
            _stamped(protocol, entry, TIE_RULES.get(metric, SHOWN_TIES), "none"),
            n=0,
            role=entry.role,
            k=k,
            undefined=NO_ANCHORS,
        )
        for entry in entries
        for metric, k in [*keys, ("mrr", None)]
    ]


def _stamped(protocol: Protocol, entry: Entry, tie_rule: str, interval: str) -> Protocol:
    return replace(protocol, tie_rule=tie_rule, interval=interval, remark=entry.remark)
