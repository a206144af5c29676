"""The guides to tasks and to feature families of a shop's own do what they show."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
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

DOCS = Path(__file__).resolve().parents[3] / "docs"
TASK = (DOCS / "own-task.md").read_text(encoding="utf-8")
FEATURES = (DOCS / "own-features.md").read_text(encoding="utf-8")
PREPARE = PrepareSettings(valid_share=0.2, test_share=0.2)


def blocks(language: str, guide: str = TASK) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", guide, re.DOTALL)


def code() -> str:
    return "\n".join([*blocks("python"), *blocks("python", FEATURES)])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
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
    (folder / "my_shop.py").write_text(code())
    yield folder
    sys.modules.pop("my_shop", None)
    sys.path.remove(str(folder))


def test_the_sections_of_the_guide_build_examples(shop: Path) -> None:
    sections = {name: TaskSettings.model_validate(content) for name, content in tomllib.loads(blocks("toml")[0])["tasks"].items()}
    made = build_tasks(shop, declared_tasks(sections, PREPARE, shop), PREPARE, 1, folder=shop)
    assert {name: examples.spec["entity"] for name, examples in made.items()} == {
        "churn": "user",
        "intent": "session",
        "bought": "row",
    }


def test_the_python_of_the_guides_is_a_task_and_a_family_that_a_task_names(shop: Path) -> None:
    churn = tomllib.loads(blocks("toml", FEATURES)[0])["tasks"]["churn"]
    sections = {
        "loyal": TaskSettings(python="my_shop:loyal"),
        "churn": TaskSettings.model_validate({**churn, "active_within_days": 30}),
    }
    made = build_tasks(shop, declared_tasks(sections, PREPARE, shop), PREPARE, 1, folder=shop)
    assert made["loyal"].spec["title"] == "Users who come back"
    assert {"week_carts", "week_cart_share"} <= set(made["churn"].tables["train"].columns)
    assert made["churn"].stored is not None
    assert {"week_carts", "week_cart_share"} <= set(made["churn"].stored.columns)


@pytest.mark.parametrize("guide", [TASK, FEATURES])
def test_a_guide_fits_a_page(guide: str) -> None:
    assert len(guide.splitlines()) <= 90


def laws() -> list[tuple[str, str]]:
    return [
        ("TestBasketMood", "test_compute_equals_recompute"),
        ("TestBasketMood", "test_nothing_at_or_after_the_anchor_matters"),
        ("TestLoyal", "test_labels_equal_their_recompute"),
        ("TestLoyal", "test_labels_are_known_when_they_say"),
    ]


@pytest.mark.parametrize(("suite", "law"), laws())
def test_the_suites_of_the_guide_hold(suite: str, law: str) -> None:
    module: Any = ModuleType("guide")
    exec(code(), module.__dict__)
    getattr(getattr(module, suite)(), law)()


@pytest.mark.parametrize(
    ("suite", "law", "place", "wrong"),
    [
        (
            "TestBasketMood",
            "test_compute_equals_recompute",
            'log.kind == "cart"',
            'log.kind != "cart"',
        ),
        (
            "TestBasketMood",
            "test_nothing_at_or_after_the_anchor_matters",
            ".count(at, days=7)",
            ".count(type(at)(at.entity, at.anchor + 10**12), days=7)",
        ),
        ("TestLoyal", "test_labels_equal_their_recompute", ">= 3)", ">= 2)"),
        ("TestLoyal", "test_labels_are_known_when_they_say", "known_at=ends", "known_at=at.anchor + 1"),
    ],
)
def test_the_suites_find_a_planted_fault(suite: str, law: str, place: str, wrong: str) -> None:
    source = code()
    assert place in source
    module: Any = ModuleType("guide")
    exec(source.replace(place, wrong, 1), module.__dict__)
    with pytest.raises(AssertionError):
        getattr(getattr(module, suite)(), law)()
