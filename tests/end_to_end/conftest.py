"""One small shop, run through every stage by the command line and served by it, for all end-to-end tests to share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from shop_runs import cartwheel, serving, small_shop


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a small shop whose every stage is done."""
    config = small_shop(tmp_path_factory.mktemp("shop"))
    result = cartwheel("run", config)
    assert result.returncode == 0, result.stderr
    return config


@pytest.fixture(scope="session")
def run(shop: Path) -> Path:
    """The run directory of the small shop."""
    return shop.parent / "run"


@pytest.fixture(scope="session")
def server(run: Path) -> Iterator[str]:
    """The gRPC address of the served small shop."""
    with serving(run) as (_, endpoint):
        yield endpoint["grpc"]
