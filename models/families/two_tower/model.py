"""The two-tower retrieval model: a query vector and an item vector whose dot product is the score.

Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019,
https://doi.org/10.1145/3298689.3346996. Built with Merlin Models: ``mm.Encoder`` towers over shared ``mm.EmbeddingTable`` s
(the item ids a shopper saw and the item tower's share one), joined by ``mm.TwoTowerModelV2`` with in-batch negatives and the
log-Q correction, to which uniformly drawn ones may be added; items equal to the positive are no negatives. Vectors have length 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from models.families.two_tower.negatives import HardRows, UniformRows
from models.families.two_tower.settings import TwoTowerSettings
from models.training.loop import DROPPED, drop_ids, forget_strangers, in_turn, lazy_adam, load_weights
from models.training.tables import FIRST_ID, Array, Packed, Table
from workflows.features.column import CATEGORICAL, Owner
from workflows.features.columns import QUERY_LISTS, SHARED_VOCABULARY
from workflows.features.feature_set import BUILT_IN, FeatureSet

IDS: Final = ("user_id", "item_id")
"""Vocabularies whose embeddings have the full dimension; the others have a quarter of it."""
_DROPPED_QUERY: Final[tuple[str, ...]] = tuple(name for name in BUILT_IN.query if name in DROPPED)
_DROPPED_ITEM: Final[tuple[str, ...]] = tuple(name for name in BUILT_IN.item if name in DROPPED)
_ENCODE_ROWS: Final = 8192
_EMBEDDING: Final = re.compile(r"/(?P<vocabulary>\w+?)(?:_embedding)?/embeddings:0$")
_VALID_ITEMS: Final = 50_000
_INITIAL_SPREAD: Final = 0.05
_INPUTS: Final = 100
"""Number of the query inputs' dropout, one more in the item tower; those of attention count from 0."""


FULL_RATE_STEPS: Final = 800
"""Steps of an epoch up to which the learning rate is taken as it is. An embedding moves by about the rate in each step that touches it,
so on a long log it is far from where it began, and fitted to its own sessions, before validation is asked for the first time."""


@dataclass(frozen=True)
class TwoTower:
    """A built model.

    Attributes:
        settings: what it was built from.
        sizes: ids of each categorical column.
        merlin: the Merlin model; its last block turns both vectors into logits.
        query: the query tower.
        item: the item tower.
        dropout_seed: int32 ``[2]`` variable that decides what a training step drops.
        features: the columns of the run that it was built for.
    """

    settings: TwoTowerSettings
    sizes: dict[str, int]
    merlin: Any
    query: Any
    item: Any
    dropout_seed: Any
    features: FeatureSet = BUILT_IN

    @cached_property
    def variables(self) -> list[Any]:
        """Every weight once, in a fixed order."""
        every = [*self.query.trainable_variables, *self.item.trainable_variables]
        return list({id(variable): variable for variable in every}.values())

    @property
    def vocabularies(self) -> list[str]:
        """Of each variable, the column whose ids its rows are; "" of one that is no embedding."""
        found = (_EMBEDDING.search(variable.name) for variable in self.variables)
        return [match["vocabulary"] if match else "" for match in found]

    def encode_queries(self, table: Table) -> Array:
        """Return float32 ``[N, D]`` query vectors."""
        return _encode(self._query_function, table, self.features.query)

    def encode_items(self, table: Table) -> Array:
        """Return float32 ``[N, D]`` item vectors."""
        return _encode(self._item_function, table, self.features.item)

    @cached_property
    def _query_function(self) -> Any:
        from cartwheel.merlin_compat import tf

        return tf.function(lambda columns: self.query(columns, training=False), autograph=False, reduce_retracing=True)

    @cached_property
    def _item_function(self) -> Any:
        from cartwheel.merlin_compat import tf

        return tf.function(lambda columns: self.item(columns, training=False), autograph=False, reduce_retracing=True)


