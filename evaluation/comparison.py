"""The metrics of two runs side by side: those with the same protocol and their difference, the others with the fields that differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cartwheel.core.errors import ComparisonError
from evaluation.figures import Evaluation, Record, difference
from evaluation.protocols.protocol import differences


@dataclass(frozen=True)
class Pair:
    """A metric that both runs have under one protocol."""

    first: Record
    second: Record
    difference: float | None
    """The second less the first; None where one has no value."""

    @property
    def warning(self) -> str:
        """Warnings about either metric; a run of an earlier release may lack them."""
        return self.first.protocol.warning or self.second.protocol.warning

    @property
    def told(self) -> dict[str, Any]:
        """The pair as JSON values."""
        sides = {
            name: {"value": each.value, "low": each.low, "high": each.high, "reason": each.reason}
            for name, each in (("first", self.first), ("second", self.second))
        }
        about = {"difference": self.difference, "protocol": self.first.protocol.hash, "warning": self.warning}
        return {**_named(self.first), **sides, **about}


@dataclass(frozen=True)
class Refusal:
    """Metrics of a task that both runs have, under protocols that differ in the same fields."""

    task: str
    records: tuple[Record, ...]
    """Of the first run."""
    differences: tuple[str, ...]
    """One field a line, as ``sample_size.anchors: 118 against 50``."""

    @property
    def fields(self) -> str:
        """The names of the fields."""
        return ", ".join(line.partition(":")[0] for line in self.differences)

    @property
    def told(self) -> dict[str, Any]:
        """The refusal as JSON values."""
        return {"task": self.task, "differences": list(self.differences), "figures": [_named(each) for each in self.records]}


@dataclass(frozen=True)
class Comparison:
    """Two evaluations side by side; every metric of either is in one of the parts, except for paired differences within a run."""

    pairs: tuple[Pair, ...]
    refusals: tuple[Refusal, ...]
    only_first: tuple[Record, ...]
    only_second: tuple[Record, ...]

    @property
    def told(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return {
            "figures": [pair.told for pair in self.pairs],
            "not_compared": [refusal.told for refusal in self.refusals],
            "only_first": [_named(each) for each in self.only_first],
            "only_second": [_named(each) for each in self.only_second],
        }

    def require_alike(self) -> None:
        """Check that all metrics of both runs have the same protocol.

        Raises:
            ComparisonError: if there is a metric that cannot be compared, or no metric that both have.
        """
        refused = sum(len(refusal.records) for refusal in self.refusals)
        if refused:
            where = "; ".join(f"{refusal.task} in {refusal.fields}" for refusal in self.refusals)
            raise ComparisonError(
                f"{refused} of {refused + len(self.pairs)} metrics of both runs cannot be compared, because their protocols differ: "
                f"{where}.",
                "Evaluate both runs on one log with one [prepare] section, one seed and one [evaluate] section.",
            )
        if not self.pairs:
            raise ComparisonError(
                f"The runs have no metric in common: {_models(self.only_first)} against {_models(self.only_second)}.",
                "Name two runs that both have metrics of a model with the same name in the same task.",
            )


def compare(first: Evaluation, second: Evaluation) -> Comparison:
    """Compare the metrics of two runs.

    Differences that a run tells of itself (``ndcg_minus_most_popular``) are left out: they have their own intervals there.

    Args:
        first: of one run.
        second: of the other, from whose metrics those of the first are subtracted.
    """
    theirs = {_key(record): record for record in second.records if record.baseline is None}
    pairs: list[Pair] = []
    refused: dict[tuple[str, tuple[str, ...]], list[Record]] = {}
    only_first = []
    for record in (each for each in first.records if each.baseline is None):
        other = theirs.pop(_key(record), None)
        if other is None:
            only_first.append(record)
            continue
        try:
            pairs.append(Pair(record, other, difference(other, record)))
        except ComparisonError:
            lines = tuple(differences(record.protocol.said, other.protocol.said))
            refused.setdefault((record.task, lines), []).append(record)
    refusals = tuple(Refusal(task, tuple(records), lines) for (task, lines), records in refused.items())
    return Comparison(tuple(pairs), refusals, tuple(only_first), tuple(theirs.values()))


def _key(record: Record) -> tuple[str, str, str, int | None]:
    return record.task, record.model, record.metric, record.k


def _named(record: Record) -> dict[str, Any]:
    return {"task": record.task, "model": record.model, "metric": record.metric, "k": record.k}


def _models(records: Sequence[Record]) -> str:
    return ", ".join(dict.fromkeys(f"{each.model} in {each.task}" for each in records)) or "nothing"
