"""The guide to learners does what it shows."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

from cartwheel.testing import LearnerConformance
from cartwheel.testing.learner import COLUMNS, sizes_of
from models.families.row_registry import FAMILIES, RULES
from models.tasks.train import train_task
from workflows.tasks.settings import TaskSettings
from workflows.tasks.task import Answer

from .conftest import write_task

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "learners.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_families.py").write_text("\n".join(blocks("python")))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_family_of_the_guide_is_trained_beside_ours(shop: Path) -> None:
    section = tomllib.loads(blocks("toml")[0])["tasks"]["churn"]
    settings = TaskSettings.model_validate(section)
    layout = write_task(shop / "run", "churn", Answer.PROBABILITY, learners=settings.learners)
    board = train_task(layout, COLUMNS, sizes_of(COLUMNS), 0, parameters=settings.parameters, folder=shop)
    assert {entry.learner for entry in board.entries} == {*RULES, "logistic_regression", "lightgbm", "centroids"}
    losses = {entry.learner: entry.value for entry in board.entries}
    assert losses["centroids"] < losses["one_feature"]


def test_the_suite_of_the_guide_passes(shop: Path) -> None:
    suite = importlib.import_module("my_families").TestCentroids()
    assert isinstance(suite, LearnerConformance)
    tests = [name for name in dir(suite) if name.startswith("test_")]
    assert len(tests) == 11
    for name in tests:
        getattr(suite, name)()


def test_the_guide_names_every_family_and_fits_a_page() -> None:
    assert re.findall(r"^\| `(\w+)` \|", GUIDE, re.MULTILINE) == list(FAMILIES)
    assert len(GUIDE.splitlines()) <= 100
