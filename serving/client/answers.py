"""Typed answers of the client, with the shop's own ids."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import ServerError
from serving.contract.limits import PARAMETER, Limits

ShopId: TypeAlias = str | int
"""An id as the shop writes it: a string, or a 64-bit integer."""

IdType: TypeAlias = Literal["string", "int64"]

DEFAULT_MAX_K = 100
FEWER: Final = "fewer"
"""The parameter of an answer in which a gateway says why there are fewer items; it stands among the outputs as they are read."""


class Reason(IntEnum):
    """Why an item is recommended."""

    POPULAR = 0
    """Many shoppers choose it."""
    RECENT_ITEM = 1
    """It goes with an item that the shopper looked at lately."""
    TASTE = 2
    """It suits what is known of the shopper."""
    PINNED = 3
    """The shop, or whoever asked, put it at its place."""
    PROMOTED = 4
    """The shop, or whoever asked, promotes it."""


@dataclass(frozen=True)
class RecommendedItem:
    """One item of a recommendation.

    Attributes:
        item_id: the item.
        score: what orders the items of one answer; not a probability.
        reason: why it is recommended.
        because_of: the recent item that explains :attr:`Reason.RECENT_ITEM`, else None.
        retrievers: which retrievers brought it, such as ``two_tower`` or ``item_to_item``; none where the server does not say.
    """

    item_id: ShopId
    score: float
    reason: Reason
    because_of: ShopId | None = None
    retrievers: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The reason in words that may be shown to a shopper."""
        if self.reason is Reason.RECENT_ITEM:
            return f"Because you looked at {self.because_of}."
        return _SENTENCES[self.reason]


_SENTENCES: Final[Mapping[Reason, str]] = {
    Reason.POPULAR: "Popular in this shop.",
    Reason.TASTE: "It suits your taste.",
    Reason.PINNED: "Chosen by the shop.",
    Reason.PROMOTED: "Promoted by the shop.",
}


@dataclass(frozen=True)
class Recommendations:
    """The items for one request, the best first.

    Attributes:
        user_id: who was asked about, None for a visitor without an id.
        items: at most ``k`` items; fewer where no more may be answered.
        fewer: why they are fewer, in a sentence; empty where they are not, or the server does not say.
    """

    user_id: ShopId | None
    items: tuple[RecommendedItem, ...]
    fewer: str = ""

    @property
    def item_ids(self) -> tuple[ShopId, ...]:
        """The ids alone, in order."""
        return tuple(item.item_id for item in self.items)

    def __iter__(self) -> Iterator[RecommendedItem]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class ScoredItem:
    """An item and the score that orders it among the others of the answer."""

    item_id: ShopId
    score: float


@dataclass(frozen=True)
class CartLine:
    """One line of a cart and the probability, 0 to 1, that it is bought; None where the run has no cart model."""

    item_id: ShopId
    probability: float | None


@dataclass(frozen=True)
class CartPrediction:
    """What is expected of a cart.

    Attributes:
        lines: the lines in the order in which they were asked.
        probability: between 0 and 1,  that any line is bought; None where the run has no cart model.
        completions: items that go with the cart, none of them in it, the best first.
        unavailable: why there are no probabilities, in a sentence; empty where there are.
    """

    lines: tuple[CartLine, ...]
    probability: float | None
    completions: tuple[ScoredItem, ...]
    unavailable: str = ""


@dataclass(frozen=True)
class Health:
    """Whether a server can be asked.

    Attributes:
        live: whether it answers at all.
        ready: whether all its models can answer.
        detail: why it does not answer, empty if it does.
    """

    live: bool
    ready: bool
    detail: str = ""


@dataclass(frozen=True)
class Metadata:
    """What a server says about its run.

    Attributes:
        user_id_type: how the shop writes user ids.
        item_id_type: how the shop writes item ids.
        max_k: the most items that one answer can hold.
        catalogue_size: number of items it knows, None if it does not say.
        as_of: instant of the exported state, None if it does not say.
        limits: how large a request may be, None if it does not say.
        no_cart: why the run has no cart model, in a sentence; empty where it has one, or the server does not say.
        retrievers: what the bits of the output ``retrievers`` stand for, the lowest first; none where the server does not say.
    """

    user_id_type: IdType = "string"
    item_id_type: IdType = "string"
    max_k: int = DEFAULT_MAX_K
    catalogue_size: int | None = None
    as_of: datetime | None = None
    limits: Limits | None = None
    no_cart: str = ""
    retrievers: tuple[str, ...] = ()

    def brought_by(self, bits: int) -> tuple[str, ...]:
        """Return the names of retrievers by their bits."""
        return tuple(name for place, name in enumerate(self.retrievers) if bits >> place & 1)

    def item_id(self, text: bytes) -> ShopId:
        """Return an item id as the shop writes it."""
        return int(text) if self.item_id_type == "int64" else text.decode()


