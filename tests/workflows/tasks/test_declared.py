"""Declared tasks keep the laws of tasks, and what cannot be one is refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cartwheel.core.errors import ConfigError
from cartwheel.testing import TaskConformance
from workflows.settings import PrepareSettings
from workflows.tasks.registry import DECLARATIONS, declaration
from workflows.tasks.settings import TaskSettings, check_names, declared
from workflows.tasks.task import Answer, Entity, Task

PREPARE = PrepareSettings()
OF_EVENTS = [name for name in DECLARATIONS if "predict" in declaration(name)]
OF_ROWS = [name for name in DECLARATIONS if name not in OF_EVENTS]
TABLE = {"table": "orders.csv", "label": "bad"}


def make(name: str = "mine", **settings: Any) -> Task:
    return declared(name, TaskSettings.model_validate(settings), PREPARE)


class TestChurn(TaskConformance):
    def task(self) -> Task:
        return make(use="churn", every_days=3, active_within_days=10, predict={"within_days": 6})


class TestPurchaseIntent(TaskConformance):
    def task(self) -> Task:
        return make(use="purchase_intent")


class TestDemand(TaskConformance):
    def task(self) -> Task:
        return make(use="demand", every_days=5)


class TestDemandOfEachDay(TaskConformance):
    def task(self) -> Task:
        return make(use="demand", every_days=5, predict={"within_days": 1, "windows": 4})


class TestDistinctItems(TaskConformance):
    def task(self) -> Task:
        return make(every_days=8, predict={"event": ["view", "cart"], "within_days": 4.5, "as": "distinct", "column": "item"})


class TestMoods(TaskConformance):
    def task(self) -> Task:
        return make(
            for_each="item", every_days=8, predict={"event": "purchase", "within_days": 9, "as": "distinct", "column": "mood"}
        )


class TestNextPrice(TaskConformance):
    def task(self) -> Task:
        return make(for_each="session", predict={"event": "purchase", "as": "value", "column": "price"})


class TestRevenueAfterASession(TaskConformance):
    def task(self) -> Task:
        return make(for_each="session", predict={"event": "purchase", "within_days": 3, "as": "sum", "column": "revenue"})


class TestMargin(TaskConformance):
    def task(self) -> Task:
        return make(every_days=9, predict={"event": "purchase", "within_days": 9, "as": "sum", "column": "margin"})


class TestCounts(TaskConformance):
    def task(self) -> Task:
        return make(
            for_each="item", every_days=9, active_within_days=4, predict={"event": "view", "within_days": 3, "as": "count"}
        )


@pytest.mark.parametrize("name", OF_EVENTS)
def test_a_declaration_is_used_by_its_name_and_its_keys_can_be_replaced(name: str) -> None:
    task = make("mine", use=name, title="Mine", predict={"event": "view"})
    assert task.title == "Mine"
    assert task.label is not None
    assert task.label.answer is task.answer
    assert vars(task.label)["kinds"] == ("view",)
    assert task.families == tuple(declaration(name)["features"])


@pytest.mark.parametrize("name", OF_ROWS)
def test_a_declaration_of_rows_asks_for_their_table(name: str) -> None:
    with pytest.raises(ValidationError, match="needs a table"):
        make("mine", use=name)
    task = make("mine", use=name, cost_of_false_positive=2.5, **TABLE)
    assert task.table is not None
    assert (task.table.path, task.cost_of_false_positive, task.learners) == (
        "orders.csv",
        2.5,
        declaration(name).get("learners", ()),
    )


def test_the_defaults_follow_what_is_asked_about() -> None:
    task = make(predict={"event": "purchase", "within_days": 30, "as": "none"})
    assert (task.entity, task.answer, task.title) == (Entity.USER, Answer.PROBABILITY, "No purchase of a user within 30 days")
    task = make(for_each="session", predict={"event": "purchase", "as": "count"})
    assert (task.answer, task.title) == (Answer.QUANTITY, "Number of purchase events in the rest of the session")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, r"predict is missing; write predict = \{"),
        ({"predict": {"event": "purchase"}}, "within_days is missing, which a task about a user needs; write within_days = 30"),
        ({"for_each": "shop"}, "Input should be 'user', 'item', 'session' or 'row'"),
        ({"use": "churns"}, "use = 'churns' is not a built-in declaration; did you mean 'churn'"),
        ({"for_each": "row"}, 'needs a table; write table = "sessions.csv"'),
        ({"for_each": "row", "table": "a.csv"}, 'needs the column that is predicted; write label = "bought"'),
        ({"for_each": "row", "table": "a.csv", "label": "b", "leave_out": "b"}, "leave_out names the label 'b'"),
        ({"for_each": "row", "table": "a.csv", "label": "b", "time": "t", "shuffled": True}, "leave shuffled out"),
        ({"for_each": "row", "table": "a.csv", "label": "b", "every_days": 3}, 'every_days is not read where for_each = "row"'),
        (
            {"use": "churn", "table": "a.csv"},
            'table is not read where for_each = "user"; leave it out, or write for_each = "row"',
        ),
        ({"use": "purchase_intent", "test_at": "2024-01-01"}, 'test_at is not read where for_each = "session"'),
        ({"use": "churn", "predict": {"as": "sum"}}, 'as = "sum" needs a column; write column = "quantity"'),
        ({"use": "churn", "predict": {"column": "price"}}, 'as = "none" reads no column; leave column out'),
        ({"use": "churn", "predict": {"within_days": 0}}, "greater than 0"),
        ({"use": "purchase_intent", "predict": {"windows": 2}}, "windows = 2 needs windows of days; write within_days = 1"),
        ({"use": "purchase_intent", "predict": {"windows": 2, "within_days": 1}}, "windows is not read where for_each = "),
        ({"use": "churn", "test_at": "2024-01-01", "test_from": "2024-01-01"}, "leave test_from out"),
        ({"use": "churn", "valid_from": "2024-01-01"}, "give both"),
        ({"use": "churn", "valid_from": "2024-01-01", "test_from": "2023-01-01"}, "give an instant before 2023-01-01"),
        ({"use": "purchase_intent", "after_events": []}, "at least 1 item"),
        ({"use": "churn", "cost_of_false_negative": -1}, "greater than or equal to 0"),
    ],
)
def test_settings_that_cannot_be_a_task_are_refused_with_a_valid_value(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TaskSettings.model_validate(settings)


@pytest.mark.parametrize("name", ["recommend", "cart", "similar_items", "ranking"])
def test_a_name_that_is_served_already_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' is served by Cartwheel itself .* Call the task my_{name}"):
        make(name, use="churn")


def test_two_tasks_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="Two tasks are called 'churn', and each is served under its name"):
        check_names(["churn", "demand", "churn"])


@pytest.mark.parametrize("name", ["Churn", "a b", "../x", "", "9lives"])
def test_a_name_that_no_ensemble_can_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="letters, digits and underscores"):
        make(name, use="churn")


def test_a_task_in_a_python_file_of_the_shop_is_loaded_under_the_name_of_its_section(tmp_path: Path) -> None:
    (tmp_path / "my_shop_tasks.py").write_text(
        "from workflows.settings import PrepareSettings\n"
        "from workflows.tasks.settings import TaskSettings, declared\n"
        "def churn():\n    return declared('x', TaskSettings(use='churn'), PrepareSettings())\n"
        "ready = churn()\nnothing = 3\n"
    )
    for name in ("churn", "ready"):
        task = declared("leaving", TaskSettings(python=f"my_shop_tasks:{name}"), PREPARE, tmp_path)
        assert (task.name, task.entity) == ("leaving", Entity.USER)
    with pytest.raises(ConfigError, match=r"tasks.leaving.python is a int, where a Task is expected"):
        declared("leaving", TaskSettings(python="my_shop_tasks:nothing"), PREPARE, tmp_path)
    with pytest.raises(ConfigError, match="has no 'chrn': did you mean 'churn'"):
        declared("leaving", TaskSettings(python="my_shop_tasks:chrn"), PREPARE, tmp_path)


LOYAL = """
from workflows.settings import PrepareSettings
from workflows.tasks.settings import TaskSettings, declared
loyal = declared("loyal", TaskSettings(use="churn"), PrepareSettings())
"""


def test_a_task_that_asks_for_a_ranking_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my_shop_order.py").write_text(
        "from cartwheel import Answer, Entity, Task\nbest = Task('best', '', Entity.USER, None, None, Answer.RANKING)\n"
    )
    with pytest.raises(ConfigError, match=r"with a ranking, where a probability or quantity is expected"):
        declared("best", TaskSettings(python="my_shop_order:best"), PREPARE, tmp_path)


def test_what_stands_beside_python_replaces_what_the_task_has(tmp_path: Path) -> None:
    (tmp_path / "my_shop_beside.py").write_text(LOYAL)
    beside = {
        "title": "Loyal ones",
        "features": ("user_activity", "my_shop:Mood"),
        "learners": ("lightgbm",),
        "metrics": ("my_shop:LIFT",),
        "cost_of_false_negative": 3.0,
        "cost_of_false_positive": 2.0,
        "max_examples": 50,
    }
    plain = declared("mine", TaskSettings(python="my_shop_beside:loyal"), PREPARE, tmp_path)
    task = declared("mine", TaskSettings(python="my_shop_beside:loyal", **beside), PREPARE, tmp_path)
    assert task.label is plain.label
    found = {key: getattr(task, "families" if key == "features" else key) for key in beside}
    assert found == beside
    assert not any(getattr(plain, "families" if key == "features" else key) == value for key, value in beside.items())


@pytest.mark.parametrize(
    "given",
    [
        {"python": "my_shop_beside:loyal", "learners": ["lightgbm"]},
        {"predict": {"event": "purchase", "within_days": 3, "as": "count"}},
        {"for_each": "row", "table": "sessions.csv", "label": "bought"},
        *({"use": name} for name in OF_EVENTS),
        *({"use": name, "predict": {"as": "any", "column": ""}} for name in OF_EVENTS),
        *({"use": name, **TABLE} for name in OF_ROWS),
    ],
    ids=str,
)
@pytest.mark.parametrize("by_alias", [True, False])
def test_settings_are_read_again_from_their_dump(given: dict[str, Any], by_alias: bool) -> None:
    """As a manifest holds them, and `cartwheel tune --write` compares them."""
    settings = TaskSettings.model_validate(given)
    assert TaskSettings.model_validate(settings.model_dump(mode="json", by_alias=by_alias)) == settings


@pytest.mark.parametrize(
    ("key", "value"),
    [("every_days", 3), ("for_each", "item"), ("predict", {"event": "purchase"}), ("use", "churn"), ("table", "a.csv")],
)
def test_what_python_decides_is_refused_beside_it(key: str, value: Any) -> None:
    with pytest.raises(ValidationError, match="is not read where python builds the task"):
        TaskSettings.model_validate({"python": "my_shop_beside:loyal", key: value})
