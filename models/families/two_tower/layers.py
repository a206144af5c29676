"""Keras layers that Merlin lacks: tower inputs whose padded lists export to ONNX, and negatives that know their frequency.

Imported only where a model is built, because it needs TensorFlow and Merlin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from cartwheel.merlin_compat import mm, tf
from models.families.two_tower.history_layers import RecencyPooling
from models.training.tables import FIRST_ID

UNIFORM_IDS: Final = "uniform_ids"
UNIFORM_VECTORS: Final = "uniform_vectors"


@tf.keras.utils.register_keras_serializable(package="cartwheel")
class TowerInputs(tf.keras.layers.Layer):  # type: ignore[misc]
    """Joins a tower's encoded features into one row: embeddings, pooled lists, the state after the lists, continuous values.

    Args:
        schema: Merlin schema of the columns; Merlin's encoders ask for it.
        tables: categorical or list column -> its ``mm.EmbeddingTable``; columns of one vocabulary may share one.
        lists: which of them are lists.
        continuous: continuous columns.
        l2: weight of the squared embeddings in the loss, a mean over the batch.
        drop: drops values of the embeddings in training; None for none.
        sequence: the ``SequenceState`` of the lists, which stands beside what is pooled; None for none.
    """

    def __init__(
        self,
        schema: Any,
        tables: Mapping[str, Any],
        lists: Sequence[str],
        continuous: Sequence[str],
        l2: float = 0.0,
        drop: Any = None,
        sequence: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.schema = schema
        self.tables = dict(tables)
        self.lists = tuple(lists)
        self.continuous = tuple(continuous)
        self.l2 = l2
        self.drop = drop
        self.pooling = RecencyPooling() if lists else None
        self.sequence = sequence

    def begins(self, name: str) -> list[int]:
        """Return where a column's embedding begins in the row: of a list the mean, then the most recent one."""
        at = 0
        for column, table in self.tables.items():
            copies = 2 if column in self.lists else 1
            if column == name:
                return [at + number * table.dim for number in range(copies)]
            at += copies * table.dim
        raise KeyError(name)

    def call(self, inputs: Mapping[str, Any]) -> Any:
        """Return ``[B, width]`` float32 for ``[B, 1]`` scalars and ``[B, L]`` lists."""
        weights = self.pooling(inputs[self.lists[0]]) if self.pooling is not None else None
        parts, listed = [], []
        for name, table in self.tables.items():
            if name in self.lists:
                embedded = table.table(inputs[name])
                listed.append(embedded)
                parts.append(tf.reshape(tf.matmul(weights, embedded), [-1, 2 * table.dim]))
            else:
                embedded = table(inputs[name])
                parts.append(embedded)
            if self.l2:
                self.add_loss(self.l2 * tf.reduce_sum(tf.square(embedded)) / tf.cast(tf.shape(embedded)[0], tf.float32))
        if self.sequence is not None:
            parts.append(self.sequence(inputs[self.lists[0]], listed))
        embeddings = tf.concat(parts, axis=-1)
        if self.drop is not None:
            embeddings = self.drop(embeddings)
        return tf.concat([embeddings, *(tf.cast(inputs[name], tf.float32) for name in self.continuous)], axis=-1)

    def compute_output_shape(self, input_shape: Mapping[str, Any]) -> Any:
        """Return ``[B, width]``."""
        width = sum(table.dim * (2 if name in self.lists else 1) for name, table in self.tables.items()) + len(self.continuous)
        width += 0 if self.sequence is None else self.sequence.width
        return tf.TensorShape([next(iter(input_shape.values()))[0], width])


