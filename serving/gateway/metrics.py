"""What the gateway counts, for Prometheus; Triton's own metrics are given with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from serving.gateway.local_http import fetch

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS: Final = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LAGS: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 43_200.0, 172_800.0)


class Metrics:
    """The counters of one gateway.

    Args:
        triton: file that holds ``host:port`` of the metrics of the Triton that most requests get.
        under_way: how many requests Triton has at the moment.
        waiting: how many wait for their turn.
    """

    def __init__(self, triton: Path, under_way: Callable[[], float], waiting: Callable[[], float]) -> None:
        self._triton = triton
        self._registry = CollectorRegistry()
        named: dict[str, Any] = {"registry": self._registry, "namespace": "cartwheel"}
        self.seconds = Histogram(
            "request_seconds", "From the first byte to the answer.", ("door", "ensemble"), buckets=_BUCKETS, **named
        )
        self.triton_seconds = Histogram("triton_seconds", "What Triton took of it.", ("ensemble",), buckets=_BUCKETS, **named)
        self.queue_seconds = Histogram(
            "queue_seconds", "What requests waited in the gateway that had to.", buckets=_BUCKETS, **named
        )
        self.requests = Counter("requests", "Requests by gRPC status.", ("door", "ensemble", "status"), **named)
        self.rungs = Counter("rungs", "Answers by the rung of the ladder that gave them.", ("ensemble", "rung"), **named)
        self.rejections = Counter("rejections", "Requests that no model answered, by reason.", ("reason",), **named)
        self.lost = Counter("lost", "Requests that Triton never answered.", **named)
        self.tracked = Counter(
            "tracked", "Events by what became of them: accepted, duplicate, or why not.", ("outcome",), **named
        )
        self.track_seconds = Histogram("track_seconds", "Until events were durable.", buckets=_BUCKETS, **named)
        self.track_waiting = Gauge("track_waiting", "Events that are not durable yet.", **named)
        self.without_events = Counter("without_events", "Questions asked without events, for the store did not answer.", **named)
        self.stages = Histogram(
            "stage_seconds",
            "Parts of a request; triton has its turn in it.",
            ("stage",),
            buckets=_BUCKETS,
            **named,
        )
        self.lookups = Counter("lookups", "Questions about models, by what answered them: cache or triton.", ("source",), **named)
        self.ingest_lag = Histogram("ingest_lag_seconds", "From an event to its being durable.", buckets=_LAGS, **named)
        self.observed = Counter("observed", "Requests of the sample of which ids, nulls and drift are looked at.", **named)
        self.unknown_ids = Counter("unknown_ids", "Ids of the sample that the export does not know.", ("kind",), **named)
        self.nulls = Counter("nulls", "What requests of the sample, or events, leave out.", ("input",), **named)
        self.drift = Gauge(
            "drift_psi", "Population stability index of inputs and scores against the export; NaN on few.", ("input",), **named
        )
        Gauge("under_way", "Requests that Triton has.", **named).set_function(under_way)
        Gauge("waiting", "Requests that wait in the gateway.", **named).set_function(waiting)
        self.answers = Counter("answers", "Requests that a version answered, or failed to.", ("version", "outcome"), **named)
        self._share = Gauge("version_share", "Share of the shoppers that a version is asked by.", ("version",), **named)
        self._export = Info("export", "What is served.", **named)

    def serve(self, shares: Mapping[str, float], main: str) -> None:
        """Note which versions are served, and which of them most requests get."""
        self._share.clear()
        for version, share in shares.items():
            self._share.labels(version).set(share)
        self._export.info({"version": main})

    async def text(self) -> bytes:
        """Return everything in Prometheus' format."""
        own: bytes = generate_latest(self._registry)
        try:
            address = self._triton.read_text(encoding="utf-8")
        except OSError:
            return own
        status, body = await fetch(address, "/metrics")
        return own + body if status == 200 else own
