"""List-relative features of the candidate ranker, in addition to the encoded columns of query, item and pair.

Shapes: A questions, C candidates each. All of it is computed in float32, in the same steps when served, see
``serving.pieces.rank_lists``. The retrieval score is no feature: that of a window is the sum of fewer retrievers than the one that is
served, and a ranker that relied on it would order by something else than it has learnt from. It is added afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from models.families.neighbours.table import Neighbours
from models.metrics.ranking import Ints
from workflows.features.column import Column, Kind, Owner

Matrix = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

DECAYS: Final = (0.8, 0.3)
"""How much less each step back in a history counts where a table of neighbours is read: somewhat, and so that the last item decides."""
NAMED: Final = "tables_that_name_it"
_TINY: Final = np.float32(1e-6)
"""Least that a table's best is taken for."""
_EVEN: Final = np.float32(0.01)
"""Added to a standard deviation, so that a list of equal numbers is all zeros but for rounding; encoded numbers have one of about 1."""
_TITLES: Final = {NAMED: "how many tables of neighbours name the item after the recent ones"}


def table_column(table: str, decay: float) -> str:
    """Return the name of what a table of neighbours gives, as a share of what it gives the list's best.

    >>> table_column("ease", 0.8)
    'ease_at_0.8'
    """
    return f"{table}_at_{decay:g}"


def spread_column(name: str) -> str:
    """Return the name of a number of items, less the candidates' mean, in their standard deviations."""
    return f"{name}_in_spreads"


def list_names(tables: Sequence[str], items: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of ``list_features``, in their order."""
    given = tuple(table_column(table, decay) for table in tables for decay in DECAYS)
    return (*given, NAMED, *(spread_column(name) for name in items))


def declared(names: Sequence[str]) -> tuple[Column, ...]:
    """Return the declarations of columns of numbers."""
    return tuple(Column(name, Owner.PAIR, Kind.NUMBER, _TITLES.get(name, name.replace("_", " "))) for name in names)


def list_features(real: Bools, given: Mapping[str, Matrix], items: Mapping[str, Matrix]) -> dict[str, Matrix]:
    """Return how candidates stand in their lists.

    Args:
        real: [A, C] whether there is a candidate.
        given: ``table_column`` -> [A, C] what the table gives, 0 or above; of each table with each of ``DECAYS``.
        items: name -> [A, C] encoded numbers of the candidates.

    Returns:
        Name -> [A, C], in the order of ``list_names``; 0 where there is no candidate.
    """
    found = dict[str, Matrix]()
    for name, values in given.items():
        found[name] = values / np.maximum(values.max(axis=1, keepdims=True, initial=0.0), _TINY)
    last = table_column("", DECAYS[0])
    counted = [values > 0 for name, values in given.items() if name.endswith(last)]
    found[NAMED] = np.sum(counted, axis=0, dtype=np.float32) if counted else np.zeros(real.shape, np.float32)
    found |= {spread_column(name): _in_spreads(values, real) for name, values in items.items()}
    return {name: np.asarray(values, np.float32) for name, values in found.items()}


def _in_spreads(values: Matrix, real: Bools) -> Matrix:
    """Return values less the mean of the real ones of their list, in standard deviations of these; 0 where not real."""
    count = np.maximum(real.sum(axis=1, keepdims=True, dtype=np.float32), np.float32(1))
    held = np.where(real, values, np.float32(0))
    off = np.where(real, held - held.sum(axis=1, keepdims=True) / count, np.float32(0))
    spread = np.sqrt((off * off).sum(axis=1, keepdims=True) / count)
    return np.asarray(off / (spread + _EVEN), np.float32)


def given_by_tables(tables: Mapping[str, Neighbours], recent: Ints, candidates: Ints) -> dict[str, Matrix]:
    """Return ``table_column`` -> [A, C] what each table gives to candidates.

    Args:
        tables: the tables, over N items.
        recent: [A, L] recent items, as ``Neighbours.scores`` reads them.
        candidates: [A, C] catalogue columns, -1 where there is no candidate.
    """
    row, column = np.repeat(np.arange(len(candidates)), candidates.shape[1]), np.maximum(candidates, 0).ravel()
    found = {}
    for name, table in tables.items():
        for decay in DECAYS:
            shares = np.power(np.float32(decay), np.arange(recent.shape[1], dtype=np.float32))
            values = np.asarray(table.spoken_for(recent, shares)[row, column], np.float32).reshape(candidates.shape)
            found[table_column(name, decay)] = np.where(candidates >= 0, values, np.float32(0))
    return found
