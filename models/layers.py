"""Keras layers that Merlin lacks: tower inputs whose padded lists export to ONNX, and negatives that know their frequency.

Imported only where a model is built, because it needs TensorFlow and Merlin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from models.data import PADDING_ID
from models.keras_compat import mm, tf

MAX_AGE: Final = 256
"""Positions, counted back from the most recent item, that have a weight of their own; older ones share the last."""


@tf.keras.utils.register_keras_serializable(package="cartwheel")
class RecencyPooling(tf.keras.layers.Layer):  # type: ignore[misc]
    """Sums up a padded list of embeddings as a learned recency-weighted mean and the most recent one.

    The weight of a position depends on its age only (0 = most recent), so a query with another list length, or other padding,
    gets the same vector. Padding has no weight; an empty list gives zeros.
    """

    def build(self, input_shape: Any) -> None:
        """Create the weights of the ages; all equal at first."""
        self.age_logits = self.add_weight(name="age_logits", shape=(MAX_AGE,), initializer="zeros")
        super().build(input_shape)

    def call(self, ids: Any) -> Any:
        """Return weights ``[B, 2, L]`` (mean, last) for ids ``[B, L]``: values first, most recent last, then 0."""
        valid = tf.not_equal(ids, PADDING_ID)
        age = tf.reduce_sum(tf.cast(valid, tf.int32), axis=1, keepdims=True) - 1 - tf.range(tf.shape(ids)[1])[None, :]
        logits = tf.gather(self.age_logits, tf.clip_by_value(age, 0, MAX_AGE - 1))
        present = tf.cast(valid, tf.float32)
        mean = tf.nn.softmax(tf.where(valid, logits, -1e9), axis=1) * present
        last = tf.cast(tf.equal(age, 0), tf.float32) * present
        return tf.stack([mean, last], axis=1)


@tf.keras.utils.register_keras_serializable(package="cartwheel")
class TowerInputs(tf.keras.layers.Layer):  # type: ignore[misc]
    """Joins a tower's encoded features into one row: embeddings, pooled lists, continuous values.

    Args:
        schema: Merlin schema of the columns; Merlin's encoders ask for it.
        tables: categorical or list column -> its ``mm.EmbeddingTable``; columns of one vocabulary may share one.
        lists: which of them are lists.
        continuous: continuous columns.
        l2: weight of the squared embeddings in the loss, a mean over the batch.
    """

    def __init__(
        self,
        schema: Any,
        tables: Mapping[str, Any],
        lists: Sequence[str],
        continuous: Sequence[str],
        l2: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.schema = schema
        self.tables = dict(tables)
        self.lists = tuple(lists)
        self.continuous = tuple(continuous)
        self.l2 = l2
        self.pooling = RecencyPooling() if lists else None

    def call(self, inputs: Mapping[str, Any]) -> Any:
        """Return ``[B, width]`` float32 for ``[B, 1]`` scalars and ``[B, L]`` lists."""
        weights = self.pooling(inputs[self.lists[0]]) if self.pooling is not None else None
        parts = []
        for name, table in self.tables.items():
            if name in self.lists:
                embedded = table.table(inputs[name])
                parts.append(tf.reshape(tf.matmul(weights, embedded), [-1, 2 * table.dim]))
            else:
                embedded = table(inputs[name])
                parts.append(embedded)
            if self.l2:
                self.add_loss(self.l2 * tf.reduce_sum(tf.square(embedded)) / tf.cast(tf.shape(embedded)[0], tf.float32))
        parts.extend(tf.cast(inputs[name], tf.float32) for name in self.continuous)
        return tf.concat(parts, axis=-1)

    def compute_output_shape(self, input_shape: Mapping[str, Any]) -> Any:
        """Return ``[B, width]``."""
        width = sum(table.dim * (2 if name in self.lists else 1) for name, table in self.tables.items()) + len(self.continuous)
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
    """The batch's other items as negatives, with the probability at which each one turns up among them.

    ``mm.ContrastiveOutput`` subtracts the logarithm of it from the logits (the log-Q correction, Yi et al., RecSys 2019,
    https://doi.org/10.1145/3298689.3346996), so that popular items are not punished for turning up often.

    Args:
        probabilities: ``[number of item ids]`` float32, an item's share of the training targets.
    """

    def __init__(self, probabilities: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.probabilities = tf.constant(probabilities, dtype=tf.float32)

    def with_sampling_probs(self, items: Any) -> Any:
        """Return the candidates with their probabilities ``[B, 1]`` set."""
        return items.with_sampling_prob(tf.gather(self.probabilities, items.id))


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
