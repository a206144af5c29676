"""The DLRM ranking model: does this shopper want this item?

Naumov et al., "Deep learning recommendation model for personalization and recommendation systems", 2019,
https://arxiv.org/abs/1906.00091. Merlin's ``mm.DLRMModel``: an MLP over the continuous features, an embedding for each
categorical one, the dot products of all pairs, and an MLP on top. The output is the logit; probabilities are made later.

Beside it runs a linear model of the continuous features, which starts at the logistic regression of the training rows while
the deep part starts at nought: a few thousand carts teach a logistic regression more than a DLRM, and this one begins where
that one ends. Early stopping keeps what the deep part adds only as long as validation agrees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from cartwheel.core.errors import UsageError
from models.families.dlrm.graph import DLRMParts
from models.families.dlrm.settings import DLRMSettings
from models.metrics.classification import roc_auc
from models.training.loop import DROPPED, drop_ids, forget_strangers, in_turn, lazy_adam, load_weights
from models.training.tables import Array, Packed, Table
from workflows.features.column import CATEGORICAL as COLUMNS_OF_IDS
from workflows.features.column import Owner
from workflows.features.columns import CART, CROSS, ITEM_CATEGORICAL, ITEM_CONTINUOUS, QUERY_CATEGORICAL, QUERY_CONTINUOUS
from workflows.features.feature_set import BUILT_IN, FeatureSet

CATEGORICAL: Final = QUERY_CATEGORICAL + ITEM_CATEGORICAL
"""Columns of ids where a shop has no own ones."""


@dataclass(frozen=True)
class Task:
    """What a DLRM is for.

    Attributes:
        continuous: its continuous columns.
        probabilities_of_carts: whether its rows are lines of carts and its logits become their probabilities and those of whole carts,
            for which calibrations are fitted.
    """

    continuous: tuple[str, ...]
    probabilities_of_carts: bool = False


TASKS: Final[Mapping[str, Task]] = {
    "ranking": Task(QUERY_CONTINUOUS + ITEM_CONTINUOUS + CROSS),
    "cart": Task(QUERY_CONTINUOUS + ITEM_CONTINUOUS + CROSS + CART, probabilities_of_carts=True),
}
CONTINUOUS: Final = {name: task.continuous for name, task in TASKS.items()}
"""Continuous columns of each model where a shop has no own ones."""
LABEL: Final = "label"
_DROPPED: Final[tuple[str, ...]] = tuple(name for name in CATEGORICAL if name in DROPPED)
_SCORE_ROWS: Final = 16_384
_INITIAL_SPREAD: Final = 0.05
_REGRESSION_ROWS: Final = 200_000
_REGRESSION_STEPS: Final = 300


@dataclass(frozen=True)
class DLRM:
    """A built model.

    Attributes:
        name: ``ranking`` or ``cart``, which decides the columns.
        settings: what it was built from.
        sizes: ids of each categorical column.
        merlin: the Merlin model with its linear shortcut; it maps ``[B, 1]`` columns to the logit ``[B, 1]``.
        parts: its layers, of which a training step reads and changes the variables.
        features: the columns of the run that it was built for.
    """

    name: str
    settings: DLRMSettings
    sizes: dict[str, int]
    merlin: Any
    parts: DLRMParts
    features: FeatureSet = BUILT_IN

    @property
    def categorical(self) -> tuple[str, ...]:
        """Input columns of ids."""
        return dlrm_columns(self.name, self.features)[0]

    @property
    def continuous(self) -> tuple[str, ...]:
        """Input columns of numbers."""
        return dlrm_columns(self.name, self.features)[1]

    @property
    def columns(self) -> tuple[str, ...]:
        """Input columns: ids first."""
        return self.categorical + self.continuous

    @cached_property
    def variables(self) -> list[Any]:
        """Every weight once, in a fixed order."""
        return list({id(variable): variable for variable in self.merlin.trainable_variables}.values())

    @property
    def vocabularies(self) -> list[str]:
        """Of each variable, the column whose ids its rows are; "" of one that is no embedding."""
        columns = {id(table.table.embeddings): column for column, table in self.parts.embeddings.items()}
        return [columns.get(id(variable), "") for variable in self.variables]

    def start_at_logistic_regression(self, train: Table, seed: int) -> None:
        """Give the linear shortcut the weights of a logistic regression of the training rows, where both labels occur.

        Args:
            train: the continuous columns and the label.
            seed: chooses the rows where there are very many.
        """
        from sklearn.linear_model import LogisticRegression

        rows = np.sort(np.random.default_rng(seed).permutation(len(train))[:_REGRESSION_ROWS])
        labels = np.asarray(train[LABEL])[rows]
        if len(np.unique(labels)) < 2:
            return
        features = np.concatenate([np.asarray(train[name])[rows].reshape(-1, 1) for name in self.continuous], axis=1)
        fitted = LogisticRegression(max_iter=_REGRESSION_STEPS).fit(features.astype(np.float64), labels)
        self.merlin.linear.set_weights([fitted.coef_.T.astype(np.float32), fitted.intercept_.astype(np.float32)])

    def logits(self, table: Table) -> Array:
        """Return float32 ``[N]`` logits."""
        parts = [
            self._function(table.batch(slice(start, start + _SCORE_ROWS), self.columns)).numpy()
            for start in range(0, len(table), _SCORE_ROWS)
        ]
        return np.asarray(np.concatenate(parts)[:, 0], dtype=np.float32)

    @cached_property
    def _function(self) -> Any:
        from cartwheel.merlin_compat import tf

        return tf.function(lambda columns: self.merlin(columns, training=False), autograph=False, reduce_retracing=True)


def check_name(name: str) -> None:
    """Refuse a name that no DLRM has, with a UsageError."""
    if name not in CONTINUOUS:
        raise UsageError(f"There is no DLRM named {name!r}; there are {sorted(CONTINUOUS)}.", "Use one of these names.")


def dlrm_columns(name: str, features: FeatureSet) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns of ids and those of numbers that a model reads of a run with these features."""
    own = features.query_continuous[len(QUERY_CONTINUOUS) :] + features.item_continuous[len(ITEM_CONTINUOUS) :]
    return features.query_categorical + features.item_categorical, CONTINUOUS[name] + own


