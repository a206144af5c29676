"""An open loop: requests are sent when they are due, whether or not earlier ones are answered, and timed from when they were due.

A closed loop waits for a slow server, and so does not ask in the very moments in which it is slow (coordinated omission: Tene, "How NOT to
Measure Latency", 2013; Schroeder, Wierman and Harchol-Balter, "Open Versus Closed: A Cautionary Tale", NSDI 2006). Here arrivals are a
Poisson process of a given rate, drawn beforehand; the latency of a request counts from its arrival, so that what the generator itself was
late is part of it, and is told beside.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt
from rich.table import Table

from benchmarks.load import measure, require_refusal

_METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
_CHANNELS: Final = 4
_OWN_POOL: Final = (("grpc.use_local_subchannel_pool", 1),)
_GRACE_SECONDS: Final = 30.0
_BREATHE: Final = 32
LEVELS: Final = (0.25, 0.5, 0.75, 0.9, 1.2, 2.0)
"""Rates, as shares of the capacity."""
KEPT: Final = 0.8
"""Share of its peak that a server past capacity must keep as answers in time."""
_CAPACITY_AT: Final = 64
PERCENTILES: Final = (50.0, 95.0, 99.0, 99.9)
LATE_SECONDS: Final = 0.005


@dataclass
class Arrivals:
    """What became of the requests of one rate.

    Attributes:
        rate: arrivals a second that were meant.
        seconds: how long they arrived.
        milliseconds: from the arrival to the answer, of those that were answered.
        refused: how many were refused.
        cancelled: how many a server ended with CANCELLED, though nobody gave them up: no answer, and no refusal with a reason.
        late: share of the requests that the generator sent more than 5 ms after their arrival.
        deadline: milliseconds after which an answer is not in time.
    """

    rate: float
    seconds: float
    milliseconds: list[float] = field(default_factory=list)
    refused: int = 0
    cancelled: int = 0
    late: float = 0.0
    deadline: float = 1_000.0

    @property
    def in_time(self) -> float:
        """Answers a second that came in time."""
        return sum(each <= self.deadline for each in self.milliseconds) / self.seconds

    def percentile(self, share: float) -> float:
        """Return a percentile of the latency in milliseconds, NaN where no request was answered."""
        return float(np.percentile(self.milliseconds, share)) if self.milliseconds else float("nan")


def arrivals(rate: float, seconds: float, seed: int) -> npt.NDArray[np.float64]:
    """Return the instants of a Poisson process, in seconds after its begin."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1.0 / rate, size=max(16, int(rate * seconds * 1.5 + 10 * np.sqrt(rate * seconds))))
    instants = np.cumsum(gaps)
    found: npt.NDArray[np.float64] = instants[instants < seconds]
    return found


def run(address: str, payloads: Sequence[bytes], rate: float, seconds: float, deadline: float, seed: int) -> Arrivals:
    """Send requests at a rate, and return what became of them.

    Args:
        address: ``host:port``.
        payloads: serialised requests, asked in turn.
        rate: arrivals a second.
        seconds: how long they arrive; nothing is warmed up here.
        deadline: seconds after its arrival within which an answer is in time.
        seed: fixes the arrivals.

    Raises:
        ServerError: if a request ends with a status that is neither an answer nor a refusal.
    """
    return asyncio.run(_run(address, payloads, arrivals(rate, seconds, seed), Arrivals(rate, seconds, deadline=deadline * 1e3)))


async def _run(address: str, payloads: Sequence[bytes], instants: npt.NDArray[np.float64], found: Arrivals) -> Arrivals:
    channels = [grpc.aio.insecure_channel(address, options=_OWN_POOL) for _ in range(_CHANNELS)]
    try:
        for channel in channels:
            await asyncio.wait_for(channel.channel_ready(), _GRACE_SECONDS)
        loop = _Loop(address, [channel.unary_unary(_METHOD) for channel in channels], payloads, found)
        await loop.send(instants)
        await loop.finish()
        return found
    finally:
        for channel in channels:
            await channel.close()


