"""Both trainings as somebody who knows TensorFlow writes them by hand: packed arrays, one compiled step, Keras' own Adam."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.encoding.child import Stages
from benchmarks.trainers.data import RANKING, read_pairs, read_rows
from benchmarks.trainers.laps import Laps
from models.families.dlrm.model import CATEGORICAL, CONTINUOUS, LABEL
from models.families.dlrm.settings import DLRMSettings
from models.families.two_tower.settings import TwoTowerSettings
from models.training.tables import Array, Table
from workflows.features.columns import ITEM_CATEGORICAL, ITEM_CONTINUOUS, QUERY_CATEGORICAL, QUERY_CONTINUOUS, QUERY_LISTS

_SPREAD = 0.05
Inputs = tuple[Array, ...]


def dlrm(features: str, rows: int, epochs: int, seed: int, choice: Mapping[str, Any]) -> Stages:
    """Train a DLRM of the dimensions that Cartwheel's has; ``choice`` as for ``_fitted``."""
    from cartwheel.merlin_compat import tf

    data, settings = read_rows(Path(features), rows), DLRMSettings()
    names = CONTINUOUS[RANKING]

    def packed(table: Table) -> Inputs:
        return _ids(table, CATEGORICAL), _floats(table, names), np.asarray(table[LABEL], np.float32)

    train, valid = packed(data.train), packed(data.valid)

    def work() -> dict[str, Any]:
        laps = Laps()
        tf.keras.utils.set_random_seed(seed)
        tables = [_table(data.sizes[name], settings.embedding_dimension) for name in CATEGORICAL]
        bottom = _layers(len(names), (*settings.bottom, settings.embedding_dimension), last="relu")
        pairs = np.flatnonzero(np.tril(np.ones([len(tables) + 1] * 2), -1))
        top = _layers(settings.embedding_dimension + len(pairs), (*settings.top, 1))

        def logits(ids: Any, floats: Any) -> Any:
            below = bottom(floats)
            vectors = tf.stack([below, *(tf.gather(table, ids[:, place]) for place, table in enumerate(tables))], axis=1)
            products = tf.reshape(tf.matmul(vectors, vectors, transpose_b=True), [-1, vectors.shape[1] ** 2])
            return top(tf.concat([below, tf.gather(products, pairs, axis=1)], axis=1))[:, 0]

        def loss(ids: Any, floats: Any, labels: Any) -> Any:
            return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits(ids, floats)))

        score = tf.function(logits)
        variables = [*tables, *bottom.trainable_variables, *top.trainable_variables]
        return _fitted(loss, variables, train, epochs, seed, choice, laps, lambda: data.auc(score(*valid[:2]).numpy()))

    return [("train", work)]


