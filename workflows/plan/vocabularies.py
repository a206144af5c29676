"""From ids back to the shop's own keys: each vocabulary in the plan, read the other way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cartwheel.errors import UsageError
from workflows.operators.categorify import FIRST, Lookup
from workflows.plan.graph import Plan


@dataclass(frozen=True)
class Vocabulary:
    """A vocabulary by id.

    Attributes:
        domain: its name; columns that share it share their ids.
        keys: the key of each id; None for the ids that stand for padding, null and unknown values.
    """

    domain: str
    keys: tuple[Any, ...]

    def __len__(self) -> int:
        """How many ids there are, those without a key included."""
        return len(self.keys)

    def decode(self, ids: Iterable[int]) -> list[Any]:
        """Return the key of each id, None where the id has none.

        Raises:
            UsageError: if the vocabulary has no such id.
        """
        decoded = []
        for number in ids:
            if not 0 <= number < len(self.keys):
                raise UsageError(
                    f"The vocabulary {self.domain!r} has no id {number}; its ids are 0 to {len(self.keys) - 1}.",
                    "Decode ids with the plan that encoded them.",
                )
            decoded.append(self.keys[number])
        return decoded


def vocabulary(plan: Plan, column: str) -> Vocabulary:
    """Return the vocabulary of an encoded column: ``vocabulary(plan, "item_id").decode([17, 3])``.

    Args:
        plan: the plan of a fitted workflow.
        column: an encoded column that Categorify makes, a list of ids or one id a row.

    Raises:
        NotCompilableError: if the workflow makes no such column.
        UsageError: if its values are no ids of a vocabulary.
    """
    lookup = _lookup(plan, column)
    if lookup is None:
        having = [name for name in plan if _lookup(plan, name) is not None]
        raise UsageError(
            f"The column {column!r} has no vocabulary; Categorify does not make it.",
            f"Ask for one of {', '.join(having)}." if having else "Apply Categorify to it.",
        )
    return Vocabulary(lookup.domain, tuple(_keys(lookup)))


def compare_vocabularies(before: Lookup, after: Lookup) -> str:
    """Return what changed in a vocabulary, for example ``+12 keys, -0 keys; 1204 ids kept, 0 moved``."""
    was = {key: number for number, key in enumerate(_keys(before)) if number >= FIRST}
    now = {key: number for number, key in enumerate(_keys(after)) if number >= FIRST}
    kept = sum(now.get(key) == number for key, number in was.items())
    stayed = sum(key in now for key in was)
    return f"+{len(now) - stayed} keys, -{len(was) - stayed} keys; {kept} ids kept, {stayed - kept} moved"


def _lookup(plan: Plan, column: str) -> Lookup | None:
    """Return the step that makes the ids of a column, if a vocabulary does; a filter carries them on unchanged."""
    node = plan.nodes[plan.place(column)]
    while node.step is None and node.inputs:
        node = plan.nodes[node.inputs[0]]
    return node.step if isinstance(node.step, Lookup) else None


def _keys(lookup: Lookup) -> tuple[Any, ...]:
    return (*[None] * FIRST, *lookup.keys)
