"""The network of SASRec as Keras layers. Imported only where one is built, because it needs TensorFlow."""

from __future__ import annotations

from typing import Any, Final

from cartwheel.merlin_compat import tf

_HIDDEN: Final = 4
"""How many times wider the middle of the feed-forward part is."""
_FAR: Final = -1e9
"""Added to the attention of what must not be looked at."""


@tf.keras.utils.register_keras_serializable(package="cartwheel")
class CausalBlock(tf.keras.layers.Layer):  # type: ignore[misc]
    """Multi-head self-attention that looks back only, then a feed-forward part, each with a residual and layer normalisation.

    Vaswani et al., NeurIPS 2017 (https://arxiv.org/abs/1706.03762), with GELU.

    Args:
        width: of the vectors.
        heads: attention heads; must divide ``width``.
        initial: standard deviation of the first weights.
        seed: fixes them.
    """

    def __init__(self, width: int, heads: int, initial: float, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.heads, self.initial, self.seed = width, heads, initial, seed
        self.joint = self._dense(3 * width, 0)  # queries, keys and values in one product
        self.out = self._dense(width, 1)
        self.wide = self._dense(_HIDDEN * width, 2)
        self.narrow = self._dense(width, 3)
        self.norms = [tf.keras.layers.LayerNormalization(epsilon=1e-12, dtype=self.dtype) for _ in range(2)]

    def _dense(self, units: int, number: int) -> Any:
        first = tf.keras.initializers.RandomNormal(stddev=self.initial, seed=self.seed + number)
        return tf.keras.layers.Dense(units, kernel_initializer=first, dtype=self.dtype)

    def call(self, inputs: Any, bias: Any, seed: Any = None, rate: float = 0.0) -> Any:
        """Return ``[B, L, width]``.

        Args:
            inputs: ``[B, L, width]``.
            bias: ``[B, 1, L, L]``, what to add to the attention of each slot to each.
            seed: int32 ``[2]``, fixes the dropout; None for none.
            rate: share of the values that are dropped.
        """
        shape = tf.shape(inputs)
        split = tf.reshape(self.joint(inputs), [shape[0], shape[1], 3, self.heads, self.width // self.heads])
        query, key, value = tf.unstack(tf.transpose(split, [2, 0, 3, 1, 4]), num=3)
        logits = tf.matmul(query, key, transpose_b=True) / (self.width // self.heads) ** 0.5 + bias
        attended = tf.matmul(dropped(tf.nn.softmax(logits), rate, seed, 0), value)
        attended = tf.reshape(tf.transpose(attended, [0, 2, 1, 3]), shape)
        inputs = self.norms[0](inputs + dropped(self.out(attended), rate, seed, 1))
        hidden = self.narrow(tf.nn.gelu(self.wide(inputs)))
        return self.norms[1](inputs + dropped(hidden, rate, seed, 2))

    def get_config(self) -> dict[str, Any]:
        """Return what ``__init__`` takes."""
        own = {"width": self.width, "heads": self.heads, "initial": self.initial, "seed": self.seed}
        result: dict[str, Any] = super().get_config() | own
        return result


class Network(tf.keras.Model):  # type: ignore[misc]
    """Embeds items with their places from the end, and runs blocks over them.

    Args:
        items: how many; item code c is id c + 1, and id 0 is padding.
        width: of the vectors.
        layers: how many blocks.
        heads: of each.
        max_length: places that have an embedding of their own.
        initial: standard deviation of the first weights.
        seed: fixes them.
    """

    def __init__(
        self,
        items: int,
        width: int,
        layers: int,
        heads: int,
        max_length: int,
        initial: float = 0.02,
        seed: int = 0,
        dtype: str = "float32",
    ) -> None:
        super().__init__(dtype=dtype)
        table, place = (tf.keras.initializers.RandomNormal(stddev=initial, seed=seed + number) for number in range(2))
        self.item_table = self.add_weight(name="items", shape=(items + 1, width), initializer=table, dtype=dtype)
        self.place_table = self.add_weight(name="places", shape=(max_length, width), initializer=place, dtype=dtype)
        self.norm = tf.keras.layers.LayerNormalization(epsilon=1e-12, dtype=dtype)
        self.blocks = [CausalBlock(width, heads, initial, seed + 10 * (number + 1), dtype=dtype) for number in range(layers)]

    def call(self, ids: Any, seed: Any = None, rate: float = 0.0) -> Any:
        """Return what is expected after each slot, ``[B, L, width]``.

        Args:
            ids: int32 ``[B, L]``, L at most ``max_length``: 0 first, the newest item last.
            seed: int32 ``[2]``, fixes the dropout; None for none.
            rate: share of the values that are dropped.
        """
        length = tf.shape(ids)[1]
        back = tf.linalg.band_part(tf.ones([length, length], tf.bool), -1, 0)
        seen = tf.not_equal(ids, 0)[:, None, None, :] & back[None, None]
        bias = tf.where(seen, tf.cast(0.0, self.dtype), tf.cast(_FAR, self.dtype))
        vectors = tf.gather(self.item_table, ids) + tf.reverse(self.place_table, [0])[None, -length:]
        vectors = dropped(self.norm(vectors), rate, seed, 0)
        for number, block in enumerate(self.blocks):
            vectors = block(vectors, bias, None if seed is None else seed + 10 * (number + 1), rate)
        return vectors


def dropped(values: Any, rate: float, seed: Any, number: int) -> Any:
    """Return ``values`` with a share ``rate`` of them 0 and the others scaled up; as they are where ``seed`` is None."""
    if seed is None or not rate:
        return values
    return tf.nn.experimental.stateless_dropout(values, rate, seed + number, rng_alg="philox")


def pair_loss(network: Network, parts: Any, seed: Any, rate: float) -> Any:
    """Return the mean over targets of -log sigmoid(s(target)) - log(1 - sigmoid(s(negative))).

    Args:
        network: gives the vectors.
        parts: triples of int32 ``[b, l]``: ids, the next item of each slot and an item to tell it from, 0 where there is none. The
            sequences of one batch are split by length into parts, so that little padding is computed.
        seed: int32 ``[2]``.
        rate: of the dropout.
    """
    total, count = 0.0, 0.0
    for number, (ids, target, negative) in enumerate(parts):
        vectors = network(ids, seed=seed + 1000 * (number + 1), rate=rate)
        places = tf.where(target > 0)
        vectors, right, wrong = (tf.gather_nd(each, places) for each in (vectors, target, negative))
        above = tf.reduce_sum(vectors * tf.gather(network.item_table, right), axis=-1)
        below = tf.reduce_sum(vectors * tf.gather(network.item_table, wrong), axis=-1)
        total += tf.reduce_sum(tf.nn.softplus(-above) + tf.nn.softplus(below))
        count += tf.cast(tf.shape(places)[0], tf.float32)
    return total / tf.maximum(count, 1.0)
