# ruff: noqa: D102 - what each method does is described once, in Ops.
"""Network layers in three versions: TensorFlow to train, NumPy in float64 to score, and ONNX to serve.

A network writes its forward pass once, over ``Ops``; that all three give the same is held by the suite of learners.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from onnx import TensorProto

from models.families.family import Floats
from workflows.compiler.onnx_graph import GraphBuilder


class Ops(Protocol):
    """Operations on values of one kind; shapes are as NumPy broadcasts them."""

    def weight(self, name: str) -> Any:
        """Return a weight of the network."""

    def number(self, value: Any) -> Any:
        """Return a constant, float32."""

    def gather(self, table: Any, ids: Any) -> Any:
        """Return rows of ``table`` ``[K, D]`` at ``ids`` ``[...]``: ``[..., D]``."""

    def matmul(self, left: Any, right: Any) -> Any:
        """Return the matrix product over the last two axes."""

    def add(self, left: Any, right: Any) -> Any:
        """Return the sum."""

    def multiply(self, left: Any, right: Any) -> Any:
        """Return the product, element by element."""

    def divide(self, left: Any, right: Any) -> Any:
        """Return the quotient, element by element."""

    def relu(self, value: Any) -> Any:
        """Return the value where it is above 0, else 0."""

    def tanh(self, value: Any) -> Any:
        """Return the hyperbolic tangent."""

    def sigmoid(self, value: Any) -> Any:
        """Return 1 / (1 + exp(-value))."""

    def softmax(self, value: Any) -> Any:
        """Return the softmax over the last axis."""

    def clip(self, value: Any, low: float, high: float) -> Any:
        """Return the value within bounds."""

    def maximum(self, left: Any, right: Any) -> Any:
        """Return the larger, element by element."""

    def concat(self, values: Sequence[Any]) -> Any:
        """Join along the last axis."""

    def stack(self, values: Sequence[Any]) -> Any:
        """Join ``[B, D]`` values to ``[B, N, D]``."""

    def total(self, value: Any, axis: int) -> Any:
        """Return the sum over one axis, which goes."""

    def transposed(self, value: Any) -> Any:
        """Return ``[B, N, D]`` as ``[B, D, N]``."""

    def reshape(self, value: Any, *shape: int) -> Any:
        """Return the value in another shape, -1 standing for the batch."""

    def at(self, value: Any, place: int) -> Any:
        """Return ``value[:, place]``."""

    def real(self, ids: Any) -> Any:
        """Return 1.0 where an id is no padding, else 0.0."""

    def dropout(self, value: Any, rate: float) -> Any:
        """Return the value with a share of it set to 0 in training, and as it is otherwise."""


class NumpyOps:
    """``Ops`` in NumPy, float64.

    Args:
        weights: by name.
    """

    def __init__(self, weights: Mapping[str, Any]) -> None:
        self._weights = {name: np.asarray(value, np.float64) for name, value in weights.items()}

    def weight(self, name: str) -> Floats:
        return self._weights[name]

    def number(self, value: Any) -> Floats:
        return np.asarray(np.float32(value), np.float64)

    def gather(self, table: Floats, ids: Any) -> Floats:
        return np.asarray(table[ids])

    def matmul(self, left: Floats, right: Floats) -> Floats:
        return np.asarray(left @ right)

    def add(self, left: Floats, right: Floats) -> Floats:
        return left + right

    def multiply(self, left: Floats, right: Floats) -> Floats:
        return left * right

    def divide(self, left: Floats, right: Floats) -> Floats:
        return left / right

    def relu(self, value: Floats) -> Floats:
        return np.maximum(value, 0.0)

    def tanh(self, value: Floats) -> Floats:
        return np.tanh(value)

    def sigmoid(self, value: Floats) -> Floats:
        return np.asarray(np.exp(-np.logaddexp(0.0, -value)))

    def softmax(self, value: Floats) -> Floats:
        powers = np.exp(value - value.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))

    def clip(self, value: Floats, low: float, high: float) -> Floats:
        return np.clip(value, np.float32(low), np.float32(high))

    def maximum(self, left: Floats, right: Floats) -> Floats:
        return np.maximum(left, right)

    def concat(self, values: Sequence[Floats]) -> Floats:
        return np.concatenate(values, axis=-1)

    def stack(self, values: Sequence[Floats]) -> Floats:
        return np.stack(values, axis=1)

    def total(self, value: Floats, axis: int) -> Floats:
        return np.asarray(value.sum(axis=axis))

    def transposed(self, value: Floats) -> Floats:
        return np.swapaxes(value, 1, 2)

    def reshape(self, value: Floats, *shape: int) -> Floats:
        return value.reshape(len(value) if shape[0] == -1 else shape[0], *shape[1:])

    def at(self, value: Any, place: int) -> Any:
        return value[:, place]

    def real(self, ids: Any) -> Floats:
        return np.asarray(ids > 0, np.float64)

    def dropout(self, value: Floats, rate: float) -> Floats:
        del rate
        return value


class OnnxOps:
    """``Ops`` that add nodes to a graph.

    Args:
        graph: the graph.
        weights: by name.
        dtype: of what is computed, float32 or float64.
    """

    def __init__(self, graph: GraphBuilder, weights: Mapping[str, Any], dtype: Any = np.float32) -> None:
        self._graph = graph
        self._weights = weights
        self._dtype = dtype

    def weight(self, name: str) -> str:
        return self._graph.constant(self._weights[name], self._dtype)

    def number(self, value: Any) -> str:
        return self._graph.constant(np.asarray(value, np.float32), self._dtype)

    def gather(self, table: str, ids: str) -> str:
        return self._graph.add("Gather", table, ids, axis=0)

    def matmul(self, left: str, right: str) -> str:
        return self._graph.add("MatMul", left, right)

    def add(self, left: str, right: str) -> str:
        return self._graph.add("Add", left, right)

    def multiply(self, left: str, right: str) -> str:
        return self._graph.add("Mul", left, right)

    def divide(self, left: str, right: str) -> str:
        return self._graph.add("Div", left, right)

    def relu(self, value: str) -> str:
        return self._graph.add("Relu", value)

    def tanh(self, value: str) -> str:
        return self._graph.add("Tanh", value)

    def sigmoid(self, value: str) -> str:
        return self._graph.add("Sigmoid", value)

    def softmax(self, value: str) -> str:
        return self._graph.add("Softmax", value, axis=-1)

    def clip(self, value: str, low: float, high: float) -> str:
        return self._graph.add("Clip", value, self.number(low), self.number(high))

    def maximum(self, left: str, right: str) -> str:
        return self._graph.add("Max", left, right)

    def concat(self, values: Sequence[str]) -> str:
        return self._graph.add("Concat", *values, axis=-1)

    def stack(self, values: Sequence[str]) -> str:
        axis = self._graph.constant([1], np.int64)
        return self._graph.add("Concat", *(self._graph.add("Unsqueeze", value, axis) for value in values), axis=1)

    def total(self, value: str, axis: int) -> str:
        return self._graph.add("ReduceSum", value, self._graph.constant([axis], np.int64), keepdims=0)

    def transposed(self, value: str) -> str:
        return self._graph.add("Transpose", value, perm=[0, 2, 1])

    def reshape(self, value: str, *shape: int) -> str:
        return self._graph.add("Reshape", value, self._graph.constant(shape, np.int64))

    def at(self, value: str, place: int) -> str:
        return self._graph.add("Gather", value, self._graph.constant(place, np.int64), axis=1)

    def real(self, ids: str) -> str:
        above = self._graph.add("Greater", ids, self._graph.constant(0, np.int64))
        return self._graph.add("Cast", above, to=TensorProto.DOUBLE if self._dtype is np.float64 else TensorProto.FLOAT)

    def dropout(self, value: str, rate: float) -> str:
        del rate
        return value


class TensorFlowOps:
    """``Ops`` in TensorFlow, float32, for training.

    Args:
        variables: by name.
        seed: int32 ``[2]`` of this step's dropout.
    """

    def __init__(self, variables: Mapping[str, Any], seed: Any) -> None:
        from cartwheel.merlin_compat import tf

        self._tf, self._variables, self._seed, self._drops = tf, variables, seed, 0

    def weight(self, name: str) -> Any:
        return self._variables[name]

    def number(self, value: Any) -> Any:
        return self._tf.constant(value, self._tf.float32)

    def gather(self, table: Any, ids: Any) -> Any:
        return self._tf.gather(table, ids)

    def matmul(self, left: Any, right: Any) -> Any:
        return self._tf.linalg.matmul(left, right)

    def add(self, left: Any, right: Any) -> Any:
        return left + right

    def multiply(self, left: Any, right: Any) -> Any:
        return left * right

    def divide(self, left: Any, right: Any) -> Any:
        return left / right

    def relu(self, value: Any) -> Any:
        return self._tf.nn.relu(value)

    def tanh(self, value: Any) -> Any:
        return self._tf.tanh(value)

    def sigmoid(self, value: Any) -> Any:
        return self._tf.sigmoid(value)

    def softmax(self, value: Any) -> Any:
        return self._tf.nn.softmax(value)

    def clip(self, value: Any, low: float, high: float) -> Any:
        return self._tf.clip_by_value(value, low, high)

    def maximum(self, left: Any, right: Any) -> Any:
        return self._tf.maximum(left, right)

    def concat(self, values: Sequence[Any]) -> Any:
        return self._tf.concat(list(values), axis=-1)

    def stack(self, values: Sequence[Any]) -> Any:
        return self._tf.stack(list(values), axis=1)

    def total(self, value: Any, axis: int) -> Any:
        return self._tf.reduce_sum(value, axis=axis)

    def transposed(self, value: Any) -> Any:
        return self._tf.transpose(value, [0, 2, 1])

    def reshape(self, value: Any, *shape: int) -> Any:
        return self._tf.reshape(value, shape)

    def at(self, value: Any, place: int) -> Any:
        return value[:, place]

    def real(self, ids: Any) -> Any:
        return self._tf.cast(ids > 0, self._tf.float32)

    def dropout(self, value: Any, rate: float) -> Any:
        if not rate:
            return value
        self._drops += 1
        seed = self._seed + self._tf.constant([self._drops, 0], self._tf.int32)
        return self._tf.nn.experimental.stateless_dropout(value, rate, seed)
