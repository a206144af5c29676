"""A Markdown page of rerun published tables: our results and the published ones, protocols, versions and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from evaluation.protocols.protocol import Protocol
from evaluation.reproduce.rerun import Outcome
from evaluation.reproduce.table import Table

_COLUMNS: Final = ("model", "metric", "ours", "95% interval", "published", "difference", "allowed", "verdict")
VERDICTS: Final[Mapping[bool | None, str]] = {True: "agrees", False: "differs", None: "not judged"}


@dataclass(frozen=True)
class Ran:
    """A table that was rerun.

    Attributes:
        table: what was published.
        outcomes: what came out.
        seconds: how long it took, reading included.
        command: what runs it again.
    """

    table: Table
    outcomes: tuple[Outcome, ...]
    seconds: float
    command: str

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The judged figures that differ."""
        return tuple(outcome for outcome in self.outcomes if outcome.passed is False)

    @property
    def verdict(self) -> str:
        """Whether the table is reproduced, in words."""
        judged = sum(outcome.passed is not None for outcome in self.outcomes)
        if not judged:
            return "not judged: none of what was run has a tolerance"
        if self.failed:
            return f"**not reproduced**: {len(self.failed)} of {judged} judged figures differ{self._not_run}"
        agree = "the one judged figure agrees" if judged == 1 else f"all {judged} judged figures agree"
        return f"{'agrees as far as it was run' if self._not_run else 'reproduced'}: {agree}{self._not_run}"

    @property
    def _not_run(self) -> str:
        run = {outcome.what for outcome in self.outcomes}
        left = [model for model in self.table.models if model not in run]
        return f"; not run: {', '.join(left)}" if left else ""


def page(runs: Sequence[Ran], missing: Mapping[str, str], made_by: str, versions: str) -> str:
    """Return the page.

    Args:
        runs: what was run, in the order of the page.
        missing: name of each table that was not run -> why.
        made_by: the command that writes the page.
        versions: of the machine and the packages, in one line.
    """
    head = f"# Published tables, rerun\n\nMade by `{made_by}`. {versions}."
    rows = [[f"`{run.table.name}`", run.verdict, f"{run.seconds:.0f} s"] for run in runs]
    rows += [[f"`{name}`", f"not run: {why}", ""] for name, why in missing.items()]
    parts = [head, _table(("table", "verdict", "took"), rows), *(_section(run) for run in runs)]
    return "\n\n".join(parts) + "\n"


def _section(run: Ran) -> str:
    table = run.table
    facts = {
        "Published": table.source,
        "Reproduced if": table.criterion,
        "Verdict": f"{run.verdict}.",
        "Command": f"`{run.command}`, {run.seconds:.0f} s.",
    }
    parts = [f"## {table.title}", "\n".join(f"- {label}: {text}" for label, text in facts.items())]
    for setting, protocol in dict.fromkeys((outcome.setting, outcome.protocol) for outcome in run.outcomes):
        parts += _setting(setting, protocol, [outcome for outcome in run.outcomes if outcome.protocol == protocol])
    return "\n\n".join(parts)


def _setting(title: str, protocol: Protocol, outcomes: Sequence[Outcome]) -> list[str]:
    parts = [f"### {title[0].upper()}{title[1:]}", _table(_COLUMNS, [cells(outcome) for outcome in outcomes])]
    notes = {outcome.what: outcome.note for outcome in outcomes if outcome.note}
    if notes:
        parts.append("\n".join(f"- {what}: {note}" for what, note in notes.items()))
    if protocol.warning:
        parts.append(f"**Warning**: {protocol.warning}")
    parts.append(f"Protocol `{protocol.hash}`: {'; '.join(f'{name} {value}' for name, value in _flat(asdict(protocol)))}.")
    return parts


def cells(outcome: Outcome) -> list[str]:
    """Return what a row of a table shows of a figure, its verdict last."""
    return [
        outcome.what,
        outcome.metric,
        f"{outcome.ours:.4f}",
        "" if outcome.low is None or outcome.high is None else f"{outcome.low:.4f} to {outcome.high:.4f}",
        "" if outcome.published is None else f"{outcome.published:.4f}",
        "" if outcome.difference is None else f"{round(outcome.difference, 4) + 0.0:+.4f}",  # never -0.0000
        "" if outcome.tolerance is None else f"{outcome.tolerance:g}",
        VERDICTS[outcome.passed],
    ]


def _flat(told: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    """Return each field of a protocol with its path.

    >>> _flat({"split": {"kind": "leave_one_out"}, "seed": 0})
    [('split.kind', 'leave_one_out'), ('seed', 0)]
    """
    flat: list[tuple[str, Any]] = []
    for name, value in told.items():
        flat += _flat(value, f"{path}{name}.") if isinstance(value, dict) else [(path + name, value)]
    return flat


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([each.replace("|", "\\|") for each in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