def build_two_tower(
    settings: TwoTowerSettings,
    sizes: Mapping[str, int],
    seed: int = 0,
    item_probabilities: Array | None = None,
    features: FeatureSet = BUILT_IN,
) -> TwoTower:
    """Build the model with fresh weights.

    Args:
        settings: its configuration.
        sizes: ids of each categorical column of QUERY and ITEM.
        seed: fixes the initial weights.
        item_probabilities: share of the training targets of each item id, ``[sizes["item_id"]]``; needed for training only.
        features: the columns of the run.
    """
    from cartwheel.merlin_compat import mm, tf
    from models.families.two_tower.layers import FrequencySampler

    tf.keras.utils.set_random_seed(seed)
    dropout_seed = tf.Variable([0, 0], trainable=False, dtype=tf.int32)
    parts = settings, sizes, _tables(settings, sizes, features), dropout_seed
    query = _tower("query", *parts, features.query_categorical, QUERY_LISTS, features.query_continuous)
    item = _tower("item", *parts, features.item_categorical, (), features.item_continuous)
    probabilities = np.ones(sizes["item_id"], np.float32) if item_probabilities is None else item_probabilities
    merlin = mm.TwoTowerModelV2(query, item, negative_samplers=[FrequencySampler(probabilities)], logq_sampling_correction=True)
    numbers = features.query_continuous + features.item_continuous
    for tower, columns in ((query, features.query), (item, features.item)):
        tower({name: tf.zeros([1, 1], tf.float32 if name in numbers else tf.int32) for name in columns})
    return TwoTower(settings, dict(sizes), merlin, query, item, dropout_seed, features)


def load_two_tower(folder: Path) -> TwoTower:
    """Rebuild a trained model from its ``config.json`` and weights.

    Raises:
        RunError: if a file is missing or corrupt.
    """
    from models.training.store import read_config

    config = read_config(folder, "two_tower", TwoTowerSettings)
    built = build_two_tower(config.settings, config.sizes, features=FeatureSet.from_json(config.own))
    load_weights(folder, built.variables)
    return built


def step_size(settings: TwoTowerSettings, examples: int) -> float:
    """Return the learning rate of a training on so many examples; see ``FULL_RATE_STEPS``.

    >>> step_size(TwoTowerSettings(learning_rate=0.003, batch_size=512), 400_000)
    0.003
    >>> round(step_size(TwoTowerSettings(learning_rate=0.003, batch_size=512), 1_000_000), 5)
    0.00123
    """
    return settings.learning_rate * min(1.0, FULL_RATE_STEPS * settings.batch_size / examples)


