"""Requests that no honest client sends, by hand and at random, and the statuses with which they may be answered."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from tritonclient.grpc import service_pb2

OK: Final = "OK"
REFUSED: Final = "INVALID_ARGUMENT"
MISSING: Final = "NOT_FOUND"
STATUSES: Final = frozenset({OK, REFUSED, MISSING, "UNIMPLEMENTED", "UNAVAILABLE", "RESOURCE_EXHAUSTED"})
"""With one of these any request is answered; UNAVAILABLE and RESOURCE_EXHAUSTED are a busy server's."""
_HUGE: Final = 2**62
_PACKING: Final = {"INT32": "<i", "INT64": "<q", "FP32": "<f"}


_NUMBERS: Final = {"timestamp": "INT64", "k": "INT32", "diversity": "FP32", "events_time": "INT64", "events_price": "FP32"}


@dataclass(frozen=True)
class Malformed:
    """One request.

    Attributes:
        name: what is wrong with it.
        message: the request.
        statuses: those that are right; OK where there is a sensible answer.
    """

    name: str
    message: Any
    statuses: frozenset[str] = frozenset({REFUSED})

    @property
    def payload(self) -> bytes:
        """The request as it goes over the wire."""
        return bytes(self.message.SerializeToString())


@dataclass(frozen=True)
class Given:
    """One input: its name, type, shape and raw bytes; None leaves the bytes out."""

    name: str
    datatype: str
    shape: Sequence[int]
    raw: bytes | None


def texts(*values: bytes) -> bytes:
    """Return strings in their wire form, 4 bytes of length before each."""
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def strings(name: str, *values: bytes, shape: Sequence[int] | None = None) -> Given:
    """Return an input of strings, one row unless a shape is given."""
    return Given(name, "BYTES", [1, len(values)] if shape is None else shape, texts(*values))


def scalar(name: str, datatype: str, value: float, shape: Sequence[int] = (1,)) -> Given:
    """Return an input of one number."""
    return Given(name, datatype, shape, struct.pack(_PACKING[datatype], value))


def instant(microseconds: int) -> Given:
    """Return the input ``timestamp``."""
    return scalar("timestamp", "INT64", microseconds, (1, 1))


def message(model: str, *inputs: Given, outputs: Sequence[str] = (), surplus: Sequence[bytes] = (), version: str = "") -> Any:
    """Return a request with raw contents."""
    made = service_pb2.ModelInferRequest(model_name=model, model_version=version)
    for given in inputs:
        made.inputs.add(name=given.name, datatype=given.datatype, shape=list(given.shape))
        if given.raw is not None:
            made.raw_input_contents.append(given.raw)
    for name in outputs:
        made.outputs.add(name=name)
    made.raw_input_contents.extend(surplus)
    return made


def cut_off(name: str = "user_id") -> Given:
    """Return an input whose last string is shorter than its length says."""
    return Given(name, "BYTES", [1, 1], b"\x05\x00\x00\x00u1")


def malformed(user: str, item: str, max_k: int) -> Iterator[Malformed]:
    """Yield requests that are wrong in one way each.

    Args:
        user: a known user.
        item: a known item.
        max_k: the most items that the server answers.
    """
    who, line = strings("user_id", user.encode()), strings("cart_items", item.encode())
    yield from _strings(who, line)
    yield from _shapes(who, item)
    yield from _numbers(who, line, max_k)
    yield from _forms(who, user)
    yield from _sizes(who, user)
    yield from _events(who, item)


def _strings(who: Given, line: Given) -> Iterator[Malformed]:
    answered = frozenset({OK})
    yield Malformed("a string cut off", message("recommend", cut_off()))
    yield Malformed(
        "a list cut off", message("recommend", who, Given("recent_items", "BYTES", [1, 2], texts(b"a") + b"\x09\0\0\0b"))
    )
    yield Malformed("a cart line cut off", message("cart", cut_off("cart_items")))
    yield Malformed("an item cut off", message("similar_items", cut_off("item_id")))
    yield Malformed("a length cut off", message("recommend", Given("user_id", "BYTES", [1, 1], b"\x05\x00")))
    yield Malformed("a negative length", message("recommend", Given("user_id", "BYTES", [1, 1], b"\xff\xff\xff\xffu1")))
    yield Malformed("a length of 2 GB", message("recommend", Given("user_id", "BYTES", [1, 1], b"\xff\xff\xff\x7fu1")))
    yield Malformed("too few strings", message("recommend", who, strings("exclude", b"a", shape=[1, 3])))
    yield Malformed("too many strings", message("recommend", strings("user_id", b"a", b"b", shape=[1, 1])))
    yield Malformed("no string", message("recommend", Given("user_id", "BYTES", [1, 1], b"")))
    yield Malformed("bytes that are no UTF-8", message("recommend", strings("user_id", b"\xff\xfe\x80")), answered)
    yield Malformed("a NUL in an id", message("cart", line, strings("user_id", b"u\0" + b"1" * 9)), answered)


