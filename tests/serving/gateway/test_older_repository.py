"""A repository of another version of Cartwheel, which cannot be served, is refused in a sentence that names that version."""

import json
from pathlib import Path

import pytest

from cartwheel import __version__
from cartwheel.core.errors import RunError
from serving.gateway.served import Served
from serving.local import LocalRepository
from serving.settings import ServeSettings


@pytest.fixture
def older(tmp_path: Path) -> Path:
    step = tmp_path / "recommend"
    step.mkdir()
    (step / "config.pbtxt").write_text('name: "recommend"\nplatform: "ensemble"\n')
    (tmp_path / "cartwheel.json").write_text(json.dumps({"cartwheel": "0.2.0", "files": {}}))
    return tmp_path


def test_serving_it_names_the_version(older: Path) -> None:
    with pytest.raises(RunError, match=rf"it was written by Cartwheel 0\.2\.0, and this is Cartwheel {__version__}\."):
        Served.read(older, ServeSettings())


def test_asking_it_without_a_server_does_too(older: Path) -> None:
    with pytest.raises(RunError, match=r"no contract that can be read .*: it was written by Cartwheel 0\.2\.0"):
        LocalRepository(older)


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"cartwheel": __version__})])
def test_one_of_this_version_or_of_nobody_is_not_said_to_be_older(older: Path, content: str) -> None:
    (older / "cartwheel.json").write_text(content)
    with pytest.raises(RunError) as raised:
        Served.read(older, ServeSettings())
    assert "written by" not in str(raised.value)