def two_tower(features: str, rows: int, epochs: int, seed: int, choice: Mapping[str, Any]) -> Stages:
    """Train a two-tower of the dimensions that Cartwheel's has, lists as their mean and their last; ``choice`` as for ``_fitted``."""
    from cartwheel.merlin_compat import tf

    data, settings = read_pairs(Path(features), rows), TwoTowerSettings()
    whole, part = settings.embedding_dimension, settings.embedding_dimension // 4

    def query_inputs(table: Table) -> Inputs:
        return (_ids(table, QUERY_CATEGORICAL), _floats(table, QUERY_CONTINUOUS), *(table[name] for name in QUERY_LISTS))

    def item_inputs(table: Table) -> Inputs:
        return _ids(table, ITEM_CATEGORICAL), _floats(table, ITEM_CONTINUOUS)

    train = (*query_inputs(data.train), *item_inputs(data.train))
    asked, offered = query_inputs(data.valid), item_inputs(data.catalogue)

    def work() -> dict[str, Any]:
        laps = Laps()
        tf.keras.utils.set_random_seed(seed)
        users, hours, days = (_table(data.sizes[n], d) for n, d in zip(QUERY_CATEGORICAL, (whole, part, part), strict=True))
        of_items = [_table(data.sizes[n], d) for n, d in zip(ITEM_CATEGORICAL, (whole, part, part), strict=True)]
        sums = 2 * (whole + 2 * part)
        query_layers = _layers(whole + 2 * part + sums + len(QUERY_CONTINUOUS), (*settings.hidden, settings.dimension))
        item_layers = _layers(whole + 2 * part + len(ITEM_CONTINUOUS), (*settings.hidden, settings.dimension))

        def query(ids: Any, floats: Any, *lists: Any) -> Any:
            held = tf.cast(tf.not_equal(lists[0], 0), tf.float32)
            count = tf.reduce_sum(held, axis=1, keepdims=True)
            last = held * tf.cast(tf.equal(tf.cumsum(held, axis=1), count), tf.float32)
            weights = tf.stack([held / tf.maximum(count, 1.0), last], axis=1)
            parts = [tf.gather(table, ids[:, place]) for place, table in enumerate((users, hours, days))]
            for table, values in zip(of_items, lists, strict=True):
                parts.append(tf.reshape(tf.matmul(weights, tf.gather(table, values)), [-1, 2 * table.shape[1]]))
            return tf.math.l2_normalize(query_layers(tf.concat([*parts, floats], axis=1)), axis=1)

        def item(ids: Any, floats: Any) -> Any:
            parts = [tf.gather(table, ids[:, place]) for place, table in enumerate(of_items)]
            return tf.math.l2_normalize(item_layers(tf.concat([*parts, floats], axis=1)), axis=1)

        shares = tf.constant(np.bincount(data.train["item_id"], minlength=data.sizes["item_id"]) / len(data.train), tf.float32)

        def loss(*columns: Any) -> Any:
            targets = columns[-2][:, 0]
            logits = tf.matmul(query(*columns[:-2]), item(*columns[-2:]), transpose_b=True) / settings.temperature
            logits -= tf.math.log(tf.gather(shares, targets))[None, :]
            own = tf.eye(tf.shape(targets)[0], dtype=tf.bool)
            logits = tf.where(tf.equal(targets[:, None], targets[None, :]) & ~own, -1e9, logits)
            places = tf.range(tf.shape(targets)[0])
            return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=places, logits=logits))

        ask, offer = tf.function(query), tf.function(item)
        variables = [users, hours, days, *of_items, *query_layers.trainable_variables, *item_layers.trainable_variables]
        judge = lambda: data.recall(ask(*asked).numpy(), offer(*offered).numpy())  # noqa: E731
        return _fitted(loss, variables, train, epochs, seed, choice, laps, judge)

    return [("train", work)]


def _fitted(
    loss: Callable[..., Any],
    variables: Sequence[Any],
    inputs: Inputs,
    epochs: int,
    seed: int,
    choice: Mapping[str, Any],
    laps: Laps,
    judge: Callable[[], float],
) -> dict[str, Any]:
    """Run the plain loop; ``choice`` holds ``optimizer``, ``learning_rate`` and ``batch_size``."""
    from cartwheel.merlin_compat import mm, tf

    made = {"adam": tf.keras.optimizers.legacy.Adam, "lazy_adam": mm.LazyAdam}
    optimizer = made[choice["optimizer"]](choice["learning_rate"])

    @tf.function  # type: ignore[untyped-decorator]
    def step(*columns: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(*columns)
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables, strict=True))
        return value

    generator, rows, batch = np.random.default_rng(seed), len(inputs[0]), min(choice["batch_size"], len(inputs[0]))
    laps.built()
    for _ in range(epochs):
        order = generator.permutation(rows)
        for start in range(0, rows - batch + 1, batch):
            chosen = order[start : start + batch]
            step(*(column[chosen] for column in inputs))
        laps.epoch(judge)
    return laps.content(rows // batch * batch, sum(int(np.prod(variable.shape)) for variable in variables))


def _table(size: int, dimension: int) -> Any:
    from cartwheel.merlin_compat import tf

    return tf.Variable(tf.random.normal([size, dimension], stddev=_SPREAD))


def _layers(inputs: int, widths: Sequence[int], last: str | None = None) -> Any:
    from cartwheel.merlin_compat import tf

    dense = [tf.keras.layers.Dense(width, "relu") for width in widths[:-1]]
    model = tf.keras.Sequential([*dense, tf.keras.layers.Dense(widths[-1], last)])
    model.build([None, inputs])
    return model


def _ids(table: Table, names: Sequence[str]) -> Array:
    return np.stack([table[name] for name in names], axis=1).astype(np.int32)


def _floats(table: Table, names: Sequence[str]) -> Array:
    return np.stack([table[name] for name in names], axis=1).astype(np.float32)