class TwoTowerLearner:
    """Trains a two-tower model on query-target pairs; see ``models.training.fit``.

    Args:
        tower: the model.
        train: QUERY and ITEM columns of the training examples.
        valid: the same of the validation examples, or None.
        catalogue: ITEM columns of the items to tell the validation targets from, or None.
    """

    title = "two_tower"

    def __init__(self, tower: TwoTower, train: Table, valid: Table | None, catalogue: Table | None) -> None:
        self.tower = tower
        self.examples = len(train)
        self.variables = tower.variables
        self.optimizer = lazy_adam(step_size(tower.settings, self.examples), self.variables)
        self._train = train
        ids = tower.features.query_categorical
        self._user_id = ids.index("user_id")
        self._own_ids = [ids.index(name) for name in tower.features.own_names(CATEGORICAL, Owner.SHOPPER)]
        self._item_id = tower.features.item_categorical.index("item_id")
        self._uniform = UniformRows(train["item_id"])
        self._hard = HardRows(self._uniform)
        self._valid = _with_known_targets(valid)
        self._catalogue = _thinned(catalogue)
        self._steps = in_turn(self._learn)

    def steps(self, rows: Array, rng: np.random.Generator) -> Array:
        """Learn from the examples at the rows ``[S, B]`` of S steps; return the mean loss of each."""
        if self.tower.settings.hard_negatives:  # not as many in each step
            return np.concatenate([self._steps(*self._inputs(step[None], rng)).numpy() for step in rows])
        losses: Array = self._steps(*self._inputs(rows, rng)).numpy()
        return losses

    def _inputs(self, rows: Array, rng: np.random.Generator) -> tuple[Array, ...]:
        """Return what ``_learn`` takes, of all steps."""
        settings, dropped, candidates, seeds = self.tower.settings, [], [], []
        for step in rows:
            others = self._uniform.draw(settings.uniform_negatives, rng), self._hard_rows(step, rng)
            candidates.append(np.concatenate([step, *others]))
            columns = self._train.batch(step, _DROPPED_QUERY) | self._train.batch(candidates[-1], _DROPPED_ITEM)
            dropped.append(drop_ids(columns, settings.id_dropout, rng))
            seeds.append(rng.integers(2**31, size=2, dtype=np.int32) if settings.dropout else np.zeros(2, np.int32))
        chosen = np.stack(candidates)
        query, item = (packed.at(each) for packed, each in zip(self._packed, (rows, chosen), strict=True))
        item_ids = item.ids[..., self._item_id].copy()
        for step, columns in enumerate(dropped):
            before = query.ids[step, :, self._user_id].copy()
            query.ids[step, :, self._user_id] = columns["user_id"][:, 0]
            forget_strangers(query.ids[step], before, self._user_id, self._own_ids)
            query.lists[step, :, QUERY_LISTS.index("recent_items")] = columns["recent_items"]
            item.ids[step, :, self._item_id] = columns["item_id"][:, 0]
        return query.ids, query.lists, query.floats, item.ids, item.floats, item_ids[..., None], np.stack(seeds)

    @cached_property
    def _packed(self) -> tuple[Packed, Packed]:
        features = self.tower.features
        query = Packed.of(self._train, features.query_categorical, features.query_continuous, QUERY_LISTS)
        return query, Packed.of(self._train, features.item_categorical, features.item_continuous)

    def _hard_rows(self, rows: Array, rng: np.random.Generator) -> Array:
        """Draw hard negatives; those to draw from are found anew as often as an epoch begins, by what the model is then."""
        settings = self.tower.settings
        if not settings.hard_negatives:
            return np.zeros(0, dtype=np.int64)
        if int(self.optimizer.iterations.numpy()) % max(1, self.examples // len(rows)) == 0:
            self._hard.mine(lambda found: self.tower.encode_items(self._train.at(found)), rng)
        return self._hard.draw(self._train["item_id"][rows], settings.hard_negatives, rng)

    def _learn(self, ids: Any, lists: Any, floats: Any, target_ids: Any, target_floats: Any, item_ids: Any, seed: Any) -> Any:
        """Take a step.

        Args:
            ids: int32 ``[B, columns]`` ids of the queries.
            lists: int32 ``[B, 3, L]`` QUERY_LISTS.
            floats: float32 ``[B, columns]`` numbers of the queries.
            target_ids: int32 ``[B + U, columns]`` ids of the targets, and of others drawn as negatives.
            target_floats: float32 ``[B + U, columns]`` numbers of the same.
            item_ids: int32 ``[B + U, 1]`` item ids from before the drop-out.
            seed: int32 ``[2]`` of other drop-outs.

        Returns:
            The loss.
        """
        from cartwheel.merlin_compat import tf

        tower = self.tower
        tower.dropout_seed.assign(seed)
        features = tower.features
        asked = _columns(features.query_categorical, ids) | _columns(features.query_continuous, floats)
        asked |= dict(zip(QUERY_LISTS, tf.unstack(lists, axis=1), strict=True))
        item_columns = _columns(features.item_categorical, target_ids) | _columns(features.item_continuous, target_floats)
        with tf.GradientTape() as tape:
            query, item = tower.query(asked, training=True), tower.item(item_columns, training=True)
            logits = self.logits(query, item, item_ids)
            positive = tf.zeros([tf.shape(logits)[0]], tf.int32)  # Merlin puts the positive first
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=positive, logits=logits)
            loss = tf.add_n([tf.reduce_mean(losses), *tower.query.losses, *tower.item.losses])
        gradients = tape.gradient(loss, self.variables)
        self.optimizer.apply_gradients(zip(gradients, self.variables, strict=True))
        return loss

    def logits(self, query: Any, item: Any, item_ids: Any) -> Any:
        """Return ``[B, 1 + B + U]``, the positive first, of ``[B, D]`` queries and the vectors and ids of B targets and U others.

        The ids are those from before the drop-out: they say how frequent a negative is, and whether it is the positive.
        """
        from cartwheel.merlin_compat import tf
        from models.families.two_tower.layers import UNIFORM_IDS, UNIFORM_VECTORS

        batch, tower = tf.shape(query)[0], self.tower
        features = {"item_id": item_ids[:batch]}
        if tower.settings.uniform_negatives or tower.settings.hard_negatives:
            features |= {UNIFORM_IDS: item_ids[batch:], UNIFORM_VECTORS: item[batch:]}
        # The temperature divides here, not in Merlin's output, which would divide the log-Q correction too.
        vectors = {"query": query / tower.settings.temperature, "candidate": item[:batch]}
        return tower.merlin.blocks[-1](vectors, features=features, training=True).outputs

    def validate(self) -> dict[str, float]:
        """Rank each validation target among the catalogue, both in the catalogue's state, as the evaluation will.

        Targets out of the vocabulary are left out, where there are others: their ids do not say which candidate they are, and
        most of them are no candidates but items first seen after the split. Recent items are left out of the candidates where
        none of the targets is one: then the shop recommends no repeats.

        Returns:
            ``recall_20`` and ``score``, the mean of 1 / log2(1 + rank): NDCG without a cut-off, which no rank is too deep for.
        """
        if self._valid is None or self._catalogue is None:
            return {}
        items, targets = self.tower.encode_items(self._catalogue), self.tower.encode_items(self._valid)
        row = _rows_of(self._catalogue, self.tower.sizes["item_id"])[self._valid["item_id"]]
        targets[row >= 0] = items[row[row >= 0]]
        ranks = target_ranks(self.tower.encode_queries(self._valid), targets, items, self._valid, self._catalogue)
        return {"score": float(np.mean(1.0 / np.log2(1.0 + ranks))), "recall_20": float(np.mean(ranks <= 20))}


