"""A small evaluated run with all that the report tells of: lineage, audit, histories, titles."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from evaluation.evaluate import evaluate_run
from evaluation.report.page import write_report
from evaluation.settings import EvaluateSettings
from evaluation.test_set_usage import record_touch
from workflows.settings import PrepareSettings
from workflows.tasks.split import told_split

SETTINGS = EvaluateSettings(candidates=20, cutoffs=(3, 10), bootstrap=100, baselines=("popular_in_category", "item_knn"))
SEED = 3
TITLE = 'Teapot <img src=x onerror="alert(1)"> & lid'


def told(run: Path, path: str, content: object) -> None:
    (run / path).parent.mkdir(parents=True, exist_ok=True)
    (run / path).write_text(json.dumps(content))


def history(*scores: float) -> dict[str, object]:
    epochs = [{"epoch": number, "loss": 1 / (number + 1), "score": score} for number, score in enumerate(scores)]
    return {"epochs": epochs, "best_epoch": scores.index(max(scores)), "stopped_early": True}


def tell(run: Path) -> None:
    """Write what the earlier stages would have told of themselves."""
    summary = {"rows": 900, "rows_read": 1000, "quarantined": 100, "reasons": {"no_item": 60, "no_time": 40}, "users": 40}
    summary |= {"items": 60, "source": "table", "files": ["shop.csv"], "first": "2024-02-29T12:00:00+00:00"}
    told(run, "events/summary.json", summary | {"last": "2024-03-01T02:00:00+00:00"})
    report = json.loads((run / "examples/report.json").read_text())
    report |= {"split": told_split(PrepareSettings())}
    report |= {"audit": {"rows_in_time_order": 1234}, "warnings": ["7 sessions straddle the split"]}
    report |= {
        "rows": {"train": {"recommend": 120, "cart": 360}, "test": {"recommend": 120}},
        "dropped": {"test": {"carts_censored": 5}},
    }
    told(run, "examples/report.json", report)
    for name, scores in {"two_tower": (0.1, 0.3, 0.2), "ranking": (-0.5, -0.4), "cart": (-0.6,)}.items():
        told(run, f"models/{name}/history.json", history(*scores))
    stage = {"key": "ab12" * 16, "seconds": 1.5, "settings": {"seed": SEED, "source": {"kind": "table"}}}
    file = {"bytes": 17, "rows": 900, "sha256": "cd34" * 16}
    stages = {"events": stage | {"files": {"events/events.parquet": file}}}
    told(run, "manifest.json", {"cartwheel": "9.9.9", "packages": {"polars": "1.2.3"}, "stages": stages})
    events = pl.read_parquet(run / "events/events.parquet")
    events.with_columns(title=pl.lit(TITLE)).write_parquet(run / "events/events.parquet")


@pytest.fixture(scope="session")
def evaluated(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run after evaluate; do not change it."""
    run = tmp_path_factory.mktemp("reported") / "run"
    shutil.copytree(finished_run, run)
    tell(run)
    evaluate_run(run, SETTINGS, SEED)
    record_touch(run, "first")
    return run


@pytest.fixture(scope="session")
def report_file(evaluated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of that run, alone in a folder: it needs nothing beside it."""
    run = Path(shutil.copytree(evaluated, tmp_path_factory.mktemp("drawn") / "run"))
    return Path(shutil.copy(write_report(run), tmp_path_factory.mktemp("alone")))


@pytest.fixture
def own_evaluated(evaluated: Path, tmp_path: Path) -> Path:
    """A copy of the evaluated run, to damage."""
    return Path(shutil.copytree(evaluated, tmp_path / "run"))
