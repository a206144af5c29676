"""The gateway's process: both servers in one event loop, from the first byte to the last answer."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

import grpc
import uvicorn
from grpc import aio
from grpc_reflection.v1alpha import reflection

from serving.contract.shop import SERVICE as TYPED
from serving.experiments.exploration import Exploration
from serving.experiments.exposures import EXPOSURES, ExposureLog
from serving.gateway.asking import Asking
from serving.gateway.control import open_control
from serving.gateway.explorer import Explorer
from serving.gateway.gate import STOPPING, Gate
from serving.gateway.http_api import Door, http_api, metrics_api
from serving.gateway.keys import Keys
from serving.gateway.kserve import KServe
from serving.gateway.live import Live
from serving.gateway.local_http import fetch
from serving.gateway.log import Log
from serving.gateway.metrics import Metrics
from serving.gateway.observer import Observer
from serving.gateway.options import Lane, Options
from serving.gateway.recorder import FILE as RECORDED
from serving.gateway.recorder import Recorder
from serving.gateway.routes import Routes
from serving.gateway.tracing import Tracer
from serving.gateway.typed import Typed
from serving.gateway.upstream import SERVICE as KSERVE
from serving.gateway.upstream import Upstream
from serving.intake.dead_letters import DEAD_LETTERS, DeadLetters
from serving.settings import ServeSettings
from serving.store.opened import open_store

_FLUSH_SECONDS: Final = 0.2
_KEEP_ALIVE_SECONDS: Final = 75
_WATCH_SECONDS: Final = 0.25
"""How often it is looked whether another gateway has set the state of items."""
_BACKLOG: Final = 1024
_MOST_PENDING: Final = 1 << 15
"""Requests that gRPC holds until the event loop takes them. Beyond 1,000 it would end them as CANCELLED, which tells a caller nothing and
which no client asks again; taken, they are told that the server is at its limit."""
_OVERHEAD_BYTES: Final = 1 << 20
"""What a message may hold beside ids: names, shapes and numbers."""


async def run(options: Options) -> NoReturn:
    """Serve until SIGTERM or SIGINT, then drain and end the process."""
    log = Log(options.settings.log_requests)
    metrics = Metrics(options.triton_metrics, lambda: routes.under_way, lambda: routes.waiting)

    def looked_up(source: str) -> None:
        metrics.lookups.labels(source).inc()

    def opened(target: str) -> Upstream:
        return Upstream(target, options.settings, metrics.lost.inc, metrics.queue_seconds.observe, looked_up)

    routes = Routes(options.settings, opened)
    await routes.apply([Lane.of_json(lane) for lane in json.loads(options.lanes.read_text(encoding="utf-8"))])
    gate = Gate(routes, metrics, log, _keys(options.settings, log), options.settings.ladder_seconds)
    gate.live = _live(options, metrics, log)
    _equip(gate, options, metrics, log)
    watching = None
    if gate.live is not None:
        routes.set_items(await gate.live.read_items())
        await gate.live.read_links()
        watching = asyncio.create_task(_watch_items(gate.live, routes))
    ended = _on_signal(gate)

    async def health() -> tuple[bool, dict[str, Any]]:
        return await _health(options, gate)

    async def is_ready() -> bool:
        return (await health())[0]

    asking = Asking(gate)
    kserve = KServe(gate, is_ready)
    rpc = _rpc_server(options, kserve, Typed(gate, asking))
    reflection.enable_server_reflection((TYPED, KSERVE.strip("/"), reflection.SERVICE_NAME), rpc)
    await rpc.start()
    door = Door(http_api(gate, asking, health, kserve), gate, most_bytes(options.settings))
    _follow(gate, log, asking, lambda: setattr(door, "app", http_api(gate, asking, health, kserve)))
    control = await open_control(options.control, gate)
    web = [
        _Web(door, options.address, options.http_port, options.settings),
        _Web(metrics_api(metrics), options.address, options.metrics_port, options.settings, tls=False),
    ]
    for server in web:
        await server.begin()
    gc.collect()
    gc.freeze()  # what was imported stays, and need not be walked again and again
    log.event("ready", version=gate.served.version, ensembles=list(gate.served.ensembles))
    await ended.wait()
    log.event("draining", under_way=routes.under_way, waiting=routes.waiting)
    await routes.finish(options.settings.drain_seconds)
    control.close()
    if watching is not None:
        watching.cancel()
    await gate.close()
    # The gRPC server is not stopped: that would cancel what arrives meanwhile, whose callers are to be told to ask again.
    await asyncio.sleep(_FLUSH_SECONDS)
    log.event("ended")
    log.flush()
    os._exit(0)


def _follow(gate: Gate, log: Log, asking: Asking, offer: Callable[[], None]) -> None:
    """Tell which versions are served, now and whenever that changes; ``offer`` is called where other questions can be asked than before."""
    offered = (asking.shop, asking.tasks)

    def changed() -> None:
        nonlocal offered
        shares = {route.served.version: route.share for route in gate.routes.all}
        gate.metrics.serve(shares, gate.served.version)
        log.event("serving", versions=shares)
        if (asking.shop, asking.tasks) != offered:
            offered = (asking.shop, asking.tasks)
            offer()

    gate.routes.when_changed = changed
    changed()


def _keys(settings: ServeSettings, log: Log) -> Keys | None:
    if settings.keys_file is None:
        return None
    return Keys(settings.keys_file, settings.rate_per_key, lambda sentence: log.event("keys", detail=sentence))


def most_bytes(settings: ServeSettings) -> int:
    """Return how many bytes a message may have: ids may be as many as the settings say, and take up to twice that."""
    return min(2 * settings.max_message_bytes + _OVERHEAD_BYTES, 2**31 - 1)


def _live(options: Options, metrics: Metrics, log: Log) -> Live | None:
    """Open the store; None where none is wanted."""

    def complain(sentence: str) -> None:
        log.event("live", detail=sentence)

    store = open_store(options.settings, options.live)
    if store is None:
        return None
    if store.weakness:
        complain(store.weakness)
    return Live(store, DeadLetters(options.live / DEAD_LETTERS), options.settings, metrics, complain)


def _equip(gate: Gate, options: Options, metrics: Metrics, log: Log) -> None:
    """Give the gate what looks on: each only where the settings want it."""
    settings = options.settings
    gate.explorer = _explorer(options, log)
    if settings.observe_per_second:
        gate.observer = Observer(metrics, settings.observe_per_second)
    if settings.tracing:
        gate.tracer = Tracer(settings.tracing, settings.tracing_share)
    if settings.record_share:
        gate.recorder = Recorder(options.live / RECORDED, settings, lambda sentence: log.event("record", detail=sentence))


def _explorer(options: Options, log: Log) -> Explorer | None:
    """Return what logs exposures; None where nothing is explored or logged."""
    settings = options.settings
    if not settings.explore_share and settings.log_exposures == "off":
        return None
    written = ExposureLog(options.live / EXPOSURES, lambda sentence: log.event("exposures", detail=sentence))
    return Explorer(Exploration(settings.explore_share, settings.explore_pool), written)


async def _watch_items(live: Live, routes: Routes) -> None:
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        routes.set_items(await live.read_items())
        await live.read_links()


def _on_signal(gate: Gate) -> asyncio.Event:
    ended = asyncio.Event()

    def drain() -> None:
        gate.draining = True
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, drain)
    return ended


async def _health(options: Options, gate: Gate) -> tuple[bool, dict[str, Any]]:
    """Ask ``cartwheel serve``, which asks Triton real questions all the time."""
    if gate.draining:
        return False, {"state": "draining", "detail": STOPPING}
    status, body = await fetch(options.health, options.health_path)
    if status == 200 and not body:
        return True, {"state": "serving", "detail": ""}
    try:
        told: dict[str, Any] = json.loads(body)
    except ValueError:
        return False, {"state": "unwell", "detail": "cartwheel serve does not tell how Triton is"}
    return status == 200, told


def _rpc_server(options: Options, *services: grpc.GenericRpcHandler) -> aio.Server:
    settings = options.settings
    server = aio.server(
        options=(
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", most_bytes(settings)),
            ("grpc.max_send_message_length", -1),
            ("grpc.server.max_pending_requests", _MOST_PENDING),
            ("grpc.server.max_pending_requests_hard_limit", _MOST_PENDING),
        )
    )
    server.add_generic_rpc_handlers(services)
    address = f"[{options.address}]" if ":" in options.address else options.address
    target = f"{address}:{options.grpc_port}"
    if settings.tls_certificate is None or settings.tls_key is None:
        server.add_insecure_port(target)
        return server
    roots = settings.tls_client_roots.read_bytes() if settings.tls_client_roots else None
    pair = (settings.tls_key.read_bytes(), settings.tls_certificate.read_bytes())
    server.add_secure_port(target, grpc.ssl_server_credentials([pair], roots, require_client_auth=roots is not None))
    return server


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process, which ends its servers in order."""
        yield


class _Web:
    """One HTTP server in this event loop."""

    def __init__(self, app: Any, address: str, port: int, settings: ServeSettings, *, tls: bool = True) -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((address, port))
        secured: dict[str, Any] = {}
        if tls and settings.tls_certificate is not None:
            secured = {"ssl_certfile": settings.tls_certificate, "ssl_keyfile": settings.tls_key}
            if settings.tls_client_roots is not None:
                secured |= {"ssl_ca_certs": str(settings.tls_client_roots), "ssl_cert_reqs": 2}
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            http="h11",
            ws="none",
            loop="asyncio",
            backlog=_BACKLOG,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=1,
            **secured,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Listen."""
        self._task = asyncio.get_running_loop().create_task(self._server.serve([self._socket]))
        while not self._server.started:
            await asyncio.wait({self._task}, timeout=0.005)
            if self._task.done():
                self._task.result()
                raise RuntimeError("the HTTP server ended as it began")