def parse_metadata(parameters: Mapping[str, str], address: str) -> Metadata:
    """Read the parameters of an ensemble's configuration.

    Args:
        parameters: ``user_id_type``, ``item_id_type``, ``max_k``, ``catalogue_size``, ``as_of`` (ISO 8601) and ``limits``
            (:mod:`serving.contract.limits`), each of which may be missing.
        address: the server, for the error.

    Raises:
        ServerError: if a parameter cannot be read.
    """
    try:
        size, as_of, limits = (parameters.get(name) for name in ("catalogue_size", "as_of", PARAMETER))
        return Metadata(
            user_id_type=_id_type(parameters.get("user_id_type", "string")),
            item_id_type=_id_type(parameters.get("item_id_type", "string")),
            max_k=int(parameters.get("max_k", DEFAULT_MAX_K)),
            catalogue_size=int(size) if size is not None else None,
            as_of=datetime.fromisoformat(as_of.replace("Z", "+00:00")) if as_of is not None else None,
            limits=Limits.parsed(limits) if limits is not None else None,
            no_cart=parameters.get("no_cart", ""),
            retrievers=tuple(map(str, json.loads(parameters.get("retrievers", "[]")))),
        )
    except ValueError as error:
        raise ServerError(
            f"The parameters of the ensembles at {address} cannot be read ({error}).",
            "Export the repository again with `cartwheel export`.",
        ) from error


def parse_recommendations(
    outputs: Mapping[str, npt.NDArray[Any]], users: Sequence[ShopId | None], metadata: Metadata
) -> tuple[Recommendations, ...]:
    """Read the outputs ``items``, ``scores``, ``reason``, ``reason_item`` and ``retrievers``, each [B, k], for ``users`` [B].

    The last of them may be missing: older exports do not have it.
    """
    [fewer] = outputs.get(FEWER, [""])
    brought = outputs.get("retrievers", np.zeros_like(outputs["reason"]))
    rows = zip(outputs["items"], outputs["scores"], outputs["reason"], outputs["reason_item"], brought, strict=True)
    return tuple(
        Recommendations(
            user,
            tuple(
                RecommendedItem(
                    metadata.item_id(item),
                    float(score),
                    Reason(int(reason)),
                    metadata.item_id(because) if because else None,
                    metadata.brought_by(int(bits)),
                )
                for item, score, reason, because, bits in zip(*row, strict=True)
                if item
            ),
            fewer,
        )
        for user, row in zip(users, rows, strict=True)
    )


def parse_scored_items(outputs: Mapping[str, npt.NDArray[Any]], metadata: Metadata) -> tuple[ScoredItem, ...]:
    """Read the first row of the outputs ``items`` and ``scores``, each [B, k]."""
    pairs = zip(outputs["items"][0], outputs["scores"][0], strict=True)
    return tuple(ScoredItem(metadata.item_id(item), float(score)) for item, score in pairs if item)


def parse_cart(outputs: Mapping[str, npt.NDArray[Any]], cart_items: Sequence[ShopId], metadata: Metadata) -> CartPrediction:
    """Read the outputs of the cart ensemble; ``line_probability`` [1, N] and ``cart_probability`` [1, 1] may be missing."""
    if "cart_probability" in outputs:
        probabilities = [_probability(value) for value in outputs["line_probability"][0][: len(cart_items)]]
        whole = _probability(outputs["cart_probability"][0, 0])
    else:
        probabilities, whole = [None] * len(cart_items), None
    lines = tuple(CartLine(item, probability) for item, probability in zip(cart_items, probabilities, strict=True))
    unavailable = "" if "cart_probability" in outputs else metadata.no_cart
    return CartPrediction(lines, whole, parse_scored_items(outputs, metadata), unavailable)


def _probability(value: np.floating[Any]) -> float | None:
    probability = float(value)
    return None if math.isnan(probability) else probability


def _id_type(name: str) -> IdType:
    if name == "string":
        return "string"
    if name == "int64":
        return "int64"
    raise ValueError(f"{name!r} is not an id type")
