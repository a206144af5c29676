"""The summary in words: whether the model beats the simple baselines, by how much, for which segments, and how reliable this is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from evaluation.report.details import SegmentRow, SegmentTable
from evaluation.report.lineage import Lineage
from evaluation.report.list_drawings import is_decided
from evaluation.report.names import listing, metric_name, model_name, p_value_text
from evaluation.report.views import Standing, TaskView
from models.retrieval.fusion import UNUSED
from workflows.tasks.task_names import CART, CART_LINE

Tone = Literal["good", "mixed", "bad", "none"]
FEW_USERS: Final = 100
"""With fewer users behind a metric, bootstrap intervals over users are rough."""
CALIBRATED: Final = 0.05
"""Maximum calibration error of probabilities that are reported as well calibrated."""


@dataclass(frozen=True)
class Verdict:
    """The result of one task for its model."""

    title: str
    tone: Tone
    sentences: tuple[str, ...]


def task_verdict(view: TaskView) -> Verdict:
    """Compare the model of a task with the simple baselines.

    Args:
        view: the task.
    """
    standings = [each for each in view.standings if each.baseline in view.simple]
    if view.model is None or view.value(view.model) is None:
        return Verdict("Not measured", "none", (f"There are no metrics: {view.why_none}.",))
    if not standings:
        return Verdict("No baseline", "none", ("No simple baseline has a metric, so there is nothing to compare with.",))
    title, tone = _title(view.model, standings)
    strongest = standings[0]
    return Verdict(title, tone, (_by_how_much(view, strongest), *_groups(standings[1:]), *_second_stage(view), *_ceiling(view)))


def _title(model: str, standings: Sequence[Standing]) -> tuple[str, Tone]:
    counts = {word: sum(each.outcome == word for each in standings) for word in ("better", "tied", "worse", "unknown")}
    name, everyone = model_name(model), len(standings)
    if counts["better"] == everyone:
        beaten = f"all {everyone} simple baselines" if everyone > 1 else model_name(standings[0].baseline)
        return _sentence(f"{name} beats {beaten}"), "good"
    if not counts["better"]:
        tone: Tone = "bad" if counts["worse"] else "mixed"
        rivals = f"any of the {everyone} simple baselines" if everyone > 1 else model_name(standings[0].baseline)
        return _sentence(f"{name} does not significantly beat {rivals}"), tone
    parts = [f"beats {counts['better']} of {everyone} simple baselines"]
    parts += [f"ties with {counts['tied']}"] if counts["tied"] else []
    parts += [f"is behind {counts['worse']}"] if counts["worse"] else []
    parts += [f"leaves {counts['unknown']} undecided"] if counts["unknown"] else []
    return _sentence(f"{name} {listing(parts)}"), "bad" if counts["worse"] else "mixed"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _by_how_much(view: TaskView, against: Standing) -> str:
    name, record = metric_name(view.metric or "", view.k), against.difference
    model, other = view.value(view.model or ""), view.value(against.baseline)
    told = f"{name} is {model:.4f}, compared with {other:.4f} of {model_name(against.baseline)}, the best of them"
    if record.value is None or record.low is None or record.high is None or not other:
        return f"{told}; {record.reason or 'the difference has no interval'}."
    share = f"{record.value / other:+.1%}"
    ends = f"95% interval {record.low / other:+.1%} to {record.high / other:+.1%}"
    p_value = p_value_text(record.p_holm)
    corrected = f"{p_value} after Holm's correction" if p_value else ""
    words = {
        "better": "significantly better",
        "worse": "significantly worse",
        "tied": "not significant",
    }
    return f"{told}: {share} ({', '.join(part for part in (ends, corrected) if part)}), {words[against.outcome]}."


def _groups(others: Sequence[Standing]) -> list[str]:
    words = {"better": "Better than", "tied": "Not distinguishable from", "worse": "Worse than", "unknown": "Undecided against"}
    result = []
    for word, told in words.items():
        names = [model_name(each.baseline) for each in others if each.outcome == word]
        if names:
            result.append(f"{told} {listing(names)}.")
    return result


def _second_stage(view: TaskView) -> list[str]:
    model = view.model or ""
    served = next((record for record in view.records if record.model == model), None)
    if served is not None and served.protocol.remark.startswith(UNUSED):
        return [f"{_sentence(model_name(model))} {served.protocol.remark}."]
    words = {
        "better": "improves on",
        "tied": "does not significantly improve on",
        "worse": "is worse than",
        "unknown": "cannot be compared with",
    }
    return [
        f"The second stage {words[each.outcome]} the {model_name(each.baseline)} alone "
        f"({each.difference.value:+.4f}, {p_value_text(each.difference.p_holm)})."
        for each in view.standings
        if each.baseline in view.model_names and each.difference.value is not None
    ]


def _ceiling(view: TaskView) -> list[str]:
    oracle = next((view.value(model) for model, role in view.roles.items() if role == "oracle"), None)
    model, best = view.value(view.model or ""), max((view.value(name) or 0.0 for name in view.simple), default=None)
    if oracle is None or model is None or best is None or oracle <= best:
        return []
    way = (model - best) / (oracle - best)
    if way <= 0:
        return [
            f"The oracle, which knows the shoppers' tastes, reaches {oracle:.4f}; the model covers none of the distance to it."
        ]
    return [
        f"That is {way:.0%} of the way from the best baseline to the oracle ({oracle:.4f}), which knows the shoppers' tastes."
    ]


def for_whom(table: SegmentTable | None) -> list[str]:
    """Return for which segments the model is significantly better or worse than the best baseline.

    Args:
        table: None if segments were not evaluated.
    """
    if table is None:
        return ["Segments were not evaluated."]
    sides: dict[str, list[str]] = {"better": [], "worse": [], "open": []}
    for row in table.rows:
        for each in row.differences:
            if each.baseline == table.strongest:
                side = "open" if not is_decided(each) else "better" if (each.value or 0.0) > 0 else "worse"
                sides[side].append(_called(row))
    against = model_name(table.strongest)
    words = {
        "better": f"Better than {against} for {{}}.",
        "worse": f"Worse than {against} for {{}}.",
        "open": f"No significant difference from {against} for {{}}.",
    }
    told = [words[side].format(listing(names)) for side, names in sides.items() if names]
    return told or ["No segment has a difference."]


def _called(row: SegmentRow) -> str:
    """Return what a sentence calls a segment."""
    return row.name if row.about == "item" or "shoppers" in row.name else f"shoppers with {row.name}"


def can_it_be_believed(view: TaskView, views: Sequence[TaskView], lineage: Lineage) -> list[tuple[bool, str]]:
    """Return signs for and against the reliability of the metrics, each with whether it is good.

    Args:
        view: the task of the headline.
        views: all tasks.
        lineage: of the run.
    """
    return [*_sample_signs(view), *_data_signs(lineage), *_calibration_signs(views)]


def _sample_signs(view: TaskView) -> list[tuple[bool, str]]:
    record = view.find(view.model or "", view.metric or "", view.k)
    if record is None or record.value is None:
        return [(False, "There is no metric.")]
    sizes = record.protocol.sample_size
    users = sizes.get("users", record.n)
    signs = [
        (
            users >= FEW_USERS,
            f"{record.n:,} moments of {users:,} users{'' if users >= FEW_USERS else ': few, so intervals are rough'}.",
        )
    ]
    signs.append(
        (True, f"Every list was ranked over {record.protocol.candidate_set}; no candidates were sampled.")
        if view.has_lists
        else (not record.protocol.warning, f"Evaluated on {record.protocol.candidate_set}. {record.protocol.warning}".rstrip())
    )
    signs.append(
        (True, "Intervals and p-values resample users, not rows; p-values are corrected (Holm) for every comparison of a metric.")
    )
    reachable = view.find("catalogue", "reachable", None)
    if reachable is not None and reachable.value is not None:
        far = reachable.value < 0.8
        signs.append((not far, f"{reachable.value:.1%} of the true items were in the catalogue; no model could find the rest."))
    return signs


def _data_signs(lineage: Lineage) -> list[tuple[bool, str]]:
    signs = []
    if lineage.touches is not None:
        signs.append((lineage.touches.is_clean, lineage.touches.sentence))
    if lineage.audit:
        signs.append((True, f"The leakage audit passed, {len(lineage.audit)} checks; a leak would have stopped the run."))
    else:
        signs.append((False, "The run has no leakage audit."))
    signs += [(False, f"The audit notes: {warning}") for warning in lineage.warnings]
    rows, refused = lineage.summary.get("rows_read"), lineage.summary.get("quarantined")
    if rows and refused is not None:
        share = refused / rows
        signs.append((share <= 0.01, f"{refused:,} of {rows:,} rows of the log were rejected ({share:.2%})."))
    return signs


def _calibration_signs(views: Sequence[TaskView]) -> list[tuple[bool, str]]:
    signs = []
    for view in views:
        found = view.find(view.model or "", "calibration_error", None)
        if view.task in (CART, CART_LINE) and found is not None and found.value is not None:
            good = found.value <= CALIBRATED
            word = "are well calibrated" if good else "are poorly calibrated"
            about = "carts" if view.task == "cart" else "cart lines"
            signs.append((good, f"The probabilities of {about} {word}: calibration error {found.value:.3f}."))
    return signs