def build_dlrm(
    name: str, settings: DLRMSettings, sizes: Mapping[str, int], seed: int = 0, features: FeatureSet = BUILT_IN
) -> DLRM:
    """Build the model with fresh weights.

    Args:
        name: ``ranking`` or ``cart``.
        settings: its configuration.
        sizes: ids of each categorical column.
        seed: fixes the initial weights.
        features: the columns of the run.

    Raises:
        UsageError: if there is no DLRM of that name.
    """
    check_name(name)
    categorical, continuous = dlrm_columns(name, features)
    from cartwheel.merlin_compat import mm, tf
    from models.families.two_tower.layers import LinearShortcut
    from models.training.merlin_schema import model_schema

    tf.keras.utils.set_random_seed(seed)
    schema = model_schema(categorical, continuous, sizes, LABEL)
    embeddings = mm.Embeddings(
        model_schema(categorical, (), sizes),
        dim=settings.embedding_dimension,
        # One initializer a column: a shared one would start every table with the same numbers.
        embeddings_initializer={c: tf.keras.initializers.RandomNormal(stddev=_INITIAL_SPREAD) for c in categorical},
        l2_batch_regularization_factor=settings.embedding_l2 / settings.batch_size,  # Merlin sums over the batch
    )
    bottom, top = mm.MLPBlock([*settings.bottom, settings.embedding_dimension]), mm.MLPBlock(list(settings.top))
    head = tf.keras.layers.Dense(1, kernel_initializer="zeros")
    deep = mm.DLRMModel(
        schema, embeddings=embeddings, bottom_block=bottom, top_block=top, prediction_tasks=mm.BinaryOutput(LABEL, to_call=head)
    )
    merlin = LinearShortcut(deep, continuous)
    merlin({c: tf.zeros([1, 1], tf.int32 if c in categorical else tf.float32) for c in categorical + continuous})
    tables = {column: embeddings.parallel_layers[column] for column in categorical}
    parts = DLRMParts(tables, bottom, top, head, merlin.linear, continuous)
    return DLRM(name, settings, dict(sizes), merlin, parts, features)