def target_ranks(query: Array, target: Array, items: Array, valid: Table, catalogue: Table) -> Array:
    """Return each target's rank, from 1, among the catalogue; items that score the same count as better.

    Args:
        query: ``[N, D]`` query vectors.
        target: ``[N, D]`` vectors of the targets.
        items: ``[M, D]`` vectors of the catalogue.
        valid: ``item_id`` and ``recent_items`` of the N examples.
        catalogue: ``item_id`` of the M items.
    """
    repeats = (valid["recent_items"] == valid["item_id"][:, None]).any()
    ranks = np.empty(len(query), dtype=np.int64)
    rows_at_once = max(1, 20_000_000 // max(len(items), 1))
    row_of = _rows_of(catalogue, max(int(catalogue["item_id"].max()), int(valid["recent_items"].max())) + 1)
    for start in range(0, len(query), rows_at_once):
        part = slice(start, start + rows_at_once)
        scores = query[part] @ items.T
        own = np.sum(query[part] * target[part], axis=1, keepdims=True)
        ids = valid["item_id"][part]
        better = (scores >= own) & ~((catalogue["item_id"] == ids[:, None]) & (ids >= FIRST_ID)[:, None])
        if not repeats:
            recent = row_of[valid["recent_items"][part]]
            query_row, position = np.nonzero(recent >= 0)
            better[query_row, recent[query_row, position]] = False
        ranks[part] = 1 + better.sum(axis=1)
    return ranks


def item_probabilities(train: Table, size: int) -> Array:
    """Return each item id's share of the training targets, float32 ``[size]``; the log-Q correction needs it."""
    return (np.bincount(train["item_id"], minlength=size) / len(train)).astype(np.float32)


def _columns(names: Sequence[str], packed: Any) -> dict[str, Any]:
    """Return columns ``[B, 1]`` by name."""
    return {name: packed[:, place : place + 1] for place, name in enumerate(names)}


def _encode(function: Any, table: Table, names: Sequence[str]) -> Array:
    parts = [
        function(table.batch(slice(start, start + _ENCODE_ROWS), names)).numpy() for start in range(0, len(table), _ENCODE_ROWS)
    ]
    return np.asarray(np.concatenate(parts), dtype=np.float32)


def _rows_of(catalogue: Table, size: int) -> Array:
    """Return the catalogue's row of each item id, -1 where it has none or the id is not one item's; int64 ``[size]``."""
    rows = np.full(size, -1, dtype=np.int64)
    rows[catalogue["item_id"]] = np.arange(len(catalogue))
    rows[:FIRST_ID] = -1
    return rows


def _with_known_targets(valid: Table | None) -> Table | None:
    known = None if valid is None else np.flatnonzero(valid["item_id"] >= FIRST_ID)
    if valid is None or known is None or not len(known):
        return valid
    return Table(valid.folder, {name: values[known] for name, values in valid.columns.items()})


def _thinned(catalogue: Table | None) -> Table | None:
    """Keep validation quick on a large catalogue: an evenly spaced part of it orders the epochs just as well."""
    if catalogue is None or len(catalogue) <= _VALID_ITEMS:
        return catalogue
    rows = np.linspace(0, len(catalogue) - 1, _VALID_ITEMS).astype(np.int64)
    return Table(catalogue.folder, {name: values[rows] for name, values in catalogue.columns.items()})


def _tables(settings: TwoTowerSettings, sizes: Mapping[str, int], features: FeatureSet) -> dict[str, Any]:
    """Return column -> embedding table; columns that share a vocabulary share the table."""
    from cartwheel.merlin_compat import mm, tf
    from models.training.merlin_schema import categorical_column

    sharing: dict[str, list[str]] = {}
    for name in features.query_categorical + features.item_categorical + QUERY_LISTS:
        sharing.setdefault(SHARED_VOCABULARY.get(name, name), []).append(name)
    tables = {}
    for vocabulary, names in sharing.items():
        dimension = settings.embedding_dimension if vocabulary in IDS else max(1, settings.embedding_dimension // 4)
        columns = [categorical_column(name, sizes) for name in names]
        initializer = tf.keras.initializers.RandomNormal(stddev=_INITIAL_SPREAD)
        table = mm.EmbeddingTable(dimension, *columns, name=f"{vocabulary}_embedding", embeddings_initializer=initializer)
        tables.update(dict.fromkeys(names, table))
    return tables


def _tower(
    name: str,
    settings: TwoTowerSettings,
    sizes: Mapping[str, int],
    tables: Mapping[str, Any],
    dropout_seed: Any,
    categorical: Sequence[str],
    lists: Sequence[str],
    continuous: Sequence[str],
) -> Any:
    from cartwheel.merlin_compat import mm
    from models.families.two_tower.history_layers import StepDropout, sequence_state
    from models.families.two_tower.layers import ShortcutMLP, TowerInputs, UnitLength
    from models.training.merlin_schema import model_schema

    def drop(number: int) -> Any:
        return StepDropout(settings.dropout, dropout_seed, number)

    columns = [*categorical, *lists]
    schema = model_schema(columns, continuous, sizes)
    blocks, heads = settings.attention_blocks, settings.attention_heads
    sequence = sequence_state(settings.history, settings.embedding_dimension, heads, blocks, drop) if lists else None
    embeddings = {column: tables[column] for column in columns}
    dropped = drop(_INPUTS if lists else _INPUTS + 1)
    inputs = TowerInputs(schema, embeddings, lists, continuous, settings.embedding_l2, dropped, sequence, name=f"{name}_inputs")
    layers = ShortcutMLP(settings.hidden, settings.dimension, name=f"{name}_layers")
    return mm.Encoder(inputs, layers, UnitLength(), prep_features=False, name=name)
