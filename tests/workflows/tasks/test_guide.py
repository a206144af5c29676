"""The guide to declared tasks does what it shows."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from cartwheel.testing.logs import random_log
from workflows.prepare.tasks import build_tasks
from workflows.settings import PrepareSettings
from workflows.tasks.settings import TaskSettings, declared_tasks

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "tasks.md").read_text(encoding="utf-8")
PREPARE = PrepareSettings(valid_share=0.2, test_share=0.2)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop with a log, a table of sessions, and the guide's Python in ``my_shop.py``."""
    folder = tmp_path_factory.mktemp("guide")
    (folder / "events").mkdir()
    crowd = [
        random_log(seed, events=250, days=200.0).with_columns(
            user_id=pl.col("user_id") + f"-{seed}", session_id=pl.col("session_id") + f"-{seed}"
        )
        for seed in range(12)
    ]
    pl.concat(crowd).sort("timestamp", maintain_order=True).write_parquet(folder / "events" / "events.parquet")
    rows = [f"2024-{1 + n // 28:02d}-{1 + n % 28:02d},{(n * 7) % 31},{'yes' if n * n % 7 < 3 else 'no'}" for n in range(300)]
    (folder / "sessions.csv").write_text("\n".join(["day,pages,bought", *rows]) + "\n")
    (folder / "my_shop_guide.py").write_text("\n".join(blocks("python")))
    return folder


def test_the_sections_of_the_guide_build_examples(shop: Path) -> None:
    sections = {name: TaskSettings.model_validate(content) for name, content in tomllib.loads(blocks("toml")[0])["tasks"].items()}
    made = build_tasks(shop, declared_tasks(sections, PREPARE, shop), PREPARE, 1, folder=shop)
    assert {name: examples.spec["entity"] for name, examples in made.items()} == {
        "churn": "user",
        "intent": "session",
        "bought": "row",
    }


def test_the_python_of_the_guide_is_a_task_with_a_family_of_the_shop(shop: Path) -> None:
    sections = {
        "loyal": TaskSettings(python="my_shop_guide:loyal"),
        "night": TaskSettings.model_validate(
            {
                "every_days": 7,
                "predict": {"event": "refund", "within_days": 10},
                "features": ["user_activity", "my_shop_guide:Nights"],
            }
        ),
    }
    made = build_tasks(shop, declared_tasks(sections, PREPARE, shop), PREPARE, 1, folder=shop)
    assert made["loyal"].spec["title"] == "Users who come back"
    assert "night_events" in made["night"].tables["train"].columns


def laws() -> list[tuple[str, str]]:
    return [
        ("TestNights", "test_compute_equals_recompute"),
        ("TestNights", "test_nothing_at_or_after_the_anchor_matters"),
        ("TestLoyal", "test_labels_equal_their_recompute"),
        ("TestLoyal", "test_labels_are_known_when_they_say"),
    ]


@pytest.mark.parametrize(("suite", "law"), laws())
def test_the_suites_of_the_guide_hold(suite: str, law: str) -> None:
    module: Any = ModuleType("guide")
    exec("\n".join(blocks("python")), module.__dict__)
    getattr(getattr(module, suite)(), law)()


@pytest.mark.parametrize(
    ("suite", "law", "place", "wrong"),
    [
        (
            "TestNights",
            "test_compute_equals_recompute",
            "night = log.time // HOUR_US % 24 < 6",
            "night = log.time // HOUR_US % 24 < 7",
        ),
        (
            "TestNights",
            "test_nothing_at_or_after_the_anchor_matters",
            ".count(at)",
            ".count(type(at)(at.entity, at.anchor + 10**13))",
        ),
        ("TestLoyal", "test_labels_equal_their_recompute", ">= 3)", ">= 2)"),
        ("TestLoyal", "test_labels_are_known_when_they_say", "at.anchor + self.horizon_us)", "at.anchor + 1)"),
    ],
)
def test_the_suites_find_a_planted_fault(suite: str, law: str, place: str, wrong: str) -> None:
    source = "\n".join(blocks("python"))
    assert place in source
    if law == "test_nothing_at_or_after_the_anchor_matters":  # an own column that counts what comes later by its type
        source = source.replace("night = log.time // HOUR_US % 24 < 6", 'night = (log.kind == "view").to_numpy()')
    module: Any = ModuleType("guide")
    exec(source.replace(place, wrong, 1), module.__dict__)
    with pytest.raises(AssertionError):
        getattr(getattr(module, suite)(), law)()
