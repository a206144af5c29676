"""The bodies of JSON over HTTP: what is asked, and what is answered."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal, Optional, Union

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from serving.client.answers import CartPrediction, Recommendations, ScoredItem
from serving.client.predictions import Prediction
from serving.contract.tensors import DEFAULT_K, HIGHEST_DIVERSITY
from serving.gateway.explain import Explanation
from serving.rules.rules import Rules

Id = Union[StrictStr, Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]]  # noqa: UP007  pydantic reads it on 3.10
Ids = Annotated[list[Id], Field(max_length=1_000_000)]
Number = Union[StrictInt, StrictFloat]  # noqa: UP007
ColumnValue = Union[StrictStr, Number, list[Id], list[Number], None]  # noqa: UP007


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RecommendBody(_Body):
    """Who is recommended to."""

    user_id: Optional[Id] = Field(None, description="null or unknown is a stranger, which is a normal request")  # noqa: UP045
    recent_items: Ids = Field([], description="of the running visit, the latest last; they add to what is stored")
    exclude: Ids = Field([], description="must not be answered")
    timestamp: Union[AwareDatetime, Literal["snapshot"], None] = Field(  # noqa: UP007
        None, description="when it is asked, with a time zone; null means now, 'snapshot' the instant of the export"
    )
    k: StrictInt = Field(DEFAULT_K, ge=1, description="how many items")
    diversity: Optional[Number] = Field(  # noqa: UP045
        None, ge=0, le=HIGHEST_DIVERSITY, description="score taken off for each better item of the same category"
    )
    ranked_only: StrictBool = Field(False, description="whether an answer of a lower rung is an error")
    rules: Optional[Rules] = Field(None, description="what may be answered and how it is arranged; tightens the shop's")  # noqa: UP045


class PlacementBody(_Body):
    """One list for a shopper."""

    item_id: Optional[Id] = Field(None, description="that `similar` and `bought_together` are about")  # noqa: UP045
    user_id: Optional[Id] = None  # noqa: UP045
    recent_items: Ids = Field([], description="of the running visit, the latest last")
    cart_items: Ids = Field([], description="what is in the cart")
    exclude: Ids = Field([])
    timestamp: Union[AwareDatetime, Literal["snapshot"], None] = None  # noqa: UP007
    k: StrictInt = Field(DEFAULT_K, ge=1)
    rules: Optional[Rules] = None  # noqa: UP045


class WishBody(_Body):
    """One list of a page."""

    placement: StrictStr = Field(description="one of those of `/v1/placements/{placement}`")
    item_id: Optional[Id] = None  # noqa: UP045
    k: StrictInt = Field(DEFAULT_K, ge=1)


class PageBody(_Body):
    """Lists for a shopper; what an earlier one holds, a later one does not."""

    sections: list[WishBody]
    user_id: Optional[Id] = None  # noqa: UP045
    recent_items: Ids = Field([])
    cart_items: Ids = Field([])
    exclude: Ids = Field([])
    timestamp: Union[AwareDatetime, Literal["snapshot"], None] = None  # noqa: UP007
    rules: Optional[Rules] = None  # noqa: UP045


class ExplainBody(_Body):
    """The question whose answer is explained, and the item."""

    item_id: Id = Field(description="the item")
    user_id: Optional[Id] = None  # noqa: UP045
    recent_items: Ids = Field([])
    exclude: Ids = Field([])
    timestamp: Union[AwareDatetime, Literal["snapshot"], None] = None  # noqa: UP007
    k: StrictInt = Field(DEFAULT_K, ge=1)
    rules: Optional[Rules] = None  # noqa: UP045


class CartBody(_Body):
    """A cart."""

    cart_items: Ids = Field(description="the lines; an empty cart is a normal request")
    user_id: Optional[Id] = Field(None, description="whose cart it is, if known")  # noqa: UP045
    recent_items: Ids = Field([], description="of the running visit, the latest last")
    timestamp: Union[AwareDatetime, Literal["snapshot"], None] = Field(None, description="when it is asked")  # noqa: UP007
    k: StrictInt = Field(DEFAULT_K, ge=1, description="how many items that complete it")


class SimilarItemsBody(_Body):
    """An item."""

    item_id: Id = Field(description="the item whose neighbours are wanted")
    user_id: Optional[Id] = Field(None, description="for whom what is left out of their recommendations is left out")  # noqa: UP045
    k: StrictInt = Field(DEFAULT_K, ge=1, description="how many items")


class PredictBody(_Body):
    """An entity, or columns, or both."""

    entity: Optional[Id] = Field(None, description="user or item id, of a session's task the user's; or null")  # noqa: UP045
    columns: dict[str, ColumnValue] = Field({}, description="raw columns that replace what is stored; null is not known")


class TrackBody(_Body):
    """What shoppers did, one event or many."""

    events: list[Any] = Field(
        max_length=10_000,
        description="Objects with user_id (or session_id), item_id, event_type, and where they are known event_id (the same id is the same"
        " event), timestamp (ISO 8601 or Unix microseconds; left out it is now), session_id, price, quantity, category and brand. An event"
        " that breaks a rule is refused by itself.",
        examples=[[{"event_id": "7f3a", "user_id": "anna", "item_id": "lamp", "event_type": "view", "price": 19.5}]],
    )


class LinkBody(_Body):
    """Who a visitor is; one of visitor_id and session_id names them."""

    user_id: Id
    visitor_id: Optional[Id] = Field(None, description="the user_id that their events had before the login")  # noqa: UP045
    session_id: Optional[Id] = Field(None, description="the visit of their events, where these had no user_id")  # noqa: UP045
    since: Optional[StrictInt] = Field(None, ge=0, le=2**62, description="Unix microseconds from which on; left out it is now")  # noqa: UP045


class LinksBody(_Body):
    """Links between visitors and users."""

    links: list[LinkBody] = Field(min_length=1, max_length=10_000)


class LinksAnswer(BaseModel):
    """What became of it: durable, and known to the next question."""

    accepted: int
    version: str
    request_id: str


class ItemStateBody(_Body):
    """The state of one item; what is left out stays as it was."""

    item_id: Id
    price: Optional[Number] = Field(None, ge=0, allow_inf_nan=False, description="what it costs now")  # noqa: UP045
    stock: Optional[Number] = Field(None, ge=0, allow_inf_nan=False, description="how many there are; 0 is none")  # noqa: UP045
    available: Optional[StrictBool] = Field(None, description="whether it can be had")  # noqa: UP045


class SetItemsBody(_Body):
    """What a shop sets of items."""

    items: list[ItemStateBody] = Field(min_length=1, max_length=10_000)


class SetItemsAnswer(BaseModel):
    """What became of it: durable, and known to the next question."""

    accepted: int
    unknown: list[str] = Field(description="accepted, but not in the catalogue of this export")
    version: str
    request_id: str


class Told(BaseModel):
    """What every answer says."""

    version: str = Field(description="of the export")
    request_id: str


class RecommendedAnswer(BaseModel):
    """One item of a recommendation."""

    item_id: Union[str, int]  # noqa: UP007
    score: float
    reason: Literal["popular", "recent_item", "taste", "pinned", "promoted"]
    because_of: Union[str, int, None]  # noqa: UP007
    why: str = Field(description="the reason in words that may be shown to a shopper")
    retrievers: list[str] = Field(description="which retrievers brought it: without one of these it would not have been ranked")


class PlacedAnswer(BaseModel):
    """An item of a list."""

    item_id: Union[str, int]  # noqa: UP007
    score: float
    reason: str = Field(description="the placement where nothing better is known")
    because_of: Union[str, int, None]  # noqa: UP007
    why: str


class SectionAnswer(BaseModel):
    """One list."""

    placement: str
    items: list[PlacedAnswer]
    fewer: str = Field(description="why there are fewer than k, in a sentence; else empty")


class PageAnswer(Told):
    """The lists, in their order."""

    sections: list[SectionAnswer]
    rung: str = Field(description="the lowest that answered; empty where nothing had to be asked")


class PlacementAnswer(Told):
    """One list."""

    placement: str
    items: list[PlacedAnswer]
    fewer: str
    rung: str


class ExplainAnswer(Told):
    """What becomes of an item."""

    outcome: Literal["answered", "unknown_item", "rule", "excluded", "cart", "left_out", "rank", "retrieval", "arrangement"]
    why: str = Field(description="in a sentence")
    change: str = Field(description="the least that would bring it in, in a sentence; empty where it is answered")
    rank: Optional[int] = Field(description="its place among all that may be answered, by score")  # noqa: UP045
    score: Optional[float]  # noqa: UP045
    needed_score: Optional[float] = Field(description="that of the last item that is answered")  # noqa: UP045
    violated: list[str] = Field(description="the rules that it violates")


class RecommendAnswer(Told):
    """The best items, the best first."""

    items: list[RecommendedAnswer]
    rung: Literal["ranked", "neighbours", "category", "popular"] = Field(description="what answered")
    fewer: str = Field(description="why fewer than k items are answered, in a sentence; else empty")


class ScoredAnswer(BaseModel):
    """An item and the score that orders it."""

    item_id: Union[str, int]  # noqa: UP007
    score: float


class CartLineAnswer(BaseModel):
    """A line and the chance that it is bought."""

    item_id: Union[str, int]  # noqa: UP007
    probability: Optional[float]  # noqa: UP045


class CartAnswer(Told):
    """What of a cart will be bought, and what completes it."""

    lines: list[CartLineAnswer]
    probability: Optional[float] = Field(description="that any line is bought; null where there is no cart model")  # noqa: UP045
    completions: list[ScoredAnswer]
    unavailable: str


class SimilarItemsAnswer(Told):
    """The nearest items, the nearest first."""

    items: list[ScoredAnswer]


class ReasonAnswer(BaseModel):
    """A column and how it moves the score."""

    column: str
    title: str
    contribution: float


class PredictAnswer(Told):
    """What is expected of an entity."""

    task: str
    entity: Union[str, int, None]  # noqa: UP007
    probability: Optional[float]  # noqa: UP045
    quantity: Optional[float]  # noqa: UP045
    score: float
    decision: Optional[bool]  # noqa: UP045
    threshold: Optional[float]  # noqa: UP045
    base_rate: float
    calibrated: bool
    known: Optional[bool]  # noqa: UP045
    reasons: list[ReasonAnswer]
    low: Optional[float]  # noqa: UP045
    high: Optional[float]  # noqa: UP045
    order: Optional[float]  # noqa: UP045
    effect: Optional[float]  # noqa: UP045


class RefusedEvent(BaseModel):
    """An event that was not taken, and lies among the dead letters."""

    index: int
    reason: str
    detail: str


class TrackAnswer(Told):
    """What became of the events; what was accepted is durable."""

    accepted: int
    duplicates: int = Field(description="were known already")
    refused: list[RefusedEvent]


class Refusal(BaseModel):
    """Why there is no answer."""

    error: str = Field(description="a sentence: which field, what is wrong, what to do")
    reason: str = Field(description="a word for programs")
    request_id: str


def recommended(answer: Recommendations) -> dict[str, Any]:
    """Return the items of an answer as JSON values."""
    return {
        "items": [
            {
                "item_id": item.item_id,
                "score": item.score,
                "reason": item.reason.name.lower(),
                "because_of": item.because_of,
                "why": item.sentence,
                "retrievers": list(item.retrievers),
            }
            for item in answer.items
        ],
        "fewer": answer.fewer,
    }


def explained(found: Explanation) -> dict[str, Any]:
    """Return an explanation as JSON values."""
    content = dataclasses.asdict(found)
    return {**content, "needed_score": content.pop("needed"), "violated": list(found.violated)}


def cart(answer: CartPrediction) -> dict[str, Any]:
    """Return a cart's answer as JSON values."""
    lines = [{"item_id": line.item_id, "probability": line.probability} for line in answer.lines]
    return {
        "lines": lines,
        "probability": answer.probability,
        "completions": scored(answer.completions),
        "unavailable": answer.unavailable,
    }


def scored(items: tuple[ScoredItem, ...]) -> list[dict[str, Any]]:
    """Return scored items as JSON values."""
    return [{"item_id": item.item_id, "score": item.score} for item in items]


def predicted(answer: Prediction) -> dict[str, Any]:
    """Return a prediction as JSON values."""
    return dataclasses.asdict(answer)
