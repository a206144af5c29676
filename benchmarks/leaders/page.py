"""The leaderboard in Markdown: tables, and sentences that are made from their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.leaders.data_sets import DATA_SETS
from benchmarks.leaders.standing import METRICS, MUST_BEAT, Alone, Figure, Lead, Row, Standing, named, ranked
from evaluation.report.names import ABSENT, listing, metric_name, model_name, p_value_text

COMMAND: Final = ".venv/bin/python benchmarks/leaderboard.py"
_TITLES: Final = {each.name: each.title for each in DATA_SETS}
_SHORT: Final = {"better": "beats", "tied": "tied with", "worse": "behind", "unknown": "not compared with"}


def page(standings: Sequence[Standing], missing: Mapping[str, str], former: str = "") -> str:
    """Return the whole report.

    Args:
        standings: of the data sets that were evaluated, in the order of the report.
        missing: data sets that were not -> why; where the former report has one, it keeps what it says there.
        former: the report that this one replaces, "" where there is none.
    """
    kept = {name: found for name in missing if (found := _former(former, name)) is not None}
    parts = [_head(quick=any(standing.quick for standing in standings)), _rule(standings), _summary(standings, missing, kept)]
    own = {standing.name: _section(standing) for standing in standings} | {name: section for name, (_, section) in kept.items()}
    parts += [own[name] for name in _TITLES if name in own]
    return "\n\n".join(part for part in parts if part) + "\n"


def verdict(standing: Standing) -> str:
    """Return whether our best pipeline is first, tied for first or behind.

    It is first if it is significantly better than every baseline, and behind if a baseline is significantly better; otherwise it is tied
    with those that it cannot be distinguished from. A lead is significant if its 95% interval excludes 0 and its p-value, corrected for
    all baselines by Holm, is below 0.05.
    """
    name = model_name(standing.best)
    groups = {word: [row for row in standing.rivals if row.lead and row.lead.outcome == word] for word in _SHORT}
    if not standing.rivals:
        return f"{name} stands beside no baseline."
    if groups["worse"]:
        return f"**Behind**: {name} is behind {_told(groups['worse'])}."
    if groups["tied"]:
        rank = {row.model: rank for rank, row in ranked(standing.rows)}[standing.best]
        return f"**Tied for first**: {name}, of rank {rank}, cannot be told from {_told(groups['tied'])}."
    if groups["unknown"]:
        return f"**Undecided**: {name} could not be compared with {_told(groups['unknown'])}."
    return f"**First**: {name} beats all {len(standing.rivals)} baselines; the strongest is {_told(standing.rivals[:1])}."


def stage_alone(alone: Alone) -> str:
    """Return which of the baselines that it has to beat a retrieval model beats by itself."""
    parts = []
    for word, told in _SHORT.items():
        names = [f"{model_name(name)} ({_lead(lead)})" for name, lead in _in_order(alone) if lead.outcome == word]
        if names:
            parts.append(f"{told} {listing(names)}")
    does = f"Alone, the {model_name(alone.model)} has an NDCG@10 of {_figure(alone.ndcg)}"
    return f"{does}: it {'; it '.join(_to_be(part) for part in parts)}." if parts else f"{does}."


def _in_order(alone: Alone) -> list[tuple[str, Lead]]:
    """Return the leads in the order of ``MUST_BEAT``, which a file does not keep."""
    return [(name, alone.leads[name]) for name in MUST_BEAT if name in alone.leads]


def _head(*, quick: bool) -> str:
    lines = [
        "# Leaderboard",
        "One table for each data set: our pipeline, its first stage alone, and all baselines, judged on the same questions over the "
        "whole catalogue. Sorted by NDCG@10. Made by",
        f"    {COMMAND}{' --quick' if quick else ''}",
        "which writes this file, or data set by data set with `--only`; each section says of which state of Cartwheel it is. "
        "Brackets hold 95% intervals. The lead is the NDCG@10 of our best "
        "pipeline minus that of the row, paired by user; p-values are of permutation tests over users, corrected by Holm for all "
        "comparisons of a table. A lead whose interval holds 0, or whose p-value is not below 0.05, could be chance. Baselines and our "
        "models have their default parameters, those that a table names excepted. Baselines, two-tower and neighbours learn from all "
        "events before the test split, DLRMs from the training part of them; how long our models train, what the neighbours are learnt "
        "by, how the parts of the pipeline are weighted, and whether the second stage is used at all is chosen on the validation part. "
        "An oracle knows the truth that a shop was drawn from; it is no competitor.",
    ]
    if quick:
        lines.append("**Made with `--quick`, at tiny sizes: it shows that the command works, and says nothing of any model.**")
    return "\n\n".join(lines)


def _rule(standings: Sequence[Standing]) -> str:
    """Say what is left out, which must be one rule for all data sets."""
    rules: dict[str, list[str]] = {}
    for standing in standings:
        rules.setdefault(standing.protocol["left out"], []).append(_TITLES[standing.name])
    if not rules:
        return ""
    if len(rules) == 1:
        return f"One rule for all data sets. Left out: {next(iter(rules))}."
    told = "; ".join(f"{rule} ({listing(names)})" for rule, names in rules.items())
    return f"**Not one rule for all data sets**, so the tables do not compare with one another. Left out: {told}."


def _former(report: str, name: str) -> tuple[str, str] | None:
    """Return the row and the section of a data set in an earlier report; None where it has none."""
    row = next((line for line in report.splitlines() if line.startswith(f"| {_linked(name)} ")), "")
    begin = report.find(f"\n## {_TITLES[name]}\n")
    if not row or begin < 0:
        return None
    end = report.find("\n## ", begin + 1)
    return row, report[begin + 1 : end if end > 0 else None].strip()


def _summary(standings: Sequence[Standing], missing: Mapping[str, str], kept: Mapping[str, tuple[str, str]]) -> str:
    lines = [
        "| data set | our pipeline | best baseline | lead, NDCG@10 | p | standing | first stage alone |",
        "|---|---:|---:|---:|---:|---|---|",
    ]
    rows = {name: row for name, (row, _) in kept.items()}
    for standing in standings:
        best, rivals = standing.row(standing.best), standing.rivals
        ours = _figure(best.figures["ndcg@10"], whole=False)
        other = f"{model_name(rivals[0].model)} {_figure(rivals[0].figures['ndcg@10'], whole=False)}" if rivals else ABSENT
        lead = rivals[0].lead if rivals else None
        cells = [_linked(standing.name), f"{model_name(best.model)} {ours}", other, _difference(lead), _p(lead)]
        cells += [verdict(standing).split("**")[1] if rivals else ABSENT, _short(standing.alone)]
        rows[standing.name] = f"| {' | '.join(cells)} |"
    lines += [rows[name] for name in _TITLES if name in rows]
    lines += [f"| {_TITLES[name]} | not judged: {why} | | | | | |" for name, why in missing.items() if name not in kept]
    return "\n".join(lines)


def _short(judged: Sequence[Alone]) -> str:
    """Return for the summary what the retrieval models beat by themselves."""
    told = []
    for alone in judged:
        groups = {word: [model_name(name) for name, lead in _in_order(alone) if lead.outcome == word] for word in _SHORT}
        said = "; ".join(f"{_SHORT[word]} {listing(names)}" for word, names in groups.items() if names)
        told.append(f"{model_name(alone.model)}: {said}" if len(judged) > 1 else said)
    return ". ".join(told) or ABSENT


def _section(standing: Standing) -> str:
    head = ["rank", "model", *(metric_name(metric, k) for metric, k in METRICS), "lead of our pipeline", "p (Holm)"]
    lines = [f"| {' | '.join(head)} |", f"|---:|---|{'---:|' * (len(METRICS) + 2)}"]
    for rank, row in ranked(standing.rows):
        figures = [_figure(row.figures[named(*key)], whole=index < 2) for index, key in enumerate(METRICS)]
        cells = [rank, _called(row, standing.best), *figures, _difference(row.lead), _p(row.lead)]
        lines.append(f"| {' | '.join(cells)} |")
    sentences = [verdict(standing), *(stage_alone(alone) for alone in standing.alone)]
    return "\n\n".join([f"## {_TITLES[standing.name]}", " ".join(sentences), "\n".join(lines), _protocol(standing)])


def _protocol(standing: Standing) -> str:
    told = {"split": standing.split, **standing.protocol, "seed": str(standing.seed)}
    told["settings that are not the defaults"] = ", ".join(f"`{key} = {_value(each)}`" for key, each in standing.settings.items())
    stages = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in standing.seconds.items())
    told["seconds"] = f"{sum(standing.seconds.values()):.0f} ({stages})"
    told["machine"] = standing.machine
    told["state"] = standing.state
    told["made by"] = f"`{COMMAND}{standing.options}`"
    return "\n".join(f"- {key}: {value or 'none'}" for key, value in told.items())


def _value(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _called(row: Row, best: str) -> str:
    name = model_name(row.model)
    if row.model == best:
        return f"**{name}**"
    return {"ours": f"{name} (ours)", "oracle": f"{name} (knows the truth, not ranked)", "baseline": name}[row.place]


def _told(rows: Sequence[Row]) -> str:
    """Return rivals as a part of a sentence, with the lead of our pipeline over each."""
    return listing([f"{model_name(row.model)} ({_lead(row.lead or Lead())})" for row in rows])


def _lead(lead: Lead) -> str:
    told = [_difference(lead), p_value_text(lead.p_holm)]
    return ", ".join(part for part in told if part)


def _difference(lead: Lead | None) -> str:
    if lead is None or lead.value is None:
        return ABSENT
    ends = "" if lead.low is None or lead.high is None else f" [{lead.low:+.4f}, {lead.high:+.4f}]"
    return f"{lead.value:+.4f}{ends}"


def _p(lead: Lead | None) -> str:
    if lead is None or lead.p_holm is None:
        return ABSENT
    return f"{lead.p_holm:.3f}" if lead.p_holm >= 0.001 else "<0.001"


def _figure(figure: Figure, *, whole: bool = True) -> str:
    if figure.value is None:
        return ABSENT
    if not whole or figure.low is None or figure.high is None:
        return f"{figure.value:.4f}"
    return f"{figure.value:.4f} [{figure.low:.4f}, {figure.high:.4f}]"


def _to_be(part: str) -> str:
    """Make a verb of what begins as an adjective: "tied with" -> "is tied with"."""
    return part if part.startswith(_SHORT["better"]) else f"is {part}"


def _linked(name: str) -> str:
    title = _TITLES[name]
    return f"[{title}](#{title.lower().replace(' ', '-').replace(',', '')})"
