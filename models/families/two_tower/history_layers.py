"""Keras layers that sum up the items a shopper has seen: as a bag with an age, by self-attention, or by a recurrent network.

Each takes padded lists, values first, most recent last, then 0, and gives the same vector for any padding: a position is known by its
age (0 = most recent), never by its index. Imported only where a model is built, because it needs TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from cartwheel.merlin_compat import tf
from models.families.two_tower.settings import HistoryKind
from models.training.tables import PADDING_ID

MAX_AGE: Final = 256
"""Positions, counted back from the most recent item, that have a weight of their own; older ones share the last."""
_FAR: Final = -1e9
"""Stands in a softmax for what must not be looked at: its exponential is exactly 0."""
_INITIAL_SPREAD: Final = 0.05
_WIDER: Final = 2
"""How many times wider the middle of the feed-forward part is."""
_EPSILON: Final = 1e-6  # below 1e-5 Keras normalises with plain operations, which have an ONNX form in inference


class Places(NamedTuple):
    """The positions of padded lists.

    Attributes:
        valid: bool ``[B, L]``, whether it holds a value.
        age: int32 ``[B, L]``, 0 at the most recent value; negative in the padding.
        last: float32 ``[B, L]``, 1 at the most recent value, 0 elsewhere; an empty list has none.
    """

    valid: Any
    age: Any
    last: Any


def places(ids: Any) -> Places:
    """Return the positions of ids ``[B, L]``: values first, most recent last, then 0."""
    valid = tf.not_equal(ids, PADDING_ID)
    held = tf.reduce_sum(tf.cast(valid, tf.int32), axis=1, keepdims=True)
    age = held - 1 - tf.range(tf.shape(ids)[1])[None, :]
    return Places(valid, age, tf.cast(tf.equal(age, 0) & valid, tf.float32))


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
        place = places(ids)
        logits = tf.gather(self.age_logits, tf.clip_by_value(place.age, 0, MAX_AGE - 1))
        mean = tf.nn.softmax(tf.where(place.valid, logits, _FAR), axis=1) * tf.cast(place.valid, tf.float32)
        return tf.stack([mean, place.last], axis=1)


class StepDropout(tf.keras.layers.Layer):  # type: ignore[misc]
    """Drops a share of the values in training, by a seed that each step sets, so that an epoch can be repeated.

    Args:
        rate: share of the values that become 0; the others are scaled up.
        seed: int32 ``[2]`` variable, shared by the layers of a model.
        number: tells this layer's draws from those of the others.
    """

    def __init__(self, rate: float, seed: Any, number: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.seed, self.number = rate, seed, number

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return ``inputs``, with values dropped in training."""
        if not training or not self.rate:
            return inputs
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, self.seed + self.number, rng_alg="philox")


