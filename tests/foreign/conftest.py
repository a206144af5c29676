import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from pipelines import Pipeline, movielens


def inside(folder: Path, make: Callable[[Path], Pipeline]) -> Pipeline:
    """Make a pipeline while its folder is the working directory, for Merlin writes files beside where it runs."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        return make(folder)
    finally:
        os.chdir(before)


@pytest.fixture(scope="session")
def dlrm(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return inside(tmp_path_factory.mktemp("movielens"), movielens)
