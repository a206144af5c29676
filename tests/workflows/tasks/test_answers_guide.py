"""The configuration of docs/answers.md is one, and has every declaration in it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from workflows.settings import PrepareSettings
from workflows.tasks.registry import DECLARATIONS
from workflows.tasks.settings import TaskSettings, declared_tasks
from workflows.tasks.task import Entity

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "answers.md").read_text(encoding="utf-8")


def test_the_guide_asks_every_question_by_name() -> None:
    [block] = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    sections = {name: TaskSettings.model_validate(each) for name, each in tomllib.loads(block)["tasks"].items()}
    assert {each.use for each in sections.values()} == set(DECLARATIONS)
    made = {task.name: task for task in declared_tasks(sections, PrepareSettings())}
    assert made["fraud"].entity is Entity.ROW
    assert made["offer"].table is not None
    assert (made["offer"].table.treated, made["offer"].value_of_outcome) == ("summer", 12.0)


def test_the_guide_fits_a_page() -> None:
    assert len(GUIDE.splitlines()) <= 90
