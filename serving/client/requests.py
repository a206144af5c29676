"""Requests of a client, validated and converted to tensors before anything is sent."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput

from cartwheel.core.errors import UsageError
from serving.client.answers import (
    CartPrediction,
    Metadata,
    Recommendations,
    ScoredItem,
    ShopId,
    parse_cart,
    parse_recommendations,
    parse_scored_items,
)
from serving.contract.limits import Limits
from serving.contract.tensors import HIGHEST_DIVERSITY, HIGHEST_PRICE
from serving.rules.rules import Rules

When: TypeAlias = datetime | Literal["snapshot"] | None
"""When it is asked: an instant with a time zone, ``"snapshot"`` for the instant of the exported state, or None for now."""

Outputs: TypeAlias = Mapping[str, npt.NDArray[Any]]
Answer = TypeVar("Answer")

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Happened:
    """One thing that a visitor did since the exported state, as :class:`RecommendRequest` gives it.

    Attributes:
        item_id: the item.
        event_type: such as ``view`` or ``purchase``; empty means the type of a recent item.
        timestamp: when; None means just before the request.
        price: the price that was shown or paid; None means what the exported state knows of the item.
    """

    item_id: ShopId
    event_type: str = ""
    timestamp: datetime | None = None
    price: float | None = None


@dataclass(frozen=True)
class RecommendRequest:
    """One visitor to recommend to.

    Attributes:
        user_id: the user; None or unknown is a stranger, which is a normal request.
        recent_items: items of the running visit since the exported state, the latest last; they add to the stored ones.
        exclude: items that must not be answered.
        timestamp: when it is asked.
        events: what the visitor did since the exported state, in the order in which it happened; it adds to what is stored.
    """

    user_id: ShopId | None = None
    recent_items: Sequence[ShopId] = ()
    exclude: Sequence[ShopId] = ()
    timestamp: When = None
    events: Sequence[Happened] = ()


@dataclass(frozen=True)
class Question(Generic[Answer]):
    """One request that is ready to be sent, and how to read its answer.

    Attributes:
        ensemble: the ensemble that answers.
        inputs: its tensors.
        parse: reads the output tensors.
    """

    ensemble: str
    inputs: list[InferInput]
    parse: Callable[[Outputs], Answer]


def ask_recommend(
    requests: Sequence[RecommendRequest],
    k: int,
    diversity: float | None,
    metadata: Metadata,
    rules: Rules | None = None,
) -> Question[tuple[Recommendations, ...]]:
    """Ask for the best items of several visitors at once.

    Args:
        requests: the visitors, at least one.
        k: how many items each.
        diversity: score taken off for each better item of the same category; None means the exported setting.
        metadata: what the server says about its run.
        rules: what may be answered and how it is arranged, which a gateway reads; Triton alone refuses it.

    Raises:
        UsageError: if a value cannot be honoured, naming it.
    """
    if not requests:
        raise UsageError("requests is empty.", "Pass at least one RecommendRequest.")
    limits = metadata.limits
    if limits is not None and len(requests) > limits.rows:
        raise UsageError(
            f"requests holds {len(requests):,} shoppers; this server answers at most {limits.rows:,} at once.",
            "Split the request; `max_rows` under [serve] sets how many.",
        )
    who = [_one("user_id", request.user_id) for request in requests]
    recent_items = [_many("recent_items", request.recent_items, limits) for request in requests]
    exclude = [_many("exclude", request.exclude, limits) for request in requests]
    check_size(limits, who, recent_items, exclude)
    inputs = [
        id_tensor("user_id", who),
        *_optional_ids("recent_items", recent_items),
        *_optional_ids("exclude", exclude),
        *_events([request.events for request in requests], limits),
        _timestamps([request.timestamp for request in requests]),
        _k(k, metadata),
    ]
    if diversity is not None:
        inputs.append(tensor("diversity", "FP32", np.array([_diversity(diversity)], dtype=np.float32)))
    if rules is not None:
        written = rules.model_dump_json(exclude_defaults=True).encode()
        inputs.append(tensor("rules", "BYTES", np.array([written], dtype=np.object_)))
    users = [request.user_id for request in requests]
    return Question("recommend", inputs, lambda outputs: parse_recommendations(outputs, users, metadata))


def ask_cart(
    cart_items: Sequence[ShopId],
    user_id: ShopId | None,
    recent_items: Sequence[ShopId],
    k: int,
    timestamp: When,
    metadata: Metadata,
    events: Sequence[Happened] = (),
) -> Question[CartPrediction]:
    """Ask what of a cart will be bought, and what completes it.

    A line is an item, however often it is told: the models learnt so, and a repeated line is sent once, where it stands last.

    Raises:
        UsageError: if a value cannot be honoured, naming it.
    """
    lines = _many("cart_items", cart_items, metadata.limits)
    for place, line in enumerate(lines):
        if not line:
            raise UsageError(f"cart_items[{place}] is empty.", "Pass the item id of each line.")
    distinct = list(dict.fromkeys(reversed(lines)))[::-1]
    who, recents = [_one("user_id", user_id)], [_many("recent_items", recent_items, metadata.limits)]
    check_size(metadata.limits, who, recents, [distinct])
    inputs = [
        *_optional_ids("user_id", who),
        *_optional_ids("recent_items", recents),
        id_tensor("cart_items", [distinct or [b""]]),
        *_events([events], metadata.limits),
        _timestamps([timestamp]),
        _k(k, metadata),
    ]
    asked, columns = tuple(cart_items), [distinct.index(line) for line in lines]

    def parse(outputs: Outputs) -> CartPrediction:
        probabilities = {name: outputs[name][:, columns] for name in ("line_probability",) if name in outputs}
        return parse_cart({**outputs, **probabilities}, asked, metadata)

    return Question("cart", inputs, parse)


def ask_similar_items(
    item_id: ShopId, k: int, metadata: Metadata, user_id: ShopId | None = None
) -> Question[tuple[ScoredItem, ...]]:
    """Ask for the nearest items of an item.

    Args:
        item_id: the item.
        k: how many items.
        metadata: what the server says about its run.
        user_id: for whom what is left out of their recommendations is left out, which a gateway reads; Triton alone refuses it.

    Raises:
        UsageError: if a value cannot be honoured, naming it.
    """
    item = _one("item_id", item_id)
    if not item[0]:
        raise UsageError("item_id is empty.", "Pass the id of the item whose neighbours are wanted.")
    inputs = [id_tensor("item_id", [item]), *_optional_ids("user_id", [_one("user_id", user_id)]), _k(k, metadata)]
    return Question("similar_items", inputs, lambda outputs: parse_scored_items(outputs, metadata))


def _events(rows: Sequence[Sequence[Happened]], limits: Limits | None) -> list[InferInput]:
    """Return the tensors of events, or none where there is none."""
    if not any(rows):
        return []
    width = max(map(len, rows))
    most = None if limits is None else limits.widths.get("events")
    if most is not None and width > most:
        raise UsageError(
            f"events holds {width:,} events; this server reads at most {most:,}.",
            "Give the latest; `max_events` under [serve] sets how many.",
        )
    items = [[encoded("events.item_id", event.item_id, place) for place, event in enumerate(row)] for row in rows]
    kinds = [[encoded("events.event_type", event.event_type, place) for place, event in enumerate(row)] for row in rows]
    times, prices = np.zeros((len(rows), width), np.int64), np.full((len(rows), width), np.nan, np.float32)
    for number, row in enumerate(rows):
        for place, event in enumerate(row):
            times[number, place] = 0 if event.timestamp is None else _microseconds(event.timestamp)
            prices[number, place] = np.nan if event.price is None else _price(event.price, place)
    return [
        id_tensor("events_item", items),
        id_tensor("events_type", kinds),
        tensor("events_time", "INT64", times),
        tensor("events_price", "FP32", prices),
    ]


def _price(value: float, place: int) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value <= HIGHEST_PRICE:
        raise UsageError(f"events[{place}].price is {value!r}; expected a number of at least 0, or None.", "Give the price paid.")
    return float(value)


def _k(k: int, metadata: Metadata) -> InferInput:
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
        raise UsageError(f"k is {k!r}; expected a whole number.", f"Ask for 1 to {metadata.max_k} items.")
    if not 1 <= k <= metadata.max_k:
        raise UsageError(
            f"k is {k}; this server answers 1 to {metadata.max_k} items.",
            "Ask for a k within that range; a larger one needs `max_k` under [export] and a new export.",
        )
    return tensor("k", "INT32", np.array([k], dtype=np.int32))


def _diversity(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value <= HIGHEST_DIVERSITY:
        raise UsageError(
            f"diversity is {value!r}; expected a number of at least 0 and at most {HIGHEST_DIVERSITY:,.0f}.",
            "0 ranks by score alone.",
        )
    return float(value)


def _timestamps(instants: Sequence[When]) -> InferInput:
    now = datetime.now(timezone.utc)
    values = [_microseconds(now if instant is None else instant) for instant in instants]
    return tensor("timestamp", "INT64", np.array(values, dtype=np.int64).reshape(-1, 1))


def _microseconds(instant: datetime | Literal["snapshot"]) -> int:
    if instant == "snapshot":
        return 0
    if not isinstance(instant, datetime):
        raise UsageError(
            f"timestamp is {instant!r}; expected a datetime, None for now, or 'snapshot'.",
            "Pass for example datetime.now(timezone.utc).",
        )
    if instant.tzinfo is None:
        raise UsageError(
            f"timestamp is {instant.isoformat()}, which has no time zone.", "Pass for example datetime.now(timezone.utc)."
        )
    return (instant - _EPOCH) // _MICROSECOND


def _one(name: str, value: ShopId | None) -> list[bytes]:
    return [b""] if value is None else [encoded(name, value)]


def _many(name: str, values: Iterable[ShopId], limits: Limits | None) -> list[bytes]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise UsageError(f"{name} is {values!r}; expected a list of item ids.", f"Pass [{values!r}] for a single item.")
    values = values if isinstance(values, Sequence) else list(values)
    if limits is not None and len(values) > limits.widths[name]:
        raise UsageError(
            f"{name} holds {len(values):,} items; this server reads at most {limits.widths[name]:,}.",
            f"Give fewer; `max_{name}` under [serve] sets how many.",
        )
    return [encoded(name, value, place) for place, value in enumerate(values)]


def check_size(limits: Limits | None, *tensors: Sequence[list[bytes]]) -> None:
    """Check how many bytes the tensors are, each row filled up to the widest and each id behind 4 bytes of its length."""
    size = sum(4 * len(rows) * max(map(len, rows)) + sum(len(value) for row in rows for value in row) for rows in tensors)
    if limits is not None and size > limits.message_bytes:
        raise UsageError(
            f"The request holds {size:,} bytes; this server reads at most {limits.message_bytes:,}.",
            "Split the request or use fewer items; `max_message_bytes` under [serve] sets how many.",
        )


def encoded(name: str, value: object, place: int | None = None) -> bytes:
    """Return an id or a text as it goes over the wire.

    Raises:
        UsageError: if it is neither a text nor a whole number.
    """
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{_field(name, place)} is {value!r}, which is not valid text.", "Decode it as UTF-8.") from error
    if not isinstance(value, bool):
        try:
            return b"%d" % operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            pass
    raise UsageError(
        f"{_field(name, place)} is {value!r}, a {type(value).__name__}; expected a string or a whole number.",
        "Pass the id as the shop's event log writes it.",
    )


def _field(name: str, place: int | None) -> str:
    return name if place is None else f"{name}[{place}]"


def _optional_ids(name: str, rows: Sequence[list[bytes]]) -> list[InferInput]:
    """Return the tensor, or nothing where every row is empty, since an absent input is the shortest way to say so."""
    return [id_tensor(name, rows)] if any(map(any, rows)) else []


def id_tensor(name: str, rows: Sequence[list[bytes]]) -> InferInput:
    """Return a BYTES tensor [B, widest row], the shorter rows filled with empty ids, which mean absent."""
    width = max(map(len, rows))
    array = np.full((len(rows), width), b"", dtype=np.object_)
    for place, row in enumerate(rows):
        array[place, : len(row)] = row
    return tensor(name, "BYTES", array)


def tensor(name: str, kind: str, array: npt.NDArray[Any]) -> InferInput:
    """Return an input of a request."""
    made = InferInput(name, list(array.shape), kind)
    made.set_data_from_numpy(array)
    return made
