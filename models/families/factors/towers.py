"""Factor models in the served form of a retrieval model: query and item vectors whose dot product is the score.

The query vector is computed from encoded columns, in NumPy to check serving by, and as an ONNX graph that is served. Items that
training did not hold, and the ids of padding, null and out-of-vocabulary, have the vector 0 and score 0.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

import numpy as np
import numpy.typing as npt
import onnx

from workflows.compiler.onnx_graph import GraphBuilder

if TYPE_CHECKING:
    from models.families.factors.factors import Factors
    from models.families.registry import ALS, BPR
    from models.questions.interactions import Ints
    from models.training.tables import Array

USER: Final = "user_id"
RECENT: Final = "recent_items"
ITEM: Final = "item_id"
_ACCURACY: Final = 1e-12
"""Of the inverse that folds a history in, before it is refined once."""
_LEAN: Final = 0.1
"""Most that a bias adds to an item's vector, relative to the median length of the factors: what is alike is said by these."""
_SAMPLE: Final = 1_000
_CELLS: Final = 20_000_000
"""Scores held at a time."""


class Columns(Protocol):
    """Encoded columns by name, such as a ``Table``."""

    def __getitem__(self, name: str, /) -> Array:
        """Return a column, ``[N]`` or ``[N, L]``."""


@dataclass(frozen=True)
class FactorTowers(ABC):
    """A factor model over the encoded ids of a run.

    Attributes:
        items: float32 ``[item ids, D]``.
    """

    items: Factors

    columns: ClassVar[tuple[str, ...]]
    """Encoded columns that the query vector is computed from."""

    @abstractmethod
    def encode_queries(self, table: Columns) -> Array:
        """Return float32 ``[N, D]`` query vectors."""

    @property
    def vectors(self) -> Factors:
        """float32 ``[item ids, d]`` of the item vectors the numbers that differ in what queries make of them."""
        return self.items

    @property
    def bias(self) -> Factors:
        """float32 ``[item ids]`` what every query's score of an item holds beside the product with these."""
        return np.zeros(len(self.items), np.float32)

    def encode_items(self, table: Columns) -> Array:
        """Return float32 ``[N, D]`` item vectors."""
        return self.items[table[ITEM]]

    @abstractmethod
    def query_model(self) -> onnx.ModelProto:
        """Return the graph from ``columns``, int64 ``[B, 1]`` or ``[B, L]`` as the encoded features are, to ``query_vector``."""

    def item_model(self) -> onnx.ModelProto:
        """Return the graph from ``item_id``, int64 ``[B, 1]``, to ``item_vector``."""
        graph = GraphBuilder("item_factors")
        vector = _row(graph, self.items, graph.input(ITEM, "int64", ["batch", 1]))
        graph.output(vector, "item_vector", "float32", ["batch", self.items.shape[1]])
        return graph.model()


