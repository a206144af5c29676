"""Traces for OpenTelemetry: a span a request, with a span for each of its timed parts, sent over OTLP by a thread of its own.

Spans are made when a request has ended, of what was measured anyway; until then tracing costs nothing. A caller's ``traceparent`` (W3C
Trace Context) makes the request part of the caller's trace.
"""

from __future__ import annotations

import random
import re
import time
from typing import Any, Final

from cartwheel.core.errors import MissingDependencyError
from serving.gateway.refusal import Code
from serving.gateway.visit import Visit, header

_PARENT: Final = re.compile(r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")
_SAMPLED: Final = 1
_CLOSE_MILLISECONDS: Final = 2_000
_FAULTS: Final = frozenset({Code.INTERNAL, Code.UNKNOWN, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.DATA_LOSS})


class Tracer:
    """Sends traces to one collector; one that is away costs spans, never an answer.

    Args:
        url: where it takes OTLP over HTTP.
        share: of the requests that are traced beside those whose caller traces them.

    Raises:
        MissingDependencyError: if OpenTelemetry is not installed.
    """

    def __init__(self, url: str, share: float = 1.0) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ALWAYS_ON
        except ImportError as error:
            raise MissingDependencyError(
                "serve.tracing needs OpenTelemetry, which is not installed.",
                "Install `cartwheel[tracing]`, or leave serve.tracing out.",
            ) from error
        self._trace, self._share = trace, share
        self._provider = TracerProvider(ALWAYS_ON, Resource.create({"service.name": "cartwheel-gateway"}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url)))
        self._tracer = self._provider.get_tracer("cartwheel")

    def request(self, visit: Visit, version: str) -> None:
        """Tell of a request that has ended."""
        parent = _PARENT.fullmatch(header(visit.headers, "traceparent"))
        sampled = parent is not None and int(parent["flags"], 16) & _SAMPLED
        if not sampled and random.random() >= self._share:  # noqa: S311 - a sample, not a secret
            return
        to_wall = time.time_ns() - round(time.perf_counter() * 1e9)
        attributes: dict[str, Any] = {
            "cartwheel.door": visit.door,
            "cartwheel.request_id": visit.request_id,
            "cartwheel.version": version,
            "cartwheel.rung": visit.rung,
            "cartwheel.reason": visit.reason,
            "rpc.grpc.status_code": visit.code.value[0],
        }
        span = self._tracer.start_span(
            visit.ensemble or "request",
            context=self._context(parent),
            kind=self._trace.SpanKind.SERVER,
            attributes={name: value for name, value in attributes.items() if value != ""},
            start_time=to_wall + round(visit.begun * 1e9),
        )
        if visit.code in _FAULTS:
            span.set_status(self._trace.StatusCode.ERROR, visit.reason)
        within = self._trace.set_span_in_context(span)
        for name, begun, ended in visit.stages:
            part = self._tracer.start_span(name, context=within, start_time=to_wall + round(begun * 1e9))
            part.end(to_wall + round(ended * 1e9))
        span.end(time.time_ns())

    def close(self) -> None:
        """Send what has gathered, as far as that takes no longer than a moment."""
        self._provider.force_flush(_CLOSE_MILLISECONDS)

    def _context(self, parent: re.Match[str] | None) -> Any:
        if parent is None:
            return None
        trace = self._trace
        known = trace.SpanContext(int(parent["trace"], 16), int(parent["span"], 16), True, trace.TraceFlags(_SAMPLED))
        return trace.set_span_in_context(trace.NonRecordingSpan(known))
