import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

from pipelines import Pipeline, inside, movielens


@pytest.fixture(scope="session")
def dlrm(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    return inside(tmp_path_factory.mktemp("movielens"), movielens)
