"""A sequence model: self-attention over the last items of a history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import UsageError
from cartwheel.core.progress import progress
from models.families.factors.factors import Factors, products
from models.families.parameters import require_not_negative, require_positive
from models.families.popularity.most_popular import item_counts
from models.families.popularity_order import PopularityOrder
from models.families.recommender import Recommender, Scores
from models.questions.interactions import Bools, Interactions, Ints, Queries

if TYPE_CHECKING:
    from models.families.sasrec.network import Network

Ids = npt.NDArray[np.int32]
Part = tuple[Ids, Ids, Ids]

_LONGEST_SHARES: Final = (0.02, 0.08, 0.2, 0.45, 1.0)
"""Where a batch, its longest sequences first, is cut into parts that are padded for themselves."""
_PARTS: Final = 6
"""Into how many parts by length questions are cut."""
_DRAWS: Final = 20
"""How often a negative that the user knows is drawn anew."""


@dataclass
class SASRec(Recommender):
    """Self-attentive sequential recommendation (Kang and McAuley, ICDM 2018, https://arxiv.org/abs/1808.09781).

    The last items of a history, each an embedding plus one of its place from the end, pass through blocks of causal self-attention and
    a feed-forward part. The vector at the newest item, times an item's embedding, is that item's score. Training asks at every slot of
    every user's sequence for the next item: the loss is -log sigmoid(s(next)) - log(1 - sigmoid(s(j))), with j drawn uniformly from
    the trained items that the user has none of in training, anew in each epoch.

    The network is that of the S3-Rec authors' code, which made the figures for Amazon data that most papers cite (Zhou et al., CIKM
    2020, https://github.com/RUCAIBox/CIKM2020-S3Rec): layer normalisation after each residual, and GELU. Unlike there, negatives avoid
    the training items of a user only, not those that are held out. An empty history scores 0 throughout; an item without training
    interactions as low as the lowest that has some. Equal scores are ordered by popularity.

    Attributes:
        width: of the vectors.
        layers: blocks.
        heads: attention heads; must divide ``width``.
        max_length: how many of the last items of a history are looked at.
        dropout: share of values dropped in training.
        learning_rate: of Adam.
        batch_size: users a step.
        epochs: passes over the users.
        seed: fixes the first weights, the order, the negatives and the dropout.
    """

    width: int = 64
    layers: int = 2
    heads: int = 2
    max_length: int = 50
    dropout: float = 0.5
    learning_rate: float = 0.001
    batch_size: int = 256
    epochs: int = 60
    seed: int = 0
    _network: Network = field(init=False, repr=False)
    """In float64: rounded to float32 its answers do not depend on who else asks."""
    _item_factors: Factors = field(init=False, repr=False)
    """[items, width]"""
    _item_known: Bools = field(init=False, repr=False)
    """[items] whether training holds the item."""
    _popularity: PopularityOrder = field(init=False, repr=False)

    def __post_init__(self) -> None:
        require_positive(self.name, width=self.width, layers=self.layers, heads=self.heads, max_length=self.max_length)
        require_positive(self.name, learning_rate=self.learning_rate, batch_size=self.batch_size, epochs=self.epochs)
        require_not_negative(self.name, dropout=self.dropout)
        if self.dropout >= 1 or self.width % self.heads:
            raise UsageError(
                f"sasrec: width {self.width}, heads {self.heads} and dropout {self.dropout} do not fit together.",
                "Give a width that is a multiple of the heads, and a dropout below 1.",
            )

    @property
    def name(self) -> str:
        """``sasrec``."""
        return "sasrec"

    @property
    def shared(self) -> bool:
        """TensorFlow has threads of its own."""
        return False

    def fit(self, interactions: Interactions) -> None:
        """Train for ``epochs``."""
        network, step = self._prepared(interactions.items)
        examples = Examples(interactions, self.max_length)
        steps = -(-len(examples) // self.batch_size)
        with progress("train sasrec", self.epochs * steps) as advance:
            for epoch in range(self.epochs):
                for number, parts in enumerate(examples.batches(self.batch_size, np.random.default_rng([self.seed, epoch]))):
                    loss = step(parts, np.array([self.seed, (epoch * steps + number) * 10_000], np.int32))
                    advance(1, f"epoch {epoch + 1}/{self.epochs} loss {float(loss):.4f}")
        self._keep(network, interactions)

    def scores(self, queries: Queries) -> Scores:
        """Return [q, items] float64."""
        vectors = np.zeros((len(queries), self.width), np.float32)
        asking = np.argsort(queries.lengths, kind="stable")[np.count_nonzero(queries.lengths == 0) :]
        for chosen in np.array_split(asking, _PARTS):  # of like lengths, so that little padding is computed
            if len(chosen):
                some = queries.take(chosen)
                ids = some.last(min(self.max_length, int(some.lengths.max()))).astype(np.int32) + 1
                vectors[chosen] = self._network(ids)[:, -1].numpy()
        result = products(vectors, self._item_factors)
        if not self._item_known.all():
            result[:, ~self._item_known] = result[:, self._item_known].min(axis=1, keepdims=True)
        return self._popularity.break_ties(result)

    def _prepared(self, items: int) -> tuple[Network, Callable[[tuple[Part, ...], Ids], Any]]:
        """Return a network with first weights, and a step that trains it and returns the loss."""
        from cartwheel.merlin_compat import tf
        from models.families.sasrec.network import Network, pair_loss

        network = Network(items, self.width, self.layers, self.heads, self.max_length, seed=self.seed * 1000)
        network(np.ones((1, 1), np.int32))
        optimizer = tf.keras.optimizers.Adam(self.learning_rate, epsilon=1e-8)
        optimizer.build(network.trainable_variables)
        part = (tf.TensorSpec([None, None], tf.int32),) * 3

        @tf.function(input_signature=[(part,) * len(_LONGEST_SHARES), tf.TensorSpec([2], tf.int32)])  # type: ignore[untyped-decorator]
        def step(parts: Any, seed: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = pair_loss(network, parts, seed, self.dropout)
            variables = network.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return loss

        return network, step

    def _keep(self, network: Network, interactions: Interactions) -> None:
        """Take over the weights as they are now."""
        from models.families.sasrec.network import Network

        exact = Network(interactions.items, self.width, self.layers, self.heads, self.max_length, dtype="float64")
        exact(np.ones((1, 1), np.int32))
        exact.set_weights([weight.astype(np.float64) for weight in network.get_weights()])
        self._network = exact
        self._item_factors = network.item_table.numpy()[1:]
        self._item_known = item_counts(interactions) > 0
        self._popularity = PopularityOrder.of(interactions)


class Examples:
    """The training sequences of users with at least two interactions, the last ``max_length`` + 1 items of each.

    Args:
        interactions: the training interactions.
        max_length: slots of a sequence.
    """

    def __init__(self, interactions: Interactions, max_length: int) -> None:
        self._log = interactions
        self._user = np.flatnonzero(np.diff(interactions.starts) >= 2)
        self._length = np.minimum(np.diff(interactions.starts)[self._user] - 1, max_length)
        self._pairs = np.unique(interactions.user * interactions.items + interactions.item)
        self._catalogue = np.unique(interactions.item)

    def __len__(self) -> int:
        return len(self._user)

    def batches(self, size: int, generator: np.random.Generator) -> Iterator[tuple[Part, ...]]:
        """Yield all users once, in random order, with negatives drawn anew; ids are item codes + 1."""
        order = generator.permutation(len(self))
        for begin in range(0, len(order), size):
            batch = order[begin : begin + size]
            batch = batch[np.argsort(-self._length[batch], kind="stable")]
            cuts = [0, *(round(share * len(batch)) for share in _LONGEST_SHARES)]
            yield tuple(self._part(batch[cuts[n] : cuts[n + 1]], generator) for n in range(len(_LONGEST_SHARES)))

    def _part(self, chosen: Ints, generator: np.random.Generator) -> Part:
        """Return ids, targets and negatives [b, l], padded with 0 in front to the longest of the chosen sequences."""
        if not len(chosen):  # of a batch of few users; one blank slot counts for nothing, and the network can be run on it
            blank = np.zeros((1, 1), np.int32)
            return blank, blank, blank
        longest = int(self._length[chosen].max(initial=0))
        slot = np.arange(longest) - longest
        inside = slot >= -self._length[chosen][:, None]
        place = np.where(inside, self._log.starts[self._user[chosen] + 1][:, None] + slot, 0)
        target = np.where(inside, self._log.item[place] + 1, 0)
        ids = np.where(inside, self._log.item[np.maximum(place - 1, 0)] + 1, 0)
        negative = np.zeros_like(target)
        negative[inside] = self._unknown(self._log.user[place[inside]], generator) + 1
        return ids.astype(np.int32), target.astype(np.int32), negative.astype(np.int32)

    def _unknown(self, user: Ints, generator: np.random.Generator) -> Ints:
        """Draw an item for each of ``user`` that the user has none of; of users who have nearly all, any."""
        drawn = generator.choice(self._catalogue, len(user))
        for _ in range(_DRAWS):
            pair = user * self._log.items + drawn
            known = self._pairs[np.minimum(np.searchsorted(self._pairs, pair), len(self._pairs) - 1)] == pair
            if not known.any():
                break
            drawn[known] = generator.choice(self._catalogue, int(known.sum()))
        return drawn