class _Loop:
    """Sends each request when it is due, in a task of its own."""

    def __init__(self, address: str, calls: Sequence[Any], payloads: Sequence[bytes], found: Arrivals) -> None:
        self._address, self._calls, self._payloads, self._found = address, calls, payloads, found
        self._under_way: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []

    async def send(self, instants: npt.NDArray[np.float64]) -> None:
        begun, late = time.perf_counter(), 0
        for number, instant in enumerate(instants.tolist()):
            due = begun + instant
            while (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            late += -wait > LATE_SECONDS
            task = asyncio.create_task(self._ask(number, due))
            self._under_way.add(task)
            task.add_done_callback(self._ended)
            if number % _BREATHE == 0:
                await asyncio.sleep(0)  # where it is late, answers must be taken in nevertheless
            self._require_sound()
        self._found.late = late / max(1, len(instants))

    async def finish(self) -> None:
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=2 * _GRACE_SECONDS)
        self._require_sound()

    async def _ask(self, number: int, due: float) -> None:
        try:
            # No deadline goes along: what its caller gave up can end a Triton that is asked directly (docs/serving.md).
            await self._calls[number % _CHANNELS](self._payloads[number % len(self._payloads)], timeout=_GRACE_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.CANCELLED:
                self._found.cancelled += 1
                return
            require_refusal(error, self._address)
            self._found.refused += 1
        else:
            self._found.milliseconds.append((time.perf_counter() - due) * 1e3)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failures.append(error)

    def _require_sound(self) -> None:
        if self._failures:
            raise self._failures[0]


@dataclass(frozen=True)
class Served:
    """One way of serving under rising rates.

    Attributes:
        capacity: answers a second with 64 requests under way, each followed by the next.
        levels: share of the capacity -> what became of the requests.
    """

    capacity: float
    levels: Mapping[float, Arrivals]

    @property
    def kept(self) -> float:
        """Answers in time at the highest rate, over the most at any rate."""
        peak = max(one.in_time for one in self.levels.values())
        return self.levels[max(self.levels)].in_time / peak if peak else float("nan")


def rising(address: str, payloads: Sequence[bytes], seconds: float, deadline: float, levels: Sequence[float] = LEVELS) -> Served:
    """Measure the capacity of a server, and ask it at rising shares of it; see :func:`run`."""
    capacity = measure(address, payloads, _CAPACITY_AT, seconds, seconds / 3).throughput
    found = {
        level: run(address, payloads, max(1.0, capacity * level), seconds, deadline, seed) for seed, level in enumerate(levels)
    }
    return Served(capacity, found)


def table(served: Mapping[str, Served]) -> Table:
    """Return a table of all ways of serving, by their names."""
    head = (
        "of capacity",
        "who",
        "arrivals/s",
        *(f"p{share:g} ms" for share in PERCENTILES),
        "in time/s",
        "refused",
        "cancelled",
        "sent late",
    )
    made = Table(*head)
    for column in made.columns[2:]:
        column.justify = "right"
    for level in next(iter(served.values())).levels:
        for name, one in served.items():
            found = one.levels[level]
            shown = (f"{value:,.1f}" if (value := found.percentile(share)) == value else "-" for share in PERCENTILES)
            made.add_row(
                f"{level:.0%}",
                name,
                f"{found.rate:,.0f}",
                *shown,
                f"{found.in_time:,.0f}",
                f"{found.refused:,}",
                f"{found.cancelled:,}",
                f"{found.late:.1%}",
            )
        made.add_section()
    return made


def verdict(served: Mapping[str, Served]) -> str:
    """Return what each keeps past capacity, a line each."""
    lines = [
        f"{name}: capacity {one.capacity:,.0f}/s, keeps {one.kept:.0%} of its peak as answers in time at {max(one.levels):.0%} "
        f"({'met' if one.kept >= KEPT else 'MISSED'}: at least {KEPT:.0%})"
        for name, one in served.items()
    ]
    return "\n".join(lines)


def plain(one: Served) -> dict[str, Any]:
    """Return figures as JSON values."""
    levels = {
        f"{level:g}": {
            "arrivals_per_second": found.rate,
            **{f"p{share:g}_ms": found.percentile(share) if found.milliseconds else None for share in PERCENTILES},
            "in_time_per_second": found.in_time,
            "refused": found.refused,
            "cancelled": found.cancelled,
            "late": found.late,
        }
        for level, found in one.levels.items()
    }
    return {"capacity": one.capacity, "kept": one.kept, "levels": levels}
