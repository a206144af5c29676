"""A closed-loop load over gRPC that costs little itself: requests are serialised before the clock starts, answers stay bytes.

Client and servers share the cores of the machine, so every cycle of the client is taken from the server that is measured;
:attr:`Measured.client_share` says how many that were.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2

from cartwheel.core.errors import ServerError

_METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
_ASK_SECONDS: Final = 120.0
_SEE_LOG: Final = "See the server's log."
_PAUSE_SECONDS: Final = 0.05
REFUSED: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED})
"""How a server answers that has more to do than it can; anything else that is not an answer is an error."""


@dataclass(frozen=True)
class Request:
    """One question to ``recommend``.

    Attributes:
        user_id: "" is an anonymous visitor.
        recent_items: the latest last; empty means those that the snapshot stores.
        exclude: items that must not be answered.
        timestamp: Unix microseconds.
    """

    user_id: str
    recent_items: Sequence[str] = ()
    exclude: Sequence[str] = ()
    timestamp: int = 0

    def serialised(self, model: str) -> bytes:
        """Return the request as it goes over the wire; all outputs of ``model`` are asked for, and its default k."""
        message = service_pb2.ModelInferRequest(model_name=model)
        _add_texts(message, "user_id", [self.user_id])
        for name in ("recent_items", "exclude"):
            # An empty list goes as one "", for Triton answers together only requests that give the same inputs.
            _add_texts(message, name, getattr(self, name) or [""])
        message.inputs.add(name="timestamp", datatype="INT64", shape=[1, 1])
        message.raw_input_contents.append(struct.pack("<q", self.timestamp))
        return bytes(message.SerializeToString())


@dataclass(frozen=True)
class Answer:
    """The answer to one question: ``items`` and ``scores``, the best first."""

    items: Sequence[str]
    scores: npt.NDArray[np.float32]

    @classmethod
    def parsed(cls, raw: bytes) -> Answer:
        """Read a serialised answer."""
        message = service_pb2.ModelInferResponse.FromString(raw)
        contents = dict(zip((output.name for output in message.outputs), message.raw_output_contents, strict=True))
        return cls(_texts(contents["items"]), np.frombuffer(contents["scores"], np.float32))


@dataclass
class Measured:
    """What one load measured.

    Attributes:
        milliseconds: latency of each request that was answered.
        refused: how many requests were refused, or not answered in time.
        seconds: how long the load lasted.
        client_share: share of one core that the client itself took.
    """

    milliseconds: list[float] = field(default_factory=list)
    refused: int = 0
    seconds: float = 0.0
    client_share: float = 0.0

    @property
    def throughput(self) -> float:
        """Answered requests a second."""
        return len(self.milliseconds) / self.seconds

    def percentile(self, share: float) -> float:
        """Return a percentile of the latency in milliseconds, NaN where no request was answered."""
        return float(np.percentile(self.milliseconds, share)) if self.milliseconds else float("nan")


def ask(address: str, payloads: Sequence[bytes]) -> list[Answer]:
    """Ask one question after the other and read the answers; what a busy server refuses is asked again.

    Raises:
        ServerError: if a question is refused for two minutes, or ends with any other status.
    """
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(_METHOD)
        return [Answer.parsed(_answered(call, payload, address)) for payload in payloads]


def _answered(call: Any, payload: bytes, address: str) -> bytes:
    deadline = time.monotonic() + _ASK_SECONDS
    while True:
        try:
            return bytes(call(payload, timeout=_ASK_SECONDS))
        except grpc.RpcError as error:
            require_refusal(error, address)
            if time.monotonic() > deadline:
                raise ServerError(
                    f"{address} refused one question for {_ASK_SECONDS:g} s, at last with: {error.details()}",
                    _SEE_LOG,  # type: ignore[attr-defined]
                ) from error
        time.sleep(_PAUSE_SECONDS)


def require_refusal(error: Any, address: str) -> None:
    """Check that a request ended as those of a busy server do.

    Raises:
        ServerError: if it ended with another status.
    """
    if error.code() not in REFUSED:
        raise ServerError(f"{address} answered {error.code().name}: {error.details()}", _SEE_LOG) from error


def measure(address: str, payloads: Sequence[bytes], concurrency: int, seconds: float, warm_up: float) -> Measured:
    """Keep ``concurrency`` requests under way, each followed at once by the next.

    Args:
        address: ``host:port`` of the server.
        payloads: serialised requests, asked in turn and again from the start.
        concurrency: how many are under way at any time.
        seconds: how long is measured.
        warm_up: how long the same load runs before that, unmeasured.

    Raises:
        ServerError: if a request ends with a status that is none of ``REFUSED``.
    """
    return asyncio.run(_measure(address, payloads, concurrency, seconds, warm_up))


async def _measure(address: str, payloads: Sequence[bytes], concurrency: int, seconds: float, warm_up: float) -> Measured:
    turn = itertools.cycle(payloads)
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(_METHOD)
        await _load(call, turn, concurrency, warm_up, address)
        spent = time.process_time()
        measured = await _load(call, turn, concurrency, seconds, address)
        measured.client_share = (time.process_time() - spent) / measured.seconds
        return measured


async def _load(call: Any, turn: Iterator[bytes], concurrency: int, seconds: float, address: str) -> Measured:
    measured = Measured()
    started = time.perf_counter()
    deadline = started + seconds

    async def visitor() -> None:
        while (asked := time.perf_counter()) < deadline:
            try:
                await call(next(turn), timeout=_ASK_SECONDS)
            except grpc.aio.AioRpcError as error:
                require_refusal(error, address)
                measured.refused += 1
                await asyncio.sleep(_PAUSE_SECONDS)  # a server that is not there refuses at once
                continue
            answered = time.perf_counter()
            measured.milliseconds.append((answered - asked) * 1e3)

    await asyncio.gather(*(visitor() for _ in range(concurrency)))
    measured.seconds = time.perf_counter() - started
    return measured


def mixed_requests(users: Sequence[str], items: Sequence[str], as_of: int, count: int, seed: int) -> list[Request]:
    """Draw the questions of a shop's day.

    Half are known users of whom nothing new is known, a quarter known users in a running visit, an eighth strangers in a visit,
    an eighth anonymous visitors; every fourth visit excludes some items. All are asked within a day after the snapshot.

    Args:
        users: known user ids.
        items: known item ids.
        as_of: instant of the snapshot, Unix microseconds.
        count: how many questions.
        seed: fixes them.
    """
    rng = np.random.default_rng(seed)
    requests = []
    for number in range(count):
        kind = number % 8
        recent = [str(item) for item in rng.choice(items, size=int(rng.integers(1, 9)))] if 4 <= kind < 7 else []
        user = str(rng.choice(users)) if kind < 6 else (f"stranger-{number}" if kind == 6 else "")
        exclude = [str(item) for item in rng.choice(items, size=int(rng.integers(1, 21)))] if number % 4 == 0 else []
        requests.append(Request(user, recent, exclude, as_of + int(rng.integers(0, 86_400_000_000))))
    return requests


def compare(ours: Sequence[Answer], peers: Sequence[Answer], tolerance: float) -> tuple[float, str]:
    """Compare answers to the same questions.

    Two items may change places only where their scores lie within ``tolerance``.

    Args:
        ours: one system's answers.
        peers: the other's.
        tolerance: largest difference of two scores.

    Returns:
        The largest difference of the scores of one place, and the first disagreement in a sentence ("" where there is none).
    """
    largest = 0.0
    for number, (one, other) in enumerate(zip(ours, peers, strict=True)):
        if len(one.items) != len(other.items):
            return largest, f"question {number}: {len(one.items)} items against {len(other.items)}"
        with np.errstate(invalid="ignore"):
            apart = np.where(one.scores == other.scores, 0.0, np.abs(one.scores - other.scores))
        largest = max(largest, float(np.max(apart)))
        if not largest <= tolerance:
            place = int(np.argmax(apart))
            return largest, f"question {number}, place {place}: score {one.scores[place]} against {other.scores[place]}"
        scores: Mapping[str, float] = dict(zip(other.items, other.scores, strict=True))
        for place, (item, score) in enumerate(zip(one.items, one.scores, strict=True)):
            if item != other.items[place] and not abs(scores.get(item, other.scores[-1]) - score) <= tolerance:
                return largest, f"question {number}, place {place}: item {item} against {other.items[place]}"
    return largest, ""


def _add_texts(message: Any, name: str, texts: Sequence[str]) -> None:
    encoded = [text.encode() for text in texts]
    message.inputs.add(name=name, datatype="BYTES", shape=[1, len(encoded)])
    message.raw_input_contents.append(b"".join(struct.pack("<I", len(text)) + text for text in encoded))


def _texts(raw: bytes) -> list[str]:
    texts, place = [], 0
    while place < len(raw):
        (length,) = struct.unpack_from("<I", raw, place)
        texts.append(raw[place + 4 : place + 4 + length].decode())
        place += 4 + length
    return texts
