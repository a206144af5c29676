"""Health endpoints for orchestrators: ``/health/live`` and ``/health/ready`` over plain HTTP.

Live is whoever answers; ready is a server whose last real questions (:mod:`serving.server.questions`) were answered. The body is a
JSON object: ``state``, ``detail`` and ``restarts``.
"""

from __future__ import annotations

import contextlib
import enum
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

from serving.server.ports import join, refusal

_ANSWER_SECONDS: Final = 5.0


class State(str, enum.Enum):
    """What a served repository is doing."""

    STARTING = "starting"
    SERVING = "serving"
    UNWELL = "unwell"
    RESTARTING = "restarting"
    DRAINING = "draining"


class Health:
    """The state, set by one thread and read by any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state, self._detail, self._restarts = State.STARTING, "", 0
        self._missing = ""

    def set(self, state: State, detail: str = "") -> None:
        """Change the state; ``detail`` says why, as a clause."""
        with self._lock:
            self._restarts += state is State.RESTARTING
            self._state, self._detail = state, detail

    @contextlib.contextmanager
    def without(self, detail: str) -> Iterator[None]:
        """Count as unwell inside the block, and as one restart, whatever the state is: something before Triton is missing."""
        with self._lock:
            self._missing, self._restarts = detail, self._restarts + 1
        try:
            yield
        finally:
            with self._lock:
                self._missing = ""

    def told(self) -> dict[str, Any]:
        """Return the JSON object that is answered."""
        with self._lock:
            if self._missing and self._state is State.SERVING:
                return {"state": State.UNWELL.value, "detail": self._missing, "restarts": self._restarts}
            return {"state": self._state.value, "detail": self._detail, "restarts": self._restarts}


class HealthServer:
    """Answers over HTTP until it is closed; a context manager.

    Args:
        host: address to listen on.
        port: 0 picks a free one.
        health: what is answered.

    Raises:
        UsageError: if ``host`` is not an address of this machine.
        ServerError: if the port is taken.
    """

    def __init__(self, host: str, port: int, health: Health) -> None:
        handler = type("Handler", (_Handler,), {"health": health})
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        kind = type("Server", (_Server,), {"address_family": family})
        try:
            self._server: http.server.ThreadingHTTPServer = kind(address[:2], handler)
        except OSError as error:
            raise refusal(error, host, port, "health_port") from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="health", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """``host:port`` that it is reached at."""
        host, port = self._server.server_address[:2]
        return join(str(host), int(port))

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> HealthServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without asking the name service for this machine's name, as the base class does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "", self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave a caller who hung up alone."""


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = _ANSWER_SECONDS
    health: Health

    def do_GET(self) -> None:
        """Answer the two questions."""
        told = self.health.told()
        found = {"/health/live": True, "/health/ready": told["state"] == State.SERVING.value}.get(self.path)
        status = 404 if found is None else 200 if found else 503
        body = json.dumps({"error": "ask /health/live or /health/ready"} if found is None else told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
        """Say nothing: the console belongs to the server's own lines."""
