"""From ranked lists to records: recall, NDCG, hit rate, MRR and coverage, with intervals and differences from baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.figures import DIFFERENCE, Protocol, Record, Role, record
from models.metrics import ranking
from models.metrics.intervals import Interval, UserBootstrap, coverage_interval
from models.metrics.ranking import Floats
from models.retrieval_scores import Anchors, Judged
from models.settings import EvaluateSettings

BOOTSTRAP: Final = "95% percentile of {} bootstrap resamples of users"
PAIRED: Final = "95% percentile of {} paired bootstrap resamples of users"
JACKKNIFE: Final = "95% normal, jackknife over users"
COVERAGE_TIES: Final = "ties broken by catalogue order"
NO_ANCHORS: Final = "no anchor of the split has a truth item"

_Key = tuple[str, int | None]


@dataclass(frozen=True)
class Entry:
    """A scorer that was judged in a task."""

    model: str
    role: Role
    candidate_set: str
    """What competed for the places of its lists."""
    judged: Judged


def list_records(
    task: str, entries: Sequence[Entry], anchors: Anchors, settings: EvaluateSettings, seed: int, protocol: Protocol
) -> list[Record]:
    """Return the records of a task whose answers are lists.

    Args:
        task: name of the task.
        entries: what was judged, all of them on ``anchors``.
        anchors: A anchors; none gives records without values.
        settings: cutoffs and resamples.
        seed: fixes the resamples.
        protocol: what all records share; candidate set, tie rule and interval are filled in.

    Returns:
        For each entry all figures, and for each model the paired differences from each baseline.
    """
    if not len(anchors):
        return _without_anchors(task, entries, settings, protocol)
    bootstrap = UserBootstrap(anchors.users, settings.bootstrap, seed)
    values = {entry.model: _figures(entry.judged, settings.cutoffs) for entry in entries}
    keys = list(next(iter(values.values())))
    draws = {model: bootstrap.means(np.column_stack([figures[key] for key in keys])) for model, figures in values.items()}
    records = [_reachable(task, anchors, bootstrap, settings, protocol)]
    for entry in entries:
        shared = _stamped(protocol, entry.candidate_set, ranking.TIE_RULE, BOOTSTRAP.format(settings.bootstrap))
        for index, (metric, k) in enumerate(keys):
            value = float(values[entry.model][metric, k].mean())
            interval = bootstrap.percentile(draws[entry.model][:, index])
            records.append(record(task, entry.model, metric, value, interval, shared, n=len(anchors), role=entry.role, k=k))
        records += _coverage(task, entry, anchors, bootstrap, settings, protocol)
    for entry in (entry for entry in entries if entry.role == "model"):
        for baseline in (other for other in entries if other.role == "baseline"):
            shared = _stamped(protocol, entry.candidate_set, ranking.TIE_RULE, PAIRED.format(settings.bootstrap))
            for index, (metric, k) in enumerate(keys):
                value = float((values[entry.model][metric, k] - values[baseline.model][metric, k]).mean())
                interval = bootstrap.percentile(draws[entry.model][:, index] - draws[baseline.model][:, index])
                name = metric + DIFFERENCE + baseline.model
                records.append(record(task, entry.model, name, value, interval, shared, n=len(anchors), role="model", k=k))
    return records


def _figures(judged: Judged, cutoffs: Sequence[int]) -> dict[_Key, Floats]:
    """Return the [A] values of every metric that is a mean over anchors."""
    at_k = {"recall": ranking.recall, "ndcg": ranking.ndcg, "hit_rate": ranking.hit_rate}
    figures: dict[_Key, Floats] = {(name, k): metric(judged.placement, k) for name, metric in at_k.items() for k in cutoffs}
    figures["mrr", None] = ranking.reciprocal_rank(judged.placement)
    return figures


def _coverage(
    task: str, entry: Entry, anchors: Anchors, bootstrap: UserBootstrap, settings: EvaluateSettings, protocol: Protocol
) -> list[Record]:
    shared = _stamped(protocol, entry.candidate_set, COVERAGE_TIES, JACKKNIFE)
    records = []
    for k in settings.cutoffs:
        value = ranking.coverage(entry.judged.top, anchors.items, k)
        interval = coverage_interval(entry.judged.top, bootstrap.codes, anchors.items, k, value)
        records.append(record(task, entry.model, "coverage", value, interval, shared, n=len(anchors), role=entry.role, k=k))
    return records


def _reachable(task: str, anchors: Anchors, bootstrap: UserBootstrap, settings: EvaluateSettings, protocol: Protocol) -> Record:
    interval = bootstrap.percentile(bootstrap.means(anchors.reachable[:, None])[:, 0])
    shared = _stamped(protocol, protocol.candidate_set, "none: no scores", BOOTSTRAP.format(settings.bootstrap))
    value = float(anchors.reachable.mean())
    return record(task, "catalogue", "reachable", value, interval, shared, n=len(anchors), role="task")


def _without_anchors(task: str, entries: Sequence[Entry], settings: EvaluateSettings, protocol: Protocol) -> list[Record]:
    keys: list[_Key] = [(name, k) for name in ("recall", "ndcg", "hit_rate", "coverage") for k in settings.cutoffs]
    none, nan = Interval(None, None), float("nan")
    return [
        record(
            task,
            entry.model,
            metric,
            nan,
            none,
            _stamped(protocol, entry.candidate_set, COVERAGE_TIES if metric == "coverage" else ranking.TIE_RULE, "none"),
            n=0,
            role=entry.role,
            k=k,
            undefined=NO_ANCHORS,
        )
        for entry in entries
        for metric, k in [*keys, ("mrr", None)]
    ]


def _stamped(protocol: Protocol, candidate_set: str, tie_rule: str, interval: str) -> Protocol:
    return Protocol(protocol.split, candidate_set, tie_rule, protocol.sample_size, protocol.excluded, interval)
