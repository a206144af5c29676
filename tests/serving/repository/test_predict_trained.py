"""A declared task that was really encoded and really learnt, to the answer of its ensemble."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cartwheel.core.run_layout import RunLayout
from models.tasks.train import train_task
from serving.export.repository import write_repository
from serving.local import LocalRepository
from serving.settings import ExportSettings
from workflows.encoding.task_graph import encode_task
from workflows.features.column import Column, Kind, Owner
from workflows.tasks.task import Answer

COLUMNS = (
    Column("events", Owner.SHOPPER, Kind.COUNT, "events so far"),
    Column("price", Owner.SHOPPER, Kind.NUMBER, "mean price"),
    Column("country", Owner.SHOPPER, Kind.CATEGORY, "country"),
    Column("tags", Owner.SHOPPER, Kind.TAGS, "tags", width=3),
)


def examples(rng: np.random.Generator, rows: int, answer: Answer) -> pl.DataFrame:
    events = rng.integers(0, 20, rows).astype(np.float32)
    price = [None if rng.random() < 0.2 else float(value) for value in rng.normal(size=rows)]
    country = rng.choice(["", "fr", "de", "dk"], rows)
    odds = 0.3 * events - 3 + np.where(country == "fr", 1.5, 0)
    label = rng.poisson(np.exp(odds / 4)) if answer is Answer.QUANTITY else rng.random(rows) < 1 / (1 + np.exp(-odds))
    return pl.DataFrame(
        {
            "entity": [f"u{place}" for place in range(rows)],
            "label": label.astype(float),
            "events": pl.Series(events, dtype=pl.Float32),
            "price": pl.Series(price, dtype=pl.Float32),
            "country": country,
            "tags": pl.Series(
                [rng.choice(["a", "b", "c"], rng.integers(0, 4)).tolist() for _ in range(rows)], dtype=pl.List(pl.String)
            ),
        }
    )


@pytest.mark.parametrize(
    ("answer", "learner"),
    [(Answer.PROBABILITY, "logistic_regression"), (Answer.PROBABILITY, "lightgbm"), (Answer.QUANTITY, "lightgbm")],
)
def test_what_was_learnt_is_what_is_served(tmp_path: Path, answer: Answer, learner: str) -> None:
    layout, rng = RunLayout(tmp_path).task("churn"), np.random.default_rng(3)
    layout.examples("train").parent.mkdir(parents=True)
    for split, rows in (("train", 400), ("valid", 200), ("test", 120)):
        examples(rng, rows, answer).write_parquet(layout.examples(split))
    stored = examples(rng, 50, answer).drop("label")
    stored.write_parquet(layout.stored)
    spec = {
        "name": "churn", "title": "Whether a user leaves", "learners": [learner], "entity": "user",
        "answer": answer.value, "columns": [column.to_json() for column in COLUMNS],
        "base_rate": {"train": 0.4}, "costs": {"false_positive": 1.0, "false_negative": 1.0},
    }  # fmt: skip
    layout.spec.write_text(json.dumps(spec))
    encoding = encode_task(layout, COLUMNS)
    train_task(layout, encoding.columns, encoding.sizes, seed=1)
    local = LocalRepository(write_repository(tmp_path, ExportSettings()))
    answers = local.ask("churn", entity=[["u0"], ["nobody"]])
    assert answers["known"].tolist() == [[1], [0]]
    many, few = (local.ask("churn", entity=[["u0"]], events=[[events]])["score"][0, 0] for events in (19.0, 0.0))
    assert many > few
    assert "events" in local.ask("churn", entity=[["u0"]], events=[[19.0]])["reasons"][0].tolist()