@tf.keras.utils.register_keras_serializable(package="cartwheel")
class ShortcutMLP(tf.keras.layers.Layer):  # type: ignore[misc]
    """Merlin's MLP plus a linear map of the same inputs.

    The linear part learns "near the last item" at once, which the MLP takes an epoch longer to find.

    Args:
        hidden: widths of the hidden layers.
        dimension: width of the output.
    """

    def __init__(self, hidden: Sequence[int], dimension: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dimension = dimension
        self.deep = mm.MLPBlock([*hidden, dimension], no_activation_last_layer=True)
        self.linear = tf.keras.layers.Dense(dimension, use_bias=False)

    def pass_through(self, begins: Sequence[int], width: int, others: float) -> None:
        """Let parts of the inputs through as they are, added up, and hold back what else the fresh weights make of the inputs.

        Args:
            begins: where each part begins.
            width: of each part; where the output is narrower, its last values are left out.
            others: factor for all other first weights.
        """
        kernel = self.linear.kernel.numpy() * others
        for begin in begins:
            kernel[begin : begin + width] = np.eye(width, self.dimension)
        self.linear.kernel.assign(kernel)
        last = self.deep.layers[-1].dense.kernel
        last.assign(last.numpy() * others)

    def call(self, inputs: Any) -> Any:
        """Return ``[B, dimension]``."""
        return self.deep(inputs) + self.linear(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return ``[B, dimension]``."""
        return tf.TensorShape([input_shape[0], self.dimension])


@tf.keras.utils.register_keras_serializable(package="cartwheel")
class UnitLength(tf.keras.layers.Layer):  # type: ignore[misc]
    """Scales each row to length 1."""

    def call(self, inputs: Any) -> Any:
        """Return ``inputs / |inputs|``; a zero row stays zero."""
        return inputs * tf.math.rsqrt(tf.reduce_sum(tf.square(inputs), axis=-1, keepdims=True) + 1e-12)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the input's shape."""
        return input_shape


class FrequencySampler(mm.InBatchSamplerV2):  # type: ignore[misc]
    """The batch's other items, and items drawn uniformly where there are any, as negatives, each with how often it turns up.

    ``mm.ContrastiveOutput`` subtracts the logarithm of that from the logits (the log-Q correction, Yi et al., RecSys 2019,
    https://doi.org/10.1145/3298689.3346996), so that popular items are not punished for turning up often. Of B items of the batch and U of
    the n items that can be drawn, item i turns up with probability (B p_i + U / n) / (B + U) (mixed negative sampling, Yang et al., WWW
    2020 companion, https://doi.org/10.1145/3366424.3386195).

    Args:
        probabilities: ``[number of item ids]`` float32, an item's share of the training targets, p_i.
    """

    def __init__(self, probabilities: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.probabilities = tf.constant(probabilities, dtype=tf.float32)
        self.drawable = tf.cast((self.probabilities > 0) & (tf.range(tf.size(self.probabilities)) >= FIRST_ID), tf.float32)

    def call(self, items: Any, features: Any = None, targets: Any = None, training: bool = False, testing: bool = False) -> Any:
        """Return the batch's items, and then those of the features ``UNIFORM_IDS`` ``[U, 1]`` and ``UNIFORM_VECTORS`` ``[U, D]``."""
        items = super().call(items, features, targets, training, testing)
        if UNIFORM_IDS not in items.metadata:
            return items
        vectors = tf.concat([items.embedding, items.metadata[UNIFORM_VECTORS]], axis=0)
        ids = tf.concat([items.id, items.metadata[UNIFORM_IDS]], axis=0)
        return items._replace(id=ids, metadata=dict(items.metadata)).with_embedding(vectors)

    def with_sampling_probs(self, items: Any) -> Any:
        """Return the candidates with their probabilities ``[number of candidates, 1]`` set."""
        shares = self.probabilities
        if UNIFORM_IDS in items.metadata:
            batch, uniform = (tf.cast(tf.shape(items.metadata[name])[0], tf.float32) for name in ("item_id", UNIFORM_IDS))
            each = uniform * self.drawable / tf.maximum(tf.reduce_sum(self.drawable), 1.0)
            shares = (batch * shares + each) / (batch + uniform)
        return items.with_sampling_prob(tf.gather(shares, items.id))


@tf.keras.utils.register_keras_serializable(package="cartwheel")
class LinearShortcut(tf.keras.Model):  # type: ignore[misc]
    """Adds a linear model of the continuous columns to the logit of a deep model (Cheng et al., 2016, "Wide & Deep Learning").

    Args:
        deep: maps columns to logits ``[B, 1]``.
        continuous: columns ``[B, 1]`` float32 that the linear model reads.
    """

    def __init__(self, deep: Any, continuous: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deep = deep
        self.continuous = tuple(continuous)
        self.linear = tf.keras.layers.Dense(1, kernel_initializer="zeros", name="linear")

    def call(self, columns: Mapping[str, Any], training: bool = False) -> Any:
        """Return the sum of both logits, ``[B, 1]``."""
        wide = self.linear(tf.concat([columns[name] for name in self.continuous], axis=1))
        return self.deep(columns, training=training) + wide
