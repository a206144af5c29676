"""From ids back to the shop's own keys: each vocabulary in the plan, read the other way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from cartwheel.core.errors import UsageError
from workflows.compiler.operators.categorify import Lookup
from workflows.compiler.operators.list_slice import Slice
from workflows.compiler.plan.graph import Plan


@dataclass(frozen=True)
class Vocabulary:
    """A vocabulary by id.

    Attributes:
        domain: its name; columns that share it share their ids.
        keys: the key of each id, a struct where it is a combination of values; null for the ids below ``first``.
        first: the lowest id of a key; those below stand for padding, null and unknown values.
    """

    domain: str
    keys: pl.Series
    first: int

    def __len__(self) -> int:
        """How many ids there are, those without a key included."""
        return len(self.keys)

    def decode(self, ids: Iterable[int]) -> pl.Series:
        """Return the key of each id, null where the id has none.

        Raises:
            UsageError: if the vocabulary has no such id.
        """
        numbers = ids if isinstance(ids, pl.Series) else pl.Series(list(ids), dtype=pl.Int64)
        wrong = numbers.filter((numbers < 0) | (numbers >= len(self)))
        if len(wrong):
            raise UsageError(
                f"The vocabulary {self.domain!r} has no id {wrong[0]}; its ids are 0 to {len(self) - 1}.",
                "Decode ids with the plan that encoded them.",
            )
        return self.keys.gather(numbers)


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
    return Vocabulary(lookup.domain, lookup.inverse(), lookup.first)


def compare_vocabularies(before: Lookup, after: Lookup) -> str:
    """Return what changed in a vocabulary, for example ``+12 keys, -0 keys; 1204 ids kept, 0 moved``."""
    was, now = _ids(before), _ids(after)
    keys = [name for name in was.columns if name != "id"]
    if was.drop("id").schema != now.drop("id").schema:
        both = pl.DataFrame({"id": [], "id_right": []})  # a string is never an integer
    else:
        both = was.join(now, on=keys, nulls_equal=True)
    kept = both.filter(pl.col("id") == pl.col("id_right")).height
    return f"+{now.height - both.height} keys, -{was.height - both.height} keys; {kept} ids kept, {both.height - kept} moved"


def _ids(lookup: Lookup) -> pl.DataFrame:
    """Return a row a key: its values, in columns called by their places, and its ``id``."""
    values = {str(place): series for place, series in enumerate(lookup.keys.columns)}
    return pl.DataFrame(values).with_row_index("id", offset=lookup.first)


def _lookup(plan: Plan, column: str) -> Lookup | None:
    """Return the step that makes the ids of a column, if a vocabulary does; filters and slices of lists carry ids on."""
    node = plan.nodes[plan.place(column)]
    while node.inputs and (node.step is None or isinstance(node.step, Slice)):
        node = plan.nodes[node.inputs[0]]
    return node.step if isinstance(node.step, Lookup) else None
