"""Exact search of a large catalogue that reads a quarter of the memory.

A single query has to read the whole catalogue, and that, not the arithmetic, is what its search costs. So all items are scored with
8-bit integers first, where few queries are asked together: of many, arithmetic costs more than reading, and all items are scored in
single precision at once. How far such a score can be from the true one is known, by the triangle and Cauchy-Schwarz inequalities:

    q.v  <=  q'.v' + |q'| |v - v'| + |q - q'| |v|

where q' and v' are what the integers stand for. The best few by integers are scored again in single precision, and if the
last one that is kept scores at least this bound for the best item that was not scored again, no other item can belong to the answer.
If not, which is rare, all items are scored in single precision. So the answer is that of the full search, always.

What an item has beside its dot product is rounded to the unit of the products and added to them; the bound grows by half of that unit.

The integers of the query have 7 bits: processors without VNNI add pairs of products in 16 bits, which these never overflow.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from serving.pieces.common import INFINITY, cast, size
from serving.pieces.neighbours import Additions, ItemBases
from serving.pieces.top import barred, best
from workflows.compiler.onnx_graph import GraphBuilder

SCAN_ITEMS: Final = 20_000
"""Catalogues smaller than this lie in the processor's cache as they are."""
FEW: Final = 8
"""As many queries are scored with integers first; of more than these, all items are scored in single precision at once."""
AGAIN: Final = 3
"""How many times the wanted items are scored again."""
_QUERY_LEVELS: Final = 63
_QUERY_ZERO: Final = 64
_ITEM_LEVELS: Final = 127
_BLOCK: Final = 16
_LOWEST: Final = np.int32(np.iinfo(np.int32).min)
_MOST_UNITS: Final = 1e8
"""The units of queries are so large that no base has more of them: its sum with a product of integers stays within 32 bits."""
_LEAST: Final = 1e-20
"""Least unit of a query, and 1e-12 of an item, so that their product is a number."""
_ROUNDING: Final = 1e-5
"""Relative to the lengths of the vectors: more than single precision loses in a dot product of a few hundred numbers."""


def nearest(
    graph: GraphBuilder,
    vector: str,
    vectors: npt.NDArray[np.float32],
    excluded: str,
    kept: int,
    additions: Additions | None = None,
    bases: ItemBases | None = None,
) -> tuple[str, str]:
    """Return the ``kept`` items with the greatest scores, dot product, base and additions: float32 and int64 [B, kept], descending.

    Args:
        graph: where to.
        vector: query vectors, float32 [B, D].
        vectors: item vectors [N, D].
        excluded: int64 [B, X], indices that must not be answered; N for an unknown item, -1 for none.
        kept: how many, with ``AGAIN * kept`` at most N.
        additions: what some items have beside the dot product; 0 or above, which the search relies on.
        bases: what every item has beside the dot product, of any sign.

    Returns:
        Scores, -inf where too few items are allowed, and indices.
    """
    search = _Search(graph, vector, excluded, padded_rows(vectors), len(vectors), kept, additions, bases)
    return search.nearest()