@dataclass(frozen=True)
class ALSTowers(FactorTowers):
    """Folds a history in: the x of ``ALS`` for the distinct known items H among the recent ones, exactly.

    With G = Y'Y + l2 I = LL' over all items, u = L'x and z(i) = L^-1 y(i), every score is unchanged, x'y(i) = u'z(i), and

        u = (I + (alpha - 1) Z(H)'Z(H))^-1 alpha Z(H)'1 = alpha Z(H)' (I + (alpha - 1) Z(H)Z(H)')^-1 1,

    a system of as many unknowns as there are recent items. z(i)'z(j) is how much i in a history speaks for j, by which Hu, Koren and
    Volinsky (2008, section 5) explain what they recommend. An empty history is answered as the average shopper of training would be:
    with what is popular.

    Attributes:
        items: z(i).
        stranger: float32 ``[D]`` u of the average shopper.
        alpha: confidence of an interaction.
    """

    stranger: Factors
    alpha: float

    columns: ClassVar[tuple[str, ...]] = (RECENT,)

    def encode_queries(self, table: Columns) -> Array:
        """Return float32 ``[N, D]`` query vectors, each from its system of as many unknowns as there are recent items."""
        recent = table[RECENT]
        vectors = np.empty((len(recent), self.items.shape[1]), np.float32)
        for part in _parts(recent, vectors.shape[1]):
            held = _held(self.items, recent[part])
            products = held @ held.transpose(0, 2, 1)
            right = np.full((*held.shape[:2], 1), self.alpha)
            weights = np.linalg.solve(np.eye(held.shape[1]) + (self.alpha - 1.0) * products, right)
            folded = (weights.transpose(0, 2, 1) @ held)[:, 0].astype(np.float32)
            vectors[part] = np.where(held.any(axis=(1, 2))[:, None], folded, self.stranger)
        return vectors

    def query_model(self) -> onnx.ModelProto:
        """Return the graph; the inverse is found by the iteration of Newton and Schulz, which needs matrix products alone.

        As Z'Z is at most I, the eigenvalues of the system lie between 1 and alpha, which tells where to begin and when to end.
        """
        graph = GraphBuilder("als_query")
        recent = graph.input(RECENT, "int64", ["batch", "length"])
        # The system is well conditioned by alpha alone; with doubles any alpha leaves single precision.
        held = graph.add("Cast", _distinct(graph, self.items, recent), to=onnx.TensorProto.DOUBLE)
        products = graph.add("MatMul", held, graph.add("Transpose", held, perm=[0, 2, 1]))
        identity = _identity(graph, recent)
        system = graph.add("Add", identity, graph.add("Mul", products, graph.constant(self.alpha - 1.0, np.float64)))
        weights = self._solved(graph, system, identity)
        vector = graph.add("ReduceSum", graph.add("Mul", held, weights), graph.constant([1], np.int64), keepdims=0)
        vector = graph.add("Mul", vector, graph.constant(self.alpha, np.float64))
        size = graph.add("ReduceSum", graph.add("Abs", held), graph.constant([1, 2], np.int64), keepdims=0)
        some = graph.add("Greater", graph.add("Unsqueeze", size, graph.constant([1], np.int64)), graph.constant(0.0, np.float64))
        single = graph.add("Cast", vector, to=onnx.TensorProto.FLOAT)
        answer = graph.add("Where", some, single, graph.constant(self.stranger[None]))
        graph.output(answer, "query_vector", "float32", ["batch", len(self.stranger)])
        return graph.model()

    def _solved(self, graph: GraphBuilder, system: str, identity: str) -> str:
        """Return the w of ``system`` w = 1, float64 ``[B, L, 1]``."""
        low, high = sorted((1.0, self.alpha))
        start, error = 2.0 / (low + high), (high - low) / (low + high)
        twice = graph.add("Mul", identity, graph.constant(2.0, np.float64))
        # The first step from the identity times ``start``.
        inverse = graph.add("Sub", twice, graph.add("Mul", system, graph.constant(start, np.float64)))
        inverse = graph.add("Mul", inverse, graph.constant(start, np.float64))
        steps = math.ceil(math.log2(math.log(_ACCURACY) / math.log(error))) if error > _ACCURACY else 1
        for _ in range(steps - 1):
            rest = graph.add("Sub", twice, graph.add("MatMul", system, inverse))
            inverse = graph.add("MatMul", inverse, rest)
        weights = graph.add("ReduceSum", inverse, graph.constant([2], np.int64), keepdims=1)
        left = graph.add("Sub", graph.constant(1.0, np.float64), graph.add("MatMul", system, weights))
        return graph.add("Add", weights, graph.add("MatMul", inverse, left))