def _shapes(who: Given, item: str) -> Iterator[Malformed]:
    answered = frozenset({OK})
    for shape in ([], [1], [1, 1, 1], [0, 1], [1, 0], [-1, 1], [_HUGE, 4], [1, _HUGE], [2, 1]):
        yield Malformed(f"user_id of shape {shape}", message("recommend", Given("user_id", "BYTES", shape, texts(b"a"))))
    for shape in ([0, 1], [_HUGE, _HUGE], [1, 2**40], [3]):
        yield Malformed(
            f"cart_items of shape {shape}", message("cart", Given("cart_items", "BYTES", shape, texts(item.encode())))
        )
    for model, name in (("cart", "cart_items"), ("recommend", "recent_items"), ("recommend", "exclude")):
        yield Malformed(f"{name} of shape [1, 0]", message(model, who, Given(name, "BYTES", [1, 0], b"")), answered)
    yield Malformed("rows that differ", message("recommend", who, strings("exclude", b"a", b"b", shape=[2, 1])))
    yield Malformed("k of two values", message("recommend", who, Given("k", "INT32", [2], struct.pack("<ii", 3, 3))))
    yield Malformed("k of none", message("recommend", who, Given("k", "INT32", [0], b"")))
    yield Malformed("a timestamp of 3 bytes", message("recommend", who, Given("timestamp", "INT64", [1, 1], b"abc")))


def _numbers(who: Given, line: Given, max_k: int) -> Iterator[Malformed]:
    for k in (0, -1, max_k + 1, 2**31 - 1, -(2**31)):
        yield Malformed(f"k = {k}", message("recommend", who, scalar("k", "INT32", k)))
        yield Malformed(f"k = {k} for a cart", message("cart", line, scalar("k", "INT32", k)))
    for value in (float("nan"), float("inf"), -float("inf"), -0.5, 3e38):
        yield Malformed(f"diversity = {value}", message("recommend", who, scalar("diversity", "FP32", value)))
    for value in (-(2**63), 2**63 - 1, -1, 1_700_000_000, 1_700_000_000_000_000_000):
        yield Malformed(f"timestamp = {value}", message("cart", line, instant(value)))


def _forms(who: Given, user: str) -> Iterator[Malformed]:
    answered, missing = frozenset({OK}), frozenset({MISSING})
    yield Malformed("surplus raw contents", message("recommend", who, instant(0), surplus=[b"xx"]), answered)
    yield Malformed("missing raw contents", message("recommend", who, Given("timestamp", "INT64", [1, 1], None)))
    both = message("recommend", who)
    both.inputs[0].contents.bytes_contents.append(user.encode())
    yield Malformed("raw and typed contents", both)
    typed = message("recommend", Given("user_id", "BYTES", [1, 1], None))
    typed.inputs[0].contents.int64_contents.append(3)
    yield Malformed("typed contents of another type", typed)
    yield Malformed("neither contents", message("recommend", Given("user_id", "BYTES", [1, 1], None)))
    yield Malformed("an unknown input", message("recommend", who, strings("nope", b"a")))
    yield Malformed("an input twice", message("recommend", who, who))
    yield Malformed("an unknown output", message("recommend", who, outputs=["nope"]))
    yield Malformed("another type", message("recommend", scalar("user_id", "INT64", 3, (1, 1))))
    yield Malformed("no type at all", message("recommend", Given("user_id", "WHAT", [1, 1], b"00")))
    yield Malformed("no input", message("recommend"), answered)
    yield Malformed("k alone", message("recommend", scalar("k", "INT32", 3)), answered)
    yield Malformed("no cart", message("cart", who), answered)
    yield Malformed("no item", message("similar_items", scalar("k", "INT32", 3)))
    yield Malformed("an unknown model", message("nope", who), missing)
    yield Malformed("no model", message("", who), missing)
    yield Malformed("an unknown version", message("recommend", who, version="7"), missing)
    yield Malformed("a version that is no number", message("recommend", who, version="x"))
    region = message("recommend", who)
    region.inputs[0].parameters["shared_memory_region"].string_param = "mine"
    region.inputs[0].parameters["shared_memory_byte_size"].int64_param = 6
    yield Malformed("an input in shared memory", region, missing | {REFUSED})
    reserved = message("recommend", who)
    reserved.parameters["triton_x"].string_param = "1"
    yield Malformed("a reserved parameter", reserved)
    yield Malformed("a step by itself", message("recommend_score", who), missing | {REFUSED})  # missing, behind the gateway


