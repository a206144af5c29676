"""The learner that validation chooses on real data meets what plain models reach there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from cartwheel.core.run_layout import RunLayout
from evaluation.task_metrics import TaskEvaluation, evaluate_task
from models.tasks.train import train_task
from workflows.encoding.task_graph import encode_task
from workflows.events.sources import open_source
from workflows.events.validate import check_events
from workflows.prepare.tasks import build_task
from workflows.settings import EventSettings, PrepareSettings, SourceSettings
from workflows.tasks.settings import TaskSettings, declared

SHARED = Path(os.environ.get("CARTWHEEL_DATA", Path(__file__).parents[4] / "shared" / "data"))
SHOPPERS = SHARED / "online_shoppers" / "online_shoppers_intention.csv"


def evaluated(run: Path, task: dict[str, Any], source: SourceSettings | None = None) -> TaskEvaluation:
    path = source.path if source else Path(task["table"])
    if path is None or not path.exists():
        pytest.skip(f"LOUD: {path} is not there, so no learner was held to its reference on real data")
    if source:
        check_events(open_source(source, Path("/")), EventSettings(max_bad_share=0.02), RunLayout(run).events_folder)
    prepare = PrepareSettings()
    made = build_task(run, declared("asked", TaskSettings.model_validate(task), prepare), prepare, 0)
    layout = RunLayout(run).task("asked")
    encoding = encode_task(layout, made.columns)
    train_task(layout, encoding.columns, encoding.sizes, 0)
    return evaluate_task(layout, 200, 0)


def served_area(found: TaskEvaluation) -> float:
    record = found.find(found.served, "roc_auc")
    assert record is not None
    assert record.value is not None
    return record.value


@pytest.mark.parametrize(("left_out", "least"), [((), 0.93), (("PageValues",), 0.78)])
def test_purchase_intent_of_online_shoppers(tmp_path: Path, left_out: tuple[str, ...], least: float) -> None:
    task = {"for_each": "row", "table": str(SHOPPERS), "label": "Revenue", "shuffled": True, "leave_out": left_out}
    found = evaluated(tmp_path, {**task, "learners": ("logistic_regression", "lightgbm")})
    assert served_area(found) >= least
    assert any(sentence.startswith("PageValues alone") for sentence in found.suspects) == (not left_out)


@pytest.mark.thorough
def test_churn_of_online_retail(tmp_path: Path) -> None:
    source = SourceSettings(kind="online_retail", path=SHARED / "online_retail" / "online_retail.parquet")
    task = {"use": "churn", "active_within_days": 365, "predict": {"within_days": 60}, "test_at": "2011-10-10"}
    found = evaluated(tmp_path, {**task, "max_examples": 40_000}, source)
    assert found.rows == 3718
    assert served_area(found) >= 0.735


@pytest.mark.thorough
def test_churn_of_cdnow(tmp_path: Path) -> None:
    source = SourceSettings(
        kind="table",
        path=SHARED / "cdnow" / "CDNOW_master.txt",
        separator=" ",
        columns={"user_id": "customer_id", "timestamp": "date", "price": "dollar_value"},
        default_event_type="purchase",
        default_item_id="order",
        timestamp_format="%Y%m%d",
    )
    task = {"use": "churn", "active_within_days": 500, "predict": {"within_days": 90}, "test_at": "1998-04-01"}
    found = evaluated(tmp_path, task, source)
    assert found.rows == 23_570
    assert served_area(found) >= 0.838
