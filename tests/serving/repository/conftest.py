"""A synthetic run and its repository, written once for all tests of this folder."""

import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from tritonclient.grpc import InferenceServerClient

from serving.export.repository import write_repository
from serving.local import LocalRepository
from serving.server.server import EmbeddedServer
from serving.settings import ExportSettings, ServeSettings

sys.path.append(
    str(Path(__file__).resolve().parents[3])
)  # the benchmarks, whose requests are used here, are no installed package


def _loaded(name: str) -> ModuleType:
    """Load a module of the folder above, so that tests import it by its name."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


synthetic_run = _loaded("synthetic_run")
_loaded("synthetic_tasks")
_loaded("log_shop")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its repository; do not change it."""
    path = synthetic_run.write_synthetic_run(tmp_path_factory.mktemp("synthetic") / "run")
    write_repository(path, ExportSettings())
    return path


@pytest.fixture(scope="session")
def local(run: Path) -> LocalRepository:
    return LocalRepository(run / "repository")


@pytest.fixture(scope="session")
def server(run: Path) -> Iterator[EmbeddedServer]:
    """The one server of the session on the run's repository; a test that harms a server starts its own."""
    with EmbeddedServer(run / "repository", ServeSettings(queue_seconds=60.0)) as running:  # a busy machine is no overload
        yield running


@pytest.fixture(scope="session")
def triton(server: EmbeddedServer) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(server.endpoint.grpc) as client:
        yield client


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may spoil."""
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., LocalRepository]:
    """Write another synthetic run and its repository."""

    def write(settings: ExportSettings | None = None, candidates: int = 200, **shop: object) -> LocalRepository:
        path = synthetic_run.write_synthetic_run(tmp_path_factory.mktemp("other") / "run", **shop)
        return LocalRepository(write_repository(path, settings or ExportSettings(), candidates))

    return write