def _events(who: Given, item: str) -> Iterator[Malformed]:
    """What the shopper did, as four tensors that must agree with one another."""
    answered, looked, long_ago = frozenset({OK}), strings("events_item", item.encode()), 1_500_000_000_000_000
    for model, more in (("recommend", [who]), ("cart", [who, strings("cart_items", item.encode())])):
        for name in ("events_item", "events_type"):
            cut = [cut_off(name)] if name == "events_item" else [looked, cut_off(name)]
            yield Malformed(f"{name} of a {model} cut off", message(model, *more, *cut))
        empty = [Given("events_item", "BYTES", [1, 0], b""), Given("events_time", "INT64", [1, 0], b"")]
        yield Malformed(f"no event of a {model}", message(model, *more, *empty), answered)
        wide = Given("events_item", "BYTES", [1, 100_000], texts(b"1") * 100_000)
        yield Malformed(f"100,000 events of a {model}", message(model, *more, wide))
    for given in (
        strings("events_type", b"view", b"view"),
        Given("events_time", "INT64", [1, 2], struct.pack("<qq", long_ago, long_ago)),
        Given("events_price", "FP32", [1, 3], struct.pack("<fff", 1, 2, 3)),
    ):
        yield Malformed(f"{given.name} wider than events_item", message("recommend", who, looked, given))
        yield Malformed(f"{given.name} without events_item", message("recommend", who, given))
    for value in (-(2**63), -1, 1, 1_700_000_000, 2**63 - 1):
        yield Malformed(
            f"events_time = {value}", message("recommend", who, looked, scalar("events_time", "INT64", value, (1, 1)))
        )
    for price in (float("nan"), float("inf"), -float("inf"), -5.0, 3e38):
        made = message("recommend", who, looked, scalar("events_price", "FP32", price, (1, 1)))
        yield Malformed(f"events_price = {price}", made, answered if price != price else frozenset({REFUSED}))
    yield Malformed("an event of an unknown type", message("recommend", who, looked, strings("events_type", b"nope")), answered)
    yield Malformed("an event of no item", message("recommend", who, strings("events_item", b"nope", b""), instant(0)), answered)
    yield Malformed("events of two rows for one", message("recommend", who, strings("events_item", b"1", b"2", shape=[2, 1])))
    yield Malformed("prices of a wrong type", message("recommend", who, looked, scalar("events_price", "INT64", 3, (1, 1))))
    yield Malformed("an event time of 3 bytes", message("recommend", who, looked, Given("events_time", "INT64", [1, 1], b"abc")))


def _sizes(who: Given, user: str) -> Iterator[Malformed]:
    wide = {"cart_items": 100_000, "recent_items": 100_000, "exclude": 200_000}
    for name, width in wide.items():
        model = "cart" if name == "cart_items" else "recommend"
        given = Given(name, "BYTES", [1, width], texts(b"1") * width)
        yield Malformed(f"{name} of {width:,}", message(model, who, given))
    rows = 10_000
    yield Malformed(f"{rows:,} rows", message("recommend", Given("user_id", "BYTES", [rows, 1], texts(user.encode()) * rows)))
    yield Malformed("an id of 8 MB", message("recommend", strings("user_id", b"x" * 2**23)))
    vast = message("cart", Given("cart_items", "BYTES", [64, 100_000], texts(b"") * 6_400_000))
    yield Malformed("64 carts of 100,000", vast, frozenset({REFUSED, "RESOURCE_EXHAUSTED"}))  # the gateway reads no such message


def random_request(rng: np.random.Generator, user: str, item: str) -> Malformed:
    """Draw a request in which anything may be wrong; any of ``STATUSES`` is right."""
    model = str(rng.choice(["recommend", "cart", "similar_items", "read_request", "recommend_score"]))
    names = ["user_id", "recent_items", "exclude", "cart_items", "item_id", "timestamp", "k", "diversity"]
    names += ["events_item", "events_type", "events_time", "events_price"]
    chosen = rng.choice(names, size=int(rng.integers(0, 7)), replace=bool(rng.random() < 0.1))
    made = message(model, *(_drawn(rng, str(name), user, item) for name in chosen))
    if rng.random() < 0.1:
        made.outputs.add(name=str(rng.choice(["items", "scores", "nope"])))
    if rng.random() < 0.1:
        made.raw_input_contents.append(rng.bytes(int(rng.integers(0, 9))))
    return Malformed("at random", made, STATUSES)


def _drawn(rng: np.random.Generator, name: str, user: str, item: str) -> Given:
    if name in _NUMBERS:
        datatype = _NUMBERS[name]
        size = struct.calcsize(_PACKING[datatype])
        shape = [1] if name in ("k", "diversity") else [1, 1]
        raw = bytes(size) if rng.random() < 0.3 else rng.bytes(size)
        return Given(name, datatype, shape, raw if rng.random() < 0.9 else raw + b"x")
    shape = [int(size) for size in rng.choice([0, 1, 1, 1, 2, 3, 65], size=2)] if rng.random() < 0.9 else [1]
    count = int(np.prod(shape)) + int(rng.random() < 0.1)
    known = [user.encode(), item.encode(), b"view", b"", b"\xff", b"x" * 300]
    raw = texts(*(known[place] for place in rng.integers(0, len(known), count)))
    cut = int(rng.integers(1, 6)) if rng.random() < 0.2 else 0
    return Given(name, "BYTES" if rng.random() < 0.95 else "INT64", shape, raw[: len(raw) - cut])