@dataclass(frozen=True)
class BPRTowers(FactorTowers):
    """Answers a shopper of training by their own factors, others by the mean of the distinct known items among the recent ones.

    Scores are those of ``BPR`` less a constant, by which an item that training did not hold scores 0, as low as the lowest of those
    that it held. Its bias is the last number of an item's vector, made small, and the query's last number is made great: so biases
    count in the score as they should, and hardly in how alike two items are.

    Attributes:
        items: the factors, and the bias as a share of ``constant``.
        users: float32 ``[user ids, D - 1]`` factors, 0 for a user that training did not hold.
        constant: the last number of every query vector.
    """

    users: Factors
    constant: float

    columns: ClassVar[tuple[str, ...]] = (USER, RECENT)

    @property
    def vectors(self) -> Factors:
        """float32 ``[item ids, D - 1]`` factors."""
        return self.items[:, :-1]

    @property
    def bias(self) -> Factors:
        """float32 ``[item ids]`` biases."""
        return np.asarray(self.items[:, -1] * np.float32(self.constant), np.float32)

    def encode_queries(self, table: Columns) -> Array:
        """Return float32 ``[N, D]`` query vectors."""
        own = self.users[table[USER]].astype(np.float64)
        means = self._means(table[RECENT])
        factors = np.where(own.any(axis=1, keepdims=True), own, means)
        vectors: Array = np.concatenate([factors, np.full((len(factors), 1), self.constant)], axis=1).astype(np.float32)
        return vectors

    def _means(self, recent: Ints) -> npt.NDArray[np.float64]:
        means = np.empty((len(recent), self.items.shape[1] - 1))
        for part in _parts(recent, self.items.shape[1]):
            held = _held(self.items, recent[part])
            means[part] = held[..., :-1].sum(axis=1) / np.maximum(1, np.count_nonzero(held.any(axis=2), axis=1))[:, None]
        return means

    def query_model(self) -> onnx.ModelProto:
        """Return the graph."""
        graph = GraphBuilder("bpr_query")
        user, recent = graph.input(USER, "int64", ["batch", 1]), graph.input(RECENT, "int64", ["batch", "length"])
        axis, one = graph.constant([1], np.int64), graph.constant(1, np.float32)
        # Counted in the same product: 1 for each known item.
        counted = np.concatenate([self.items[:, :-1], self.items.any(axis=1, keepdims=True)], axis=1).astype(np.float32)
        sums = graph.add("ReduceSum", _distinct(graph, counted, recent), axis, keepdims=0)
        total, count = graph.add_many("Split", 2, sums, graph.constant([counted.shape[1] - 1, 1], np.int64), axis=1)
        mean = graph.add("Div", total, graph.add("Max", count, one))
        known = graph.add("Greater", _row(graph, self.users.any(axis=1, keepdims=True).astype(np.float32), user),
                          graph.constant(0, np.float32))  # fmt: skip
        factors = graph.add("Where", known, _row(graph, self.users, user), mean)
        last = graph.add("Expand", graph.constant([[self.constant]], np.float32), graph.add("Shape", count))
        graph.output(graph.add("Concat", factors, last, axis=1), "query_vector", "float32", ["batch", self.items.shape[1]])
        return graph.model()


def als_towers(model: ALS, items: Ints) -> ALSTowers:
    """Return a fitted model over encoded ids.

    Args:
        model: the model.
        items: ``[item ids]`` the model's code of each id, -1 for none.
    """
    factors = model.item_factors.astype(np.float64)
    root = np.linalg.cholesky(factors.T @ factors + model.l2 * np.eye(factors.shape[1]))
    vectors = np.linalg.solve(root, factors.T).T
    stranger = (root.T @ model.average_shopper.astype(np.float64)).astype(np.float32)
    return ALSTowers(_by_id(vectors, items), stranger, model.alpha)


