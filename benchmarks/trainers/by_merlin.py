"""Both trainings as Merlin Models' own documentation has them: its model, its loader, ``compile`` and ``fit``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.encoding.child import Stages
from benchmarks.trainers.data import RANKING, read_pairs, read_rows
from benchmarks.trainers.laps import Laps
from models.families.dlrm.model import CATEGORICAL, CONTINUOUS, LABEL
from models.families.dlrm.settings import DLRMSettings
from models.families.two_tower.settings import TwoTowerSettings
from models.training.merlin_schema import model_schema
from models.training.tables import Table
from workflows.features.columns import (
    ITEM,
    ITEM_CATEGORICAL,
    ITEM_CONTINUOUS,
    QUERY,
    QUERY_CATEGORICAL,
    QUERY_CONTINUOUS,
    QUERY_LISTS,
)


def dlrm(features: str, rows: int, epochs: int, seed: int, choice: Mapping[str, Any]) -> Stages:
    """Train ``mm.DLRMModel`` of the dimensions that Cartwheel's has; ``choice`` as for ``_compiled``."""
    from cartwheel.merlin_compat import mm, tf

    data, settings = read_rows(Path(features), rows), DLRMSettings()
    columns = (*CATEGORICAL, *CONTINUOUS[RANKING])
    schema = model_schema(CATEGORICAL, CONTINUOUS[RANKING], data.sizes, LABEL)
    dataset, rated = _dataset(data.train, schema), data.valid.batch(slice(None), columns)

    def work() -> dict[str, Any]:
        laps = Laps()
        tf.keras.utils.set_random_seed(seed)
        model = mm.DLRMModel(
            schema,
            embedding_dim=settings.embedding_dimension,
            bottom_block=mm.MLPBlock([*settings.bottom, settings.embedding_dimension]),
            top_block=mm.MLPBlock(list(settings.top)),
            prediction_tasks=mm.BinaryOutput(LABEL),
        )
        score = tf.function(lambda batch: model(batch, training=False))
        return _fitted(model, dataset, epochs, len(data.train), choice, laps, lambda: data.auc(score(rated).numpy()[:, 0]))

    return [("train", work)]


def two_tower(features: str, rows: int, epochs: int, seed: int, choice: Mapping[str, Any]) -> Stages:
    """Train ``mm.TwoTowerModelV2`` of the dimensions that Cartwheel's has, lists as their mean; ``choice`` as for ``_compiled``."""
    from cartwheel.merlin_compat import mm, tf

    data, settings = read_pairs(Path(features), rows), TwoTowerSettings()
    query_schema = _ragged(model_schema((*QUERY_CATEGORICAL, *QUERY_LISTS), QUERY_CONTINUOUS, data.sizes))
    item_schema = model_schema(ITEM_CATEGORICAL, ITEM_CONTINUOUS, data.sizes)
    dataset = _dataset(data.train, query_schema + item_schema)
    asked, offered = _batch(data.valid, QUERY), _batch(data.catalogue, ITEM)

    def work() -> dict[str, Any]:
        laps = Laps()
        tf.keras.utils.set_random_seed(seed)
        query, item = _tower(query_schema, "query", settings), _tower(item_schema, "candidate", settings)
        model = mm.TwoTowerModelV2(query, item, logits_temperature=choice.get("temperature", settings.temperature))

        def judge() -> float:
            return data.recall(query(asked, training=False).numpy(), item(offered, training=False).numpy())

        return _fitted(model, dataset, epochs, len(data.train), choice, laps, judge)

    return [("train", work)]


def _fitted(
    model: Any, dataset: Any, epochs: int, rows: int, choice: Mapping[str, Any], laps: Laps, judge: Any
) -> dict[str, Any]:
    """Compile with an optimiser and a batch size, and fit: ``choice`` holds ``optimizer``, ``learning_rate``, ``batch_size``."""
    from cartwheel.merlin_compat import mm, tf

    made = {"lazy_adam": mm.LazyAdam, "adam": tf.keras.optimizers.legacy.Adam, "adagrad": tf.keras.optimizers.legacy.Adagrad}
    # No metric: Keras would compute it for every batch.
    model.compile(optimizer=made[choice["optimizer"]](choice["learning_rate"]), metrics=[])
    loader = mm.Loader(dataset, batch_size=choice["batch_size"], shuffle=True)

    class Judge(tf.keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            del epoch, logs
            laps.epoch(judge)

    laps.built()
    model.fit(loader, epochs=epochs, verbose=0, callbacks=[Judge()])
    return laps.content(rows, sum(int(np.prod(variable.shape)) for variable in model.trainable_variables))


def _tower(schema: Any, name: str, settings: TwoTowerSettings) -> Any:
    from merlin.schema import Tags

    from cartwheel.merlin_compat import mm

    categorical = schema.select_by_tag(Tags.CATEGORICAL)
    ids = ("user_id", "item_id", "recent_items")
    whole, part = settings.embedding_dimension, settings.embedding_dimension // 4
    dimensions = {column: whole if column in ids else part for column in categorical.column_names}
    embeddings = mm.Embeddings(categorical, dim=dimensions, sequence_combiner="mean")
    layers = mm.MLPBlock([*settings.hidden, settings.dimension], no_activation_last_layer=True)
    return mm.Encoder(mm.InputBlockV2(schema, categorical=embeddings), layers, post=mm.L2Norm(), name=name)


def _ragged(schema: Any) -> Any:
    from merlin.schema import Schema

    return Schema([c.with_dtype(c.dtype, is_list=True, is_ragged=True) if c.name in QUERY_LISTS else c for c in schema])


def _dataset(table: Table, schema: Any) -> Any:
    """Return a dataset in memory, which the loader reads faster than files."""
    import pandas as pd
    from merlin.io import Dataset

    columns: dict[str, Any] = dict(table.columns)
    for name in QUERY_LISTS:
        if name in columns:
            columns[name] = [list(row[row != 0]) for row in columns[name]]
    return Dataset(pd.DataFrame(columns), schema=schema)


def _batch(table: Table, names: Sequence[str]) -> dict[str, Any]:
    from cartwheel.merlin_compat import tf

    columns = table.batch(slice(None), names)
    return {n: tf.RaggedTensor.from_tensor(v, padding=0) if n in QUERY_LISTS else v for n, v in columns.items()}
