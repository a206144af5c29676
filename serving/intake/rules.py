"""The rules that a tracked event must keep: those of ``workflows.events.rules``, for one event, without Polars.

``tests/serving/intake`` holds the two to one another. What differs is said by a field's type: a number is a number or plain decimal text,
and a time that is left out is now.
"""

from __future__ import annotations

import hashlib
import math
import re
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from serving.contract.tensors import EARLIEST_TIMESTAMP, LATEST_TIMESTAMP
from serving.store.event import FIELDS, Tracked
from workflows.events.blanks import BLANKS
from workflows.events.kinds import REFUND
from workflows.events.reasons import (
    BAD_PRICE,
    BAD_QUANTITY,
    FUTURE_TIME,
    MISSING_ITEM,
    MISSING_USER,
    NEGATIVE_PRICE,
    NON_FINITE_PRICE,
    UNKNOWN_TYPE,
    UNPARSEABLE_TIME,
)
from workflows.settings import NULL_VALUES

NOT_AN_OBJECT: Final = "not an event"
UNKNOWN_FIELD: Final = "unknown field"
TOO_LONG: Final = "too long"
LONGEST: Final = 1024
"""Characters that a text may have."""
AHEAD_US: Final = 5_000_000
"""So far ahead may the clock be by which a caller gives a time."""
KNOWN: Final = frozenset({*FIELDS, "timestamp"} - {"time_us"})
"""Fields of an event as it comes in."""
_BITS: Final = 1000
"""Of a whole number; more would be no float."""
_WHOLE_FLOAT: Final = re.compile(r"(0|-?[1-9]\d*)\.0+")
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.IGNORECASE)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NULLS: Final = frozenset(NULL_VALUES)


@dataclass(frozen=True)
class Refused:
    """Why an event is not taken.

    Attributes:
        reason: as ``workflows.events.reasons`` has it.
        detail: what was found and what is expected, in a sentence.
    """

    reason: str
    detail: str


def checked(raw: Any, now_us: int, types: Collection[str]) -> Tracked | Refused:
    """Check one event.

    Args:
        raw: a mapping of the fields of ``KNOWN``; ``timestamp`` is Unix microseconds or ISO 8601, in UTC where it names no zone.
        now_us: the time, Unix microseconds, which an event has that gives none.
        types: the event types that are known.
    """
    fault = _shape(raw)
    if fault:
        return fault
    text = {name: _name(raw.get(name)) for name in ("user_id", "item_id", "session_id", "category", "brand")}
    kind, time_us = _bare(raw.get("event_type")), _instant(raw.get("timestamp"), now_us)
    price, quantity = _number(raw.get("price")), _number(raw.get("quantity"))
    if kind == REFUND and isinstance(quantity, float):
        quantity = abs(quantity)
    fault = _first_fault(text, raw, kind, time_us, price, quantity, now_us, types)
    if fault:
        return fault
    assert text["item_id"] is not None
    assert kind is not None
    assert time_us is not None
    assert not isinstance(price, str)
    assert not isinstance(quantity, str)
    said = _bare(raw.get("timestamp")) is not None
    known_by = _bare(raw.get("event_id")) or _made_id(
        text["user_id"], text["item_id"], kind, time_us, text["session_id"], said=said
    )
    return Tracked(
        known_by,
        text["user_id"],
        text["item_id"],
        kind,
        time_us,
        text["session_id"],
        text["category"],
        text["brand"],
        price,
        quantity,
    )


