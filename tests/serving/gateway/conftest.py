"""A gateway before a real Triton on a synthetic run, started once by ``cartwheel serve`` for all tests of this folder."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest

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


@pytest.fixture(scope="session")
def channel(gateway: Any) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(gateway.endpoint.grpc) as opened:
        yield opened
