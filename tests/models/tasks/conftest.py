"""The files of a task as prepare leaves them, with a planted signal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cartwheel.core.files import write_json
from cartwheel.core.run_layout import TaskLayout
from cartwheel.testing.learner import COLUMNS, answers, encoded, sizes_of
from models.tasks.train import train_task
from workflows.features.column import Column
from workflows.tasks.task import DECLARED_ANSWERS, Answer

ROWS = 1200
ENTITIES = 300
TRIED = {
    Answer.PROBABILITY: ("logistic_regression", "lightgbm"),
    Answer.QUANTITY: ("poisson_regression", "lightgbm"),
}


def write_task(
    run: Path, name: str, answer: Answer, columns: tuple[Column, ...] = COLUMNS, learners: tuple[str, ...] = ()
) -> TaskLayout:
    """Write ``features/`` and ``task.json`` of a task."""
    layout = TaskLayout(run, name)
    about = {"name": name, "title": name.capitalize(), "entity": "user", "answer": answer.value, "learners": list(learners)}
    write_json(layout.spec, {**about, "costs": {"false_positive": 1.0, "false_negative": 3.0}})
    for number, split in enumerate(("train", "valid", "test")):
        table = encoded(columns, ROWS, 1000 * number)
        entity = np.random.default_rng(number).integers(0, ENTITIES, ROWS)
        about = {"entity": [f"u{each}" for each in entity], "label": answers(table, answer, number)}
        frame = {column.name: _series(table[column.name]) for column in columns}
        layout.features(split).mkdir(parents=True)
        pl.DataFrame({**about, **frame}).write_parquet(layout.features(split) / "part.0.parquet")
    return layout


def _series(values: np.ndarray) -> list | np.ndarray:
    """Lists without their padding, as the encoding writes them."""
    if values.ndim == 1:
        return values
    return [row.tolist() if values.dtype == np.float32 else row[row != 0].tolist() for row in values]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[Answer, TaskLayout]:
    """A trained task of each answer."""
    run = tmp_path_factory.mktemp("run")
    layouts = {}
    for answer in DECLARED_ANSWERS:
        layouts[answer] = write_task(run, answer.value, answer, learners=TRIED[answer])
        train_task(layouts[answer], COLUMNS, sizes_of(COLUMNS), 0)
    return layouts