class SequenceState(tf.keras.layers.Layer):  # type: ignore[misc]
    """What a sequence model knows after the most recent item, ``[B, width]``; zeros where there is none.

    An item comes in as its id's embedding plus a linear map of the embeddings of its other columns (category, brand).

    Args:
        width: of the id embeddings, and of the state.
        drop: drops values of what comes in.
    """

    def __init__(self, width: int, drop: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.drop = drop
        self.sides = tf.keras.layers.Dense(width, use_bias=False, name="sides")

    def call(self, ids: Any, embedded: Sequence[Any]) -> Any:
        """Return ``[B, width]``.

        Args:
            ids: ``[B, L]`` item ids: values first, most recent last, then 0.
            embedded: ``[B, L, d]`` each: of the ids, d = ``width``, then of their other columns.
        """
        items = self.drop(embedded[0] + self.sides(tf.concat(embedded[1:], axis=-1)))
        return self.state(items, places(ids))

    def state(self, items: Any, place: Places) -> Any:
        """Return the state at the last of ``items``, ``[B, L, width]``; float32 ``[B, width]``."""
        raise NotImplementedError


@tf.keras.utils.register_keras_serializable(package="cartwheel")
class AttentionState(SequenceState):
    """Self-attention with a learned position for each age (SASRec, Kang and McAuley, 2018, https://arxiv.org/abs/1808.09781).

    Every item looks at all others, and not only back, since only the newest one's state is asked for; so the last block computes
    that one alone.

    Args:
        width: of the embeddings and the state.
        heads: attention heads; must divide ``width``.
        blocks: how many.
        drop: makes a dropout layer from its number.
    """

    def __init__(self, width: int, heads: int, blocks: int, drop: Any, **kwargs: Any) -> None:
        super().__init__(width, drop(0), **kwargs)
        self.blocks = [AttentionBlock(width, heads, drop(number + 1)) for number in range(blocks)]
        small = tf.keras.initializers.Constant(_INITIAL_SPREAD)  # as wide as the embeddings beside it
        self.norm = tf.keras.layers.LayerNormalization(epsilon=_EPSILON, gamma_initializer=small)

    def build(self, input_shape: Any) -> None:
        """Create the embeddings of the ages."""
        start = tf.keras.initializers.RandomNormal(stddev=_INITIAL_SPREAD)
        self.age_table = self.add_weight(name="ages", shape=(MAX_AGE, self.width), initializer=start)
        super().build(input_shape)

    def state(self, items: Any, place: Places) -> Any:
        """Return the state at the last of ``items``, ``[B, L, width]``; float32 ``[B, width]``."""
        items = items + tf.gather(self.age_table, tf.clip_by_value(place.age, 0, MAX_AGE - 1))
        for block in self.blocks[:-1]:
            items = block(items, items, place.valid)
        last = self.blocks[-1](tf.matmul(place.last[:, None, :], items), items, place.valid)
        return self.norm(tf.squeeze(last, axis=1)) * tf.reduce_sum(place.last, axis=1, keepdims=True)


@tf.keras.utils.register_keras_serializable(package="cartwheel")
class AttentionBlock(tf.keras.layers.Layer):  # type: ignore[misc]
    """Multi-head attention, then a feed-forward part, each normalised before and added to what came in.

    Vaswani et al., 2017, https://arxiv.org/abs/1706.03762.

    Args:
        width: of the vectors.
        heads: attention heads; must divide ``width``.
        drop: drops values of what is added.
    """

    def __init__(self, width: int, heads: int, drop: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.heads, self.drop = width, heads, drop
        self.query, self.key, self.value, self.out = (
            tf.keras.layers.Dense(width, name=n) for n in ("query", "key", "value", "out")
        )
        self.wide = tf.keras.layers.Dense(_WIDER * width, activation="relu", name="wide")
        self.narrow = tf.keras.layers.Dense(width, name="narrow")
        self.norms = [tf.keras.layers.LayerNormalization(epsilon=_EPSILON) for _ in range(2)]

    def call(self, states: Any, items: Any, valid: Any) -> Any:
        """Return ``[B, Q, width]``.

        Args:
            states: ``[B, Q, width]``, what looks.
            items: ``[B, L, width]``, what is looked at.
            valid: bool ``[B, L]``, what may be looked at.
        """
        seen = self.norms[0](items)
        query, key, value = (
            self._split(self.query(self.norms[0](states))),
            self._split(self.key(seen)),
            self._split(self.value(seen)),
        )
        logits = tf.matmul(query, key, transpose_b=True) / (self.width // self.heads) ** 0.5
        weights = tf.nn.softmax(tf.where(valid[:, None, None, :], logits, _FAR))
        attended = tf.reshape(tf.transpose(tf.matmul(weights, value), [0, 2, 1, 3]), [-1, _length(states), self.width])
        states = states + self.drop(self.out(attended))
        return states + self.drop(self.narrow(self.wide(self.norms[1](states))))

    def _split(self, vectors: Any) -> Any:
        """Return ``[B, heads, L, width / heads]``."""
        parts = tf.reshape(vectors, [-1, _length(vectors), self.heads, self.width // self.heads])
        return tf.transpose(parts, [0, 2, 1, 3])


def _length(vectors: Any) -> Any:
    """Return L of ``[B, L, width]``, as a number where it is known: the exporter to ONNX loses an axis of 1 that is asked of a tensor."""
    return vectors.shape[1] or tf.shape(vectors)[1]


@tf.keras.utils.register_keras_serializable(package="cartwheel")
class GRUState(SequenceState):
    """A gated recurrent unit over the items (GRU4Rec, Hidasi et al., 2016, https://arxiv.org/abs/1511.06939).

    The padding comes after the values, so it cannot touch the state that is read, and no mask is needed.

    Args:
        width: of the embeddings and the state.
        drop: makes a dropout layer from its number.
    """

    def __init__(self, width: int, drop: Any, **kwargs: Any) -> None:
        super().__init__(width, drop(0), **kwargs)
        self.gru = tf.keras.layers.GRU(width, return_sequences=True)

    def state(self, items: Any, place: Places) -> Any:
        """Return the state at the last of ``items``, ``[B, L, width]``; float32 ``[B, width]``."""
        return tf.squeeze(tf.matmul(place.last[:, None, :], self.gru(items)), axis=1)


def sequence_state(history: HistoryKind, width: int, heads: int, blocks: int, drop: Any) -> Any:
    """Return the sequence model of a setting, or None where the lists are only pooled.

    Args:
        history: of ``TwoTowerSettings``.
        width: of the item ids' embeddings.
        heads: of each attention block.
        blocks: of attention.
        drop: makes a dropout layer from its number.
    """
    if history == "attention":
        return AttentionState(width, heads, blocks, drop, name="attention")
    return GRUState(width, drop, name="gru") if history == "gru" else None
