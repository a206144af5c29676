"""The guides to learners and to a model family of one's own do what they show."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

from cartwheel.cli.tuned_config import write_copy
from cartwheel.config import load_settings
from cartwheel.testing import LearnerConformance
from cartwheel.testing.learner import COLUMNS, sizes_of
from models.families.row_registry import FAMILIES, RULES
from models.tasks.train import train_task
from models.tuning.task_subject import task_subject
from workflows.tasks.settings import TaskSettings
from workflows.tasks.task import Answer

from .conftest import write_task

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCS = Path(__file__).resolve().parents[3] / "docs"
GUIDE = (DOCS / "learners.md").read_text(encoding="utf-8")
OWN = (DOCS / "own-model.md").read_text(encoding="utf-8")


def blocks(language: str, guide: str = OWN) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", guide, re.DOTALL)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_families.py").write_text("\n".join(blocks("python")))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("guide", "others"), [(GUIDE, {"logistic_regression", "lightgbm"}), (OWN, {"logistic_regression"})], ids=["ours", "own"]
)
def test_the_family_of_the_guide_is_trained_beside_ours(shop: Path, guide: str, others: set[str]) -> None:
    section = tomllib.loads(blocks("toml", guide)[0])["tasks"]["churn"]
    settings = TaskSettings.model_validate(section)
    layout = write_task(shop / "run", "churn", Answer.PROBABILITY, learners=settings.learners)
    board = train_task(layout, COLUMNS, sizes_of(COLUMNS), 0, parameters=settings.parameters, folder=shop)
    assert {entry.learner for entry in board.entries} == {*RULES, *others, "centroids"}
    losses = {entry.learner: entry.value for entry in board.entries}
    assert losses["centroids"] < losses["one_feature"]


def test_a_setting_of_the_family_is_given_and_tuned_by_its_reference(shop: Path) -> None:
    parameters = tomllib.loads(blocks("toml")[0])["tasks"]["churn"]["parameters"]["my_families:Centroids"]
    layout = write_task(shop / "run", "churn", Answer.PROBABILITY)
    subject = task_subject(layout, COLUMNS, sizes_of(COLUMNS), "my_families:Centroids", parameters, 0, shop)
    assert subject.current == parameters == {"shrinkage": 0.5}
    config, copy = shop / "shop.toml", shop / "tuned.toml"
    config.write_text(blocks("toml")[0])
    write_copy(config, copy, subject.section, {"shrinkage": 0.25}, shop / "run")
    assert load_settings(copy).tasks["churn"].parameters == {"my_families:Centroids": {"shrinkage": 0.25}}
    config.write_text('[tasks.churn]\nuse = "churn"\nlearners = ["my_families:Centroids"]\n')
    write_copy(config, copy, subject.section, {"shrinkage": 0.25}, shop / "run")
    assert load_settings(copy).tasks["churn"].parameters == {"my_families:Centroids": {"shrinkage": 0.25}}


def test_the_suite_of_the_guide_passes(shop: Path) -> None:
    suite = importlib.import_module("my_families").TestCentroids()
    assert isinstance(suite, LearnerConformance)
    tests = [name for name in dir(suite) if name.startswith("test_")]
    assert len(tests) == 15
    for name in tests:
        getattr(suite, name)()


def test_the_guide_names_every_family_and_fits_a_page() -> None:
    assert re.findall(r"^\| `(\w+)` \|", GUIDE, re.MULTILINE) == list(FAMILIES)
    assert max(len(GUIDE.splitlines()), len(OWN.splitlines())) <= 90
