"""JSON over HTTP, with its OpenAPI page at ``/docs`` and ``/openapi.json``."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Response

import cartwheel
from serving.gateway.gate import Gate
from serving.gateway.metrics import CONTENT_TYPE, Metrics

Health = Callable[[], Awaitable[tuple[bool, dict[str, Any]]]]


def http_api(gate: Gate, health: Health) -> FastAPI:
    """Return the application.

    Args:
        gate: what every request passes.
        health: whether the server is ready, and the JSON object that says more.
    """
    app = FastAPI(
        title="Cartwheel", version=cartwheel.__version__, description="Recommendations, carts, similar items and own questions."
    )

    @app.get("/health/live", tags=["health"], summary="Whether the gateway runs.")
    async def live() -> Response:
        return _json({"state": "draining" if gate.draining else "live"})

    @app.get(
        "/health/ready", tags=["health"], summary="Whether questions are answered.", responses={503: {"description": "Not now."}}
    )
    async def ready() -> Response:
        is_ready, told = await health()
        return _json(told, 200 if is_ready else 503)

    app.add_api_route("/metrics", _metrics(gate.metrics), tags=["health"], summary="Prometheus metrics, Triton's included.")
    return app


def metrics_api(metrics: Metrics) -> FastAPI:
    """Return the application of the port of metrics, which gives nothing else."""
    app = FastAPI(openapi_url=None)
    app.add_api_route("/metrics", _metrics(metrics))
    return app


def _metrics(metrics: Metrics) -> Callable[[], Awaitable[Response]]:
    async def text() -> Response:
        return Response(await metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return text


def _json(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content), status, media_type="application/json")