def bpr_towers(model: BPR, items: Ints, users: Ints) -> BPRTowers:
    """Return a fitted model over encoded ids.

    Args:
        model: the model.
        items: ``[item ids]`` the model's code of each id, -1 for none.
        users: ``[user ids]`` likewise.
    """
    known, shoppers = model.item_factors[model.item_known], model.user_factors[model.user_known]
    lowest = _lowest(shoppers[:: max(1, len(shoppers) // _SAMPLE)], known)
    factors, bias = model.item_factors[:, :-1].astype(np.float64), model.item_factors[:, -1].astype(np.float64) - lowest
    length = float(np.median(np.linalg.norm(known[:, :-1], axis=1)))
    largest = float(np.abs(bias[model.item_known]).max())
    constant = float(np.float32(largest / (_LEAN * length))) if largest > 0 and length > 0 else 1.0
    vectors = np.concatenate([factors, bias[:, None] / constant], axis=1)
    vectors[~model.item_known] = 0.0
    own = np.where(model.user_known[:, None], model.user_factors[:, :-1], 0.0)
    return BPRTowers(_by_id(vectors, items), _by_id(own, users), constant)


def _parts(recent: Ints, width: int) -> Iterator[slice]:
    """Return which lists ``[N, L]`` are looked at together, where each item has ``width`` numbers."""
    step = max(1, _CELLS // max(1, recent.shape[1] * max(width, recent.shape[1])))
    return (slice(at, at + step) for at in range(0, len(recent), step))


def _held(items: Factors, recent: Ints) -> npt.NDArray[np.float64]:
    """Return float64 ``[B, L, D]`` the vectors of the distinct items of lists ``[B, L]``, 0 where one stands there again."""
    ids = np.sort(recent, axis=1)
    held = items[ids].astype(np.float64)
    held[:, 1:][ids[:, 1:] == ids[:, :-1]] = 0.0
    return held


def _lowest(shoppers: Factors, items: Factors) -> float:
    """Return the lowest product of any two."""
    step = max(1, _CELLS // len(items))
    return min(float((shoppers[at : at + step] @ items.T).min()) for at in range(0, len(shoppers), step))


def _by_id(values: npt.NDArray[np.floating[npt.NBitBase]], codes: Ints) -> Factors:
    """Return float32 ``[ids, D]`` the rows of ``values`` by id, 0 for an id without a code."""
    return np.where(codes[:, None] >= 0, values[codes], 0.0).astype(np.float32)


def _row(graph: GraphBuilder, table: Factors, ids: str) -> str:
    """Return the rows of a table ``[n, D]`` for ids ``[B, 1]``: ``[B, D]``."""
    return graph.add("Gather", graph.constant(table), graph.add("Squeeze", ids, graph.constant([1], np.int64)), axis=0)


def _distinct(graph: GraphBuilder, table: Factors, ids: str) -> str:
    """Return the rows of a table ``[n, D]`` for ids ``[B, L]``: ``[B, L, D]``, 0 where an id stood earlier in the list."""
    one, two = graph.constant([1], np.int64), graph.constant([2], np.int64)
    same = graph.add("Equal", graph.add("Unsqueeze", ids, two), graph.add("Unsqueeze", ids, one))
    place = _places(graph, ids)
    earlier = graph.add("Less", graph.add("Unsqueeze", place, graph.constant([0], np.int64)), graph.add("Unsqueeze", place, one))
    repeats = graph.add("Cast", graph.add("And", same, earlier), to=onnx.TensorProto.FLOAT)
    first = graph.add("Sub", graph.constant(1, np.float32), graph.add("ReduceMax", repeats, axes=[2], keepdims=1))
    return graph.add("Mul", graph.add("Gather", graph.constant(table), ids, axis=0), first)


def _identity(graph: GraphBuilder, ids: str) -> str:
    """Return the identity of as many rows as lists ``[B, L]`` are long: float64 ``[L, L]``."""
    place = _places(graph, ids)
    rows = [graph.add("Unsqueeze", place, graph.constant([axis], np.int64)) for axis in (0, 1)]
    return graph.add("Cast", graph.add("Equal", *rows), to=onnx.TensorProto.DOUBLE)


def _places(graph: GraphBuilder, ids: str) -> str:
    """Return 0 ... L - 1 of lists ``[B, L]``, int64 ``[L]``."""
    length = graph.add("Squeeze", graph.add("Shape", ids, start=1, end=2), graph.constant([0], np.int64))
    return graph.add("Range", graph.constant(0, np.int64), length, graph.constant(1, np.int64))
