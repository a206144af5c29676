"""A gateway before a real Triton on a synthetic run, started once by ``cartwheel serve`` for all tests of this folder."""

import gzip
import importlib.util
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from serving.export.repository import write_repository
from serving.settings import ExportSettings


def _loaded(name: str) -> ModuleType:
    """Load a module of the folder above, so that tests import it by its name."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


synthetic_run = _loaded("synthetic_run")
_loaded("synthetic_tasks")
_loaded("live_tasks")
sys.path.append(
    str(Path(__file__).resolve().parents[3])
)  # the benchmarks, whose requests are used here, are no installed package
running_gateway = _loaded("running_gateway")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = synthetic_run.write_synthetic_run(tmp_path_factory.mktemp("gateway") / "run")
    write_repository(path, ExportSettings())
    return path


@pytest.fixture(scope="session")
def gateway(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The one gateway of the session, which no test may harm."""
    patient = {"queue_seconds": 60.0, "ladder_seconds": 60.0}  # a busy machine is no overload
    running = running_gateway.Gateway(run, tmp_path_factory.mktemp("serve"), **patient)
    try:
        yield running
    finally:
        running.end()


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP, and keeps the spans."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Collect)
        self.spans: list[Any] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1/traces"


class _Collect(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        asked = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
        spans = [span for resource in asked.resource_spans for scope in resource.scope_spans for span in scope.spans]
        self.server.spans.extend(spans)  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="session")
def exploring(run: Path, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A gateway that explores half of the answers, looks at all requests, and traces them."""
    folder = tmp_path_factory.mktemp("exploring")
    own = Path(shutil.copytree(run, folder / "run", ignore=shutil.ignore_patterns("server.json", "logs", "live")))
    patient = {"queue_seconds": 60.0, "ladder_seconds": 60.0}
    watched = {"explore_share": 0.5, "explore_pool": 8, "observe_per_second": 1e6, "tracing": collector.url}
    running = running_gateway.Gateway(own, folder, **patient, **watched)
    try:
        yield running
    finally:
        running.end()


@pytest.fixture(scope="session")
def channel(gateway: Any) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(gateway.endpoint.grpc) as opened:
        yield opened