def padded_rows(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return item vectors with rows of zeros behind them, at least one, for what is none; a graph that uses them twice stores them once."""
    items, dimension = vectors.shape
    padded = np.zeros(((items // _BLOCK + 1) * _BLOCK, dimension), np.float32)
    padded[:items] = vectors
    return padded


class _Search:
    """The values that both ways share.

    Args:
        graph: where to.
        vector: as in ``nearest``.
        excluded: as in ``nearest``.
        padded: item vectors, with rows of zeros behind [columns, D].
        items: number of items.
        kept: how many are wanted.
        additions: as in ``nearest``.
        bases: as in ``nearest``.
    """

    def __init__(
        self,
        graph: GraphBuilder,
        vector: str,
        excluded: str,
        padded: npt.NDArray[np.float32],
        items: int,
        kept: int,
        additions: Additions | None,
        bases: ItemBases | None,
    ) -> None:
        self._vector, self._excluded = vector, excluded
        self._padded, self._items, self._columns, self._kept = padded, items, len(padded), kept
        self._additions = additions
        self._base = None if bases is None else bases.of(graph, self._columns)
        self._largest_base = 0.0 if bases is None else float(np.abs(bases.values).max(initial=0.0))
        self._graph = graph
        self._table = graph.constant(padded)
        self._flipped = graph.add("Transpose", self._table, perm=[1, 0])  # folded to a constant when the file is loaded

    def nearest(self) -> tuple[str, str]:
        graph = self._graph
        few = graph.add("LessOrEqual", size(graph, self._vector, 0), graph.constant([FEW], np.int64))
        scores, items = graph.choose(few, self._by_integers, self._in_full, ("float32", "int64"))
        return scores, items

    def _in_full(self, graph: GraphBuilder) -> tuple[str, str]:
        """Score all items in single precision."""
        scores = graph.add("MatMul", self._vector, self._flipped)
        if self._base is not None:
            scores = graph.add("Add", scores, self._base)
        if self._additions is not None:
            scores = self._additions.to(graph, scores)
        allowed = barred(graph, scores, self._excluded, self._items, self._columns)
        return best(graph, allowed, self._kept, self._columns, _BLOCK)

    def _by_integers(self, graph: GraphBuilder) -> tuple[str, str]:
        """Score all items with integers, the best again, and all again where that leaves a doubt."""
        again = AGAIN * self._kept
        codes, item_unit = _item_codes(self._padded)
        errors = self._padded - codes * np.float32(item_unit)
        smallest = max(self._largest_base / _MOST_UNITS / item_unit, _LEAST)
        query, query_unit, slack = _query_codes(graph, self._vector, self._padded, errors, smallest)
        products = graph.add("MatMulInteger", query, graph.constant(codes.T), graph.constant(_QUERY_ZERO, np.uint8))
        unit = graph.add("Mul", query_unit, graph.constant(item_unit, np.float32))
        products, slack = self._with_base(graph, products, unit, slack)
        allowed = barred(graph, products, self._excluded, self._items, self._columns, lowest=_LOWEST)
        roughly, index = best(graph, allowed, again, self._columns, _BLOCK)
        forbidden = graph.add("Equal", roughly, graph.constant(_LOWEST))
        scores = graph.add("Where", forbidden, graph.constant(-INFINITY, np.float32), self._scores(graph, index))
        found, place = graph.add_many("TopK", 2, scores, graph.constant([self._kept], np.int64), axis=1)
        chosen = graph.add("GatherElements", index, place, axis=1)
        # No item that was not scored again has a greater integer than the last one that was.
        least = _column(graph, roughly, again - 1)
        bound = graph.add("Add", graph.add("Mul", cast(graph, least, onnx.TensorProto.FLOAT), unit), slack)
        exhausted = graph.add("Equal", least, graph.constant(_LOWEST))
        enough = graph.add("GreaterOrEqual", _column(graph, found, self._kept - 1), bound)
        certain = cast(graph, graph.add("Or", exhausted, enough), onnx.TensorProto.INT32)
        all_certain = cast(graph, graph.add("ReduceMin", certain, keepdims=0), onnx.TensorProto.BOOL)
        values, items = graph.choose(
            all_certain, lambda branch: self._with_additions(branch, found, chosen), self._in_full, ("float32", "int64")
        )
        return values, items

    def _with_base(self, graph: GraphBuilder, products: str, unit: str, slack: str) -> tuple[str, str]:
        """Add the base to products of integers, in their unit, and what rounding it can take to how far a score may be off."""
        if self._base is None:
            return products, slack
        steps = cast(graph, graph.add("Round", graph.add("Div", self._base, unit)), onnx.TensorProto.INT32)
        off = graph.add("Mul", unit, graph.constant(0.5, np.float32))
        rounding = graph.constant(_ROUNDING * self._largest_base, np.float32)
        return graph.add("Add", products, steps), graph.add("Sum", slack, off, rounding)

    def _with_additions(self, graph: GraphBuilder, found: str, chosen: str) -> tuple[str, str]:
        """Return the best of all items by score, given the best by dot product alone.

        An item that nothing is added to is among the former only if it is among the latter, so those and all items that something is
        added to hold the answer.
        """
        added = self._additions
        if added is None:
            return found, chosen
        batch = size(graph, self._vector, 0)
        shape = graph.add("Concat", batch, graph.constant([self._columns], np.int64), axis=0)
        sums = added.to(graph, graph.add("Expand", graph.constant(np.float32(0)), shape))
        sums = barred(graph, sums, self._excluded, self._items, self._columns)
        lowest, zero = graph.constant(-INFINITY, np.float32), graph.constant(0, np.float32)
        twice = graph.add("Greater", graph.add("GatherElements", sums, chosen, axis=1), zero)
        own = graph.add("GatherElements", sums, added.items, axis=1)
        counts = graph.add("And", added.first_mentions(graph, self._columns, batch), graph.add("Greater", own, zero))
        together = graph.add("Add", self._scores(graph, added.items), own)
        scores = graph.add(
            "Concat", graph.add("Where", twice, lowest, found), graph.add("Where", counts, together, lowest), axis=1
        )
        best_scores, place = graph.add_many("TopK", 2, scores, graph.constant([self._kept], np.int64), axis=1)
        return best_scores, graph.add("GatherElements", graph.add("Concat", chosen, added.items, axis=1), place, axis=1)

    def _scores(self, graph: GraphBuilder, index: str) -> str:
        """Return dot product and base of each query with its own items, float32 [B, W], for ``index`` [B, W]."""
        last = graph.constant([2], np.int64)
        own = graph.add("Gather", self._table, index, axis=0)
        products = graph.add("Squeeze", graph.add("MatMul", own, graph.add("Unsqueeze", self._vector, last)), last)
        if self._base is None:
            return products
        return graph.add("Add", products, graph.add("GatherElements", self._base, index, axis=1))


def _item_codes(vectors: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], float]:
    """Return what stands for the vectors, int8 [N, D], and what one of it means."""
    unit = max(float(np.abs(vectors).max(initial=0.0)) / _ITEM_LEVELS, 1e-12)
    return np.rint(vectors / unit).astype(np.int8), unit


def _query_codes(
    graph: GraphBuilder, vector: str, vectors: npt.NDArray[np.float32], errors: npt.NDArray[np.floating[Any]], least: float
) -> tuple[str, str, str]:
    """Return what stands for the queries (uint8 [B, D]), what one of it means, and how far a score may be off (float32 [B, 1]).

    One of it means ``least`` at least.
    """
    longest = float(np.linalg.norm(vectors.astype(np.float64), axis=1).max(initial=0.0))
    largest_error = float(np.linalg.norm(errors.astype(np.float64), axis=1).max(initial=0.0))
    largest = graph.add("ReduceMax", graph.add("Abs", vector), axes=[1], keepdims=1)
    levels = graph.constant(_QUERY_LEVELS, np.float32)
    unit = graph.add("Max", graph.add("Div", largest, levels), graph.constant(least, np.float32))
    whole = graph.add("Round", graph.add("Div", vector, unit))
    codes = cast(graph, graph.add("Add", whole, graph.constant(_QUERY_ZERO, np.float32)), onnx.TensorProto.UINT8)
    meant = graph.add("Mul", whole, unit)
    parts = (
        (meant, largest_error),
        (graph.add("Sub", vector, meant), longest),
        (vector, _ROUNDING * longest),
    )
    lengths = [
        graph.add("Mul", graph.add("ReduceL2", value, axes=[1], keepdims=1), graph.constant(factor, np.float32))
        for value, factor in parts
    ]
    return codes, unit, graph.add("Sum", *lengths)


def _column(graph: GraphBuilder, values: str, place: int) -> str:
    """Return one column, [B, 1]."""
    return graph.add("Gather", values, graph.constant([place], np.int64), axis=1)
