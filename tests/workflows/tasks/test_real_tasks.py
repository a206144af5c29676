"""Declared tasks on real logs: what plain models get out of the raw features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cartwheel.core.run_layout import RunLayout
from workflows.events.sources import open_source
from workflows.events.validate import check_events
from workflows.features.column import CONTINUOUS, Kind
from workflows.prepare.tasks import TaskExamples, build_task
from workflows.settings import EventSettings, PrepareSettings, SourceSettings
from workflows.tasks.settings import TaskSettings, declared

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


def examples(folder: Path, task: dict[str, Any], source: SourceSettings | None = None) -> TaskExamples:
    path = source.path if source else Path(task["table"])
    if path is None or not path.exists():
        pytest.skip(f"LOUD: {path} is not there, so this task was not tried on real data")
    if source:
        check_events(open_source(source, Path("/")), EventSettings(max_bad_share=0.02), RunLayout(folder).events_folder)
    prepare = PrepareSettings()
    return build_task(folder, declared("mine", TaskSettings.model_validate(task), prepare), prepare, 1)


def area(made: TaskExamples) -> float:
    """Area under the ROC curve of a logistic regression on the logarithms of counts and amounts."""

    def matrix(split: str) -> np.ndarray[Any, Any]:
        table = made.tables[split]  # type: ignore[index]
        logs = [
            pl.col(c.name).log1p() if c.kind in (Kind.COUNT, Kind.AMOUNT) else pl.col(c.name)
            for c in made.columns
            if c.kind in CONTINUOUS
        ]
        return table.select(logs).to_numpy()

    model = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    model.fit(matrix("train"), made.tables["train"]["label"].to_numpy())
    return float(roc_auc_score(made.tables["test"]["label"].to_numpy(), model.predict_proba(matrix("test"))[:, 1]))


@pytest.mark.thorough
def test_churn_on_online_retail_meets_the_reference(tmp_path: Path) -> None:
    source = SourceSettings(kind="online_retail", path=DATA / "online_retail" / "online_retail.parquet")
    task = {
        "use": "churn",
        "active_within_days": 365,
        "predict": {"within_days": 60},
        "test_at": "2011-10-10",
        "max_examples": 20_000,
    }
    made = examples(tmp_path, task, source)
    assert made.spec["rows"]["test"] == 3718
    assert area(made) >= 0.735


@pytest.mark.thorough
def test_churn_on_cdnow_is_near_the_reference(tmp_path: Path) -> None:
    source = SourceSettings(
        kind="table",
        path=DATA / "cdnow" / "CDNOW_master.txt",
        separator=" ",
        columns={"user_id": "customer_id", "timestamp": "date", "price": "dollar_value"},
        default_event_type="purchase",
        default_item_id="order",
        timestamp_format="%Y%m%d",
    )
    task = {
        "use": "churn",
        "active_within_days": 500,
        "predict": {"within_days": 90},
        "test_at": "1998-04-01",
        "max_examples": 40_000,
    }
    made = examples(tmp_path, task, source)
    assert made.spec["rows"]["test"] == 23_570
    assert area(made) >= 0.83


def test_page_values_of_online_shoppers_are_suspect(tmp_path: Path) -> None:
    table = DATA / "online_shoppers" / "online_shoppers_intention.csv"
    task = {"for_each": "row", "table": str(table), "label": "Revenue", "shuffled": True}
    made = examples(tmp_path, task)
    assert sum(len(part) for part in made.tables.values()) == 12_330
    [warning] = [w for w in made.spec["warnings"] if "suspect" in w]
    assert "'PageValues' is suspect" in warning
    assert area(made) > 0.88