def _shape(raw: Any) -> Refused | None:
    if not isinstance(raw, Mapping):
        return Refused(NOT_AN_OBJECT, f"An event is an object with fields, not {type(raw).__name__}.")
    unknown = sorted(str(name) for name in raw.keys() - KNOWN)
    if unknown:
        return Refused(UNKNOWN_FIELD, f"There is no field {unknown[0][:100]!r}; fields are {', '.join(sorted(KNOWN))}.")
    for name, value in raw.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, (str, int, float))):
            return Refused(NOT_AN_OBJECT, f"{name} is of the type {type(value).__name__}; give a text or a number.")
        if isinstance(value, int) and value.bit_length() > _BITS:
            return Refused(TOO_LONG, f"{name} is a number of more than 300 digits.")
        if isinstance(value, str) and len(value) > LONGEST:
            return Refused(TOO_LONG, f"{name} has {len(value):,} characters; at most {LONGEST:,} are taken.")
        if isinstance(value, str) and not value.isascii() and any(0xD800 <= ord(letter) <= 0xDFFF for letter in value):
            return Refused(NOT_AN_OBJECT, f"{name} is not valid text; give UTF-8.")
    return None


def _first_fault(
    text: Mapping[str, str | None],
    raw: Mapping[str, Any],
    kind: str | None,
    time_us: int | None,
    price: float | str | None,
    quantity: float | str | None,
    now_us: int,
    types: Collection[str],
) -> Refused | None:
    rules = (
        (
            text["user_id"] is None and text["session_id"] is None,
            MISSING_USER,
            "give user_id, or session_id of an anonymous visit",
        ),
        (text["item_id"] is None, MISSING_ITEM, "give item_id"),
        (time_us is None, UNPARSEABLE_TIME, f"timestamp is {raw.get('timestamp')!r}; give Unix microseconds or ISO 8601"),
        (
            time_us is not None and time_us > now_us + AHEAD_US,
            FUTURE_TIME,
            f"timestamp is {raw.get('timestamp')!r}; leave it out for now",
        ),
        (
            kind not in types,
            UNKNOWN_TYPE,
            f"event_type is {kind!r}; known are {', '.join(sorted(types))} (serve.extra_types adds others)",
        ),
        (isinstance(price, str), BAD_PRICE, f"price is {price!r}; give a number"),
        (_infinite(price), NON_FINITE_PRICE, f"price is {price!r}; give a finite number"),
        (isinstance(price, float) and price < 0, NEGATIVE_PRICE, f"price is {price!r}; give a number of at least 0"),
        (quantity is not None and not _positive(quantity), BAD_QUANTITY, f"quantity is {quantity!r}; give a number above 0"),
    )
    found = next(((reason, detail) for broken, reason, detail in rules if broken), None)
    return Refused(found[0], f"{found[1]}.") if found else None


def _infinite(value: float | str | None) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _positive(value: float | str) -> bool:
    return isinstance(value, float) and math.isfinite(value) and value > 0


def _bare(value: Any) -> str | None:
    """Return a cell without outer blanks, None where it means that nothing is known; see ``workflows.events.tidy``."""
    if value is None:
        return None
    text = str(value).strip(BLANKS)
    return None if not text or text in _NULLS else text


def _name(value: Any) -> str | None:
    text = _bare(value)
    whole = None if text is None else _WHOLE_FLOAT.fullmatch(text)
    return whole[1] if whole else text


def _number(value: Any) -> float | str | None:
    """Return the number, or the text that is none."""
    if isinstance(value, (int, float)):
        return float(value)
    text = _bare(value)
    return text if text is None or not _NUMBER.fullmatch(text) else float(text)


def _instant(value: Any, now_us: int) -> int | None:
    """Return Unix microseconds, None where no instant is named."""
    if isinstance(value, (int, float)):
        whole = int(value) if math.isfinite(value) else 0
        return whole if EARLIEST_TIMESTAMP <= whole < LATEST_TIMESTAMP else None
    text = _bare(value)
    if text is None:
        return now_us
    if text.isdigit():
        return _instant(int(text), now_us)
    try:
        when = datetime.fromisoformat(f"{text[:-1]}+00:00" if text[-1] in "zZ" else text)
        since = (when if when.tzinfo else when.replace(tzinfo=timezone.utc)) - _EPOCH
    except (ValueError, OverflowError):
        return None
    return since // timedelta(microseconds=1)


def _made_id(*parts: str | int | None, said: bool) -> str:
    """Return the id of an event that bears none: of one that says when it was, what ``prepare`` takes for one event told twice."""
    return hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()[:32] if said else uuid.uuid4().hex