def load_dlrm(folder: Path) -> DLRM:
    """Rebuild the trained model of a folder (``models/ranking`` or ``models/cart``) from its ``config.json`` and weights.

    Raises:
        RunError: if a file is missing or corrupt.
    """
    from models.training.store import read_config

    config = read_config(folder, folder.name, DLRMSettings)
    built = build_dlrm(config.model, config.settings, config.sizes, features=FeatureSet.from_json(config.own))
    load_weights(folder, built.variables)
    return built


class DLRMLearner:
    """Trains a DLRM on labelled rows; see ``models.training.fit``.

    Args:
        dlrm: the model.
        train: its columns and the label.
        valid: the same of the validation rows, or None.
    """

    def __init__(self, dlrm: DLRM, train: Table, valid: Table | None) -> None:

        self.title = dlrm.name
        self.dlrm = dlrm
        self.examples = len(train)
        self.variables = dlrm.variables
        self.optimizer = lazy_adam(dlrm.settings.learning_rate, self.variables)
        self._valid = valid
        self._packed = Packed.of(train, dlrm.parts.columns, dlrm.parts.continuous)
        self._labels = np.asarray(train[LABEL], dtype=np.float32)
        self._own_ids = dlrm.features.own_names(COLUMNS_OF_IDS, Owner.SHOPPER)
        self._steps = in_turn(self._learn)

    def steps(self, rows: Array, rng: np.random.Generator) -> Array:
        """Learn from the rows ``[S, B]`` of S steps; return the mean loss of each."""
        packed, columns = self._packed.at(rows), self.dlrm.parts.columns
        user, own = columns.index("user_id"), [columns.index(name) for name in self._own_ids]
        for ids in packed.ids:
            given = {name: ids[:, [columns.index(name)]] for name in _DROPPED}
            before = ids[:, user].copy()
            for name, values in drop_ids(given, self.dlrm.settings.id_dropout, rng).items():
                ids[:, columns.index(name)] = values[:, 0]
            forget_strangers(ids, before, user, own)
        losses: Array = self._steps(packed.ids, packed.floats, self._labels[rows]).numpy()
        return losses

    def _learn(self, ids: Any, floats: Any, labels: Any) -> Any:
        from cartwheel.merlin_compat import tf

        with tf.GradientTape() as tape:
            loss, _ = self.loss(ids, floats, labels)
        gradients = tape.gradient(loss, self.variables)
        self.optimizer.apply_gradients(zip(gradients, self.variables, strict=True))
        return loss

    def loss(self, ids: Any, floats: Any, labels: Any) -> tuple[Any, Any]:
        """Return the loss of some rows, and their logits ``[B, 1]``.

        Args:
            ids: int32 ``[B, 6]``, the columns ``parts.columns``.
            floats: float32 ``[B, columns]``, those of ``parts.continuous``.
            labels: float32 ``[B]``.
        """
        from cartwheel.merlin_compat import tf

        settings = self.dlrm.settings
        logits, embedded = self.dlrm.parts.logits(ids, floats)
        loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels[:, None], logits=logits))
        if settings.embedding_l2:
            squares = tf.add_n([tf.reduce_sum(tf.square(each)) for each in embedded])
            loss += settings.embedding_l2 / settings.batch_size * squares
        return loss, logits

    def validate(self) -> dict[str, float]:
        """Return the validation ``log_loss``, ``score`` (its negative) and, where both labels occur, ``auc``."""
        if self._valid is None:
            return {}
        logits, labels = self.dlrm.logits(self._valid).astype(np.float64), self._valid[LABEL].astype(np.float64)
        log_loss = float(np.mean(np.logaddexp(0.0, logits) - labels * logits))
        figures = {"score": -log_loss, "log_loss": log_loss}
        if 0 < labels.sum() < len(labels) and np.isfinite(log_loss):
            figures["auc"] = roc_auc(self._valid[LABEL], logits)
        return figures
