"""The training graph of a DLRM: the logits of Merlin's model, from the same variables, in fewer and faster operations.

Merlin's graph takes each column by itself, and cuts the pairs out of all dot products by a mask, whose gradient puts them back one by
one. Here columns come packed, and both ways are products with a matrix of zeros and ones. Inference, export and every saved file stay
Merlin's model; that both give the same logits and gradients is held by a test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class DLRMParts:
    """The layers of a built model whose variables are trained.

    Attributes:
        embeddings: column -> ``mm.EmbeddingTable``.
        bottom: ``mm.MLPBlock`` over the continuous columns.
        top: the same over the interactions.
        head: dense layer from the top to the deep logit.
        linear: dense layer from the continuous columns, in the order of ``continuous``, to the wide logit.
        continuous: the continuous columns.
    """

    embeddings: Mapping[str, Any]
    bottom: Any
    top: Any
    head: Any
    linear: Any
    continuous: tuple[str, ...]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The categorical columns, in the order in which ids come packed; Merlin joins columns by name."""
        return tuple(sorted(self.embeddings))

    @cached_property
    def _by_name(self) -> Any:
        """``[F, F]`` matrix that puts continuous columns into the order of their names, in which Merlin's bottom part reads them."""
        places = np.argsort(np.asarray(self.continuous), kind="stable")
        return np.eye(len(places), dtype=np.float32)[places]

    def logits(self, ids: Any, floats: Any) -> tuple[Any, list[Any]]:
        """Return the logits and what of the embedding tables they were made of.

        Args:
            ids: int32 ``[B, columns]``.
            floats: float32 ``[B, continuous]``.

        Returns:
            float32 ``[B, 1]``, and the embeddings ``[B, D]`` of each column.
        """
        from cartwheel.merlin_compat import tf

        embedded = [
            tf.gather(self.embeddings[name].table.embeddings, each)
            for name, each in zip(self.columns, tf.unstack(ids, axis=1), strict=True)
        ]
        kernels = [layer.dense for layer in self.bottom.layers]
        # Columns in their own order, kernel rows in that of their names.
        first = tf.matmul(self._by_name, kernels[0].kernel, transpose_a=True)
        below = tf.nn.relu(tf.nn.bias_add(tf.matmul(floats, first), kernels[0].bias))
        for layer in kernels[1:]:
            below = tf.nn.relu(tf.nn.bias_add(tf.matmul(below, layer.kernel), layer.bias))
        above = tf.concat([below, products_of_pairs(tf.stack([below, *embedded], axis=1))], axis=1)
        for layer in self.top.layers:
            above = tf.nn.relu(tf.nn.bias_add(tf.matmul(above, layer.dense.kernel), layer.dense.bias))
        deep = tf.matmul(above, self.head.kernel) + self.head.bias
        return deep + tf.matmul(floats, self.linear.kernel) + self.linear.bias, embedded


def products_of_pairs(vectors: Any) -> Any:
    """Return the dot products of all pairs of ``F`` vectors, ``[B, F (F - 1) / 2]``, for ``[B, F, D]``.

    Pairs come as in the rows of the upper triangle of all products, as Merlin's ``DotProductInteraction`` has them.
    """
    from cartwheel.merlin_compat import tf

    number = int(vectors.shape[1])
    pick, put_back = _selections(number)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def products(given: Any) -> tuple[Any, Callable[[Any], Any]]:
        every = tf.matmul(given, given, transpose_b=True)

        def gradient(upstream: Any) -> Any:
            return tf.matmul(tf.reshape(tf.matmul(upstream, put_back), [-1, number, number]), given)

        return tf.matmul(tf.reshape(every, [-1, number**2]), pick), gradient

    return products(vectors)


def _selections(number: int) -> tuple[Any, Any]:
    """Return ``[F F, pairs]``, which picks the pairs, and ``[pairs, F F]``, which puts their gradients back on both sides."""
    first, second = np.triu_indices(number, 1)
    pairs = np.arange(len(first))
    pick, both = (np.zeros((number**2, len(pairs)), np.float32) for _ in range(2))
    pick[first * number + second, pairs] = 1.0
    both[first * number + second, pairs] = both[second * number + first, pairs] = 1.0
    return pick, np.ascontiguousarray(both.T)
