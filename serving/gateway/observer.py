"""Looks at a sample of what is asked, answered and tracked: ids that the export does not know, what is left out, and drift.

A sample, so that it costs the same however much is asked: at most ``serve.observe_per_second`` requests a second. The counts of a window
are given up when the next one is full, so that drift is of the last thousands of observations, not of all time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2

from serving.contract.reference import ANSWERED, ITEM_INPUTS, SCORE, Reference, stability_index
from serving.gateway.metrics import Metrics
from serving.gateway.routes import Route
from serving.gateway.tensor_values import read_texts
from serving.gateway.texts import texts_of, users_of
from serving.gateway.visit import RANKED, Visit
from serving.store.event import Tracked

_WINDOW: Final = 5_000
"""Observations after which a window is full."""
_LEAST: Final = 200
"""Observations before which there is no drift to speak of."""
_NULLABLE: Final = ("user_id", "recent_items", "timestamp")
_ITEMS: Final = ("recent_items", "events_item", "cart_items", "item_id")


class Window:
    """Counts of the bins of one histogram, over the last one to two windows.

    Args:
        expected: shares of the bins.
    """

    def __init__(self, expected: npt.NDArray[np.float64]) -> None:
        self._expected = expected
        self._now, self._before = np.zeros(len(expected)), np.zeros(len(expected))

    def add(self, bins: npt.NDArray[np.int64]) -> None:
        """Count observations."""
        if self._now.sum() >= _WINDOW:
            self._before, self._now = self._now, np.zeros(len(self._expected))
        self._now += np.bincount(bins, minlength=len(self._expected))

    @property
    def seen(self) -> float:
        """Number of observations."""
        return float(self._now.sum() + self._before.sum())

    @property
    def drift(self) -> float:
        """The population stability index; NaN before there are enough observations."""
        return stability_index(self._now + self._before, self._expected) if self.seen >= _LEAST else float("nan")


class Observer:
    """Observes one gateway.

    Args:
        metrics: what counts.
        per_second: requests that are looked at in a second at most; 0 looks at none.
        clock: gives seconds.
    """

    def __init__(self, metrics: Metrics, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics, self._rate, self._clock = metrics, per_second, clock
        self._tokens, self._then = per_second, clock()
        self._windows: dict[str, Window] = {}
        self._of: Reference | None = None

    def answered(self, visit: Visit, route: Route, request: bytes, answer: bytes) -> None:
        """Look at a request and its answer, if it is one of the sample."""
        if not self._may():
            return
        self._metrics.observed.inc()
        asked = service_pb2.ModelInferRequest.FromString(request)
        given = {tensor.name for tensor in asked.inputs}
        for name in _NULLABLE:
            if name not in given or (name != "timestamp" and not any(read_texts(asked, name) or [])):
                self._metrics.nulls.labels(name).inc()
        self._ids(route, asked)
        if visit.rung == RANKED and route.reference is not None:
            self._scores(route, route.reference, service_pb2.ModelInferResponse.FromString(answer))

    def tracked(self, route: Route, events: Sequence[Tracked], now_us: int) -> None:
        """Look at events that are durable now; all of them count for the lag."""
        for event in events:
            self._metrics.ingest_lag.observe(max(0.0, (now_us - event.time_us) / 1e6))
            if event.price is None:
                self._metrics.nulls.labels("event_price").inc()
        if events and self._may():
            self._items(route, [event.item_id for event in events])

    def drift(self) -> Mapping[str, float]:
        """Return input, answered categories or scores -> population stability index."""
        return {name: window.drift for name, window in self._windows.items()}

    def _may(self) -> bool:
        now = self._clock()
        self._tokens = min(max(1.0, self._rate), self._tokens + (now - self._then) * self._rate)
        self._then = now
        if self._rate <= 0 or self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _ids(self, route: Route, asked: Any) -> None:
        reference = route.reference
        if reference is not None:
            unknown = sum(1 for user in users_of(asked) if user and not reference.knows_user(user))
            self._metrics.unknown_ids.labels("user").inc(unknown)
        items = [item for name in _ITEMS for row in read_texts(asked, name) or [] for item in row]
        if items:
            self._items(route, items)

    def _items(self, route: Route, items: Sequence[str]) -> None:
        if route.rulebook is None:
            return
        places = [route.rulebook.assortment.place(item) for item in items]
        known = [place for place in places if place is not None]
        self._metrics.unknown_ids.labels("item").inc(len(places) - len(known))
        if known and route.reference is not None:
            for name in ITEM_INPUTS:
                self._add(route.reference, name, route.reference.bins[name][known])

    def _scores(self, route: Route, reference: Reference, answer: Any) -> None:
        for number, output in enumerate(answer.outputs):
            if output.name == "scores" and output.datatype == "FP32":
                scores = np.frombuffer(answer.raw_output_contents[number], "<f4")[:: output.shape[1]]
                self._add(reference, SCORE, np.searchsorted(reference.score_edges, scores[np.isfinite(scores)]))
            elif output.name == "items" and route.rulebook is not None:
                first = texts_of(answer.raw_output_contents[number])[:: output.shape[1]]
                texts = (text.decode("utf-8", "replace") for text in first if text)
                places = [place for text in texts if (place := route.rulebook.assortment.place(text)) is not None]
                self._add(reference, ANSWERED, reference.bins[ITEM_INPUTS[0]][places])

    def _add(self, reference: Reference, name: str, bins: npt.NDArray[Any]) -> None:
        if self._of is not reference:  # another version expects something else
            self._of, self._windows = reference, {}
        if name not in self._windows:
            self._windows[name] = Window(reference.shares[name])
            self._metrics.drift.labels(name).set_function(lambda: self._drift_of(name))
        self._windows[name].add(bins.astype(np.int64))

    def _drift_of(self, name: str) -> float:
        window = self._windows.get(name)
        return float("nan") if window is None else window.drift
