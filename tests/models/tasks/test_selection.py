from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from cartwheel.core.run_layout import TaskLayout
from cartwheel.testing.learner import COLUMNS, sizes_of, training_data
from models.families.family import TrainingData
from models.tasks.leaderboard import Leaderboard
from models.tasks.selection import Method, select
from models.tasks.train import TaskTrainingSettings, read_model, train_task
from models.training.tables import Table
from workflows.features.column import Column, Kind, Owner
from workflows.tasks.task import DECLARED_ANSWERS, Answer

from .conftest import write_task

SIGNAL = {"age", "channel", "recent"}
NOISE = tuple(Column(f"noise{place}", Owner.SHOPPER, Kind.NUMBER, "noise") for place in range(8))
METHODS = [method for method in get_args(Method) if method != "none"]


def planted(answer: Answer) -> TrainingData:
    """Rows with a planted signal, and twelve columns that tell nothing."""
    return training_data((*COLUMNS, *NOISE), answer, 3000)


@pytest.mark.parametrize("answer", DECLARED_ANSWERS)
@pytest.mark.parametrize("method", METHODS)
def test_planted_noise_is_dropped_and_planted_signal_kept(method: Method, answer: Answer) -> None:
    found = select(planted(answer), method, 0)
    kept = {column.name for column in found.kept}
    assert kept >= SIGNAL
    assert len(kept - SIGNAL) <= 4  # of 16 that tell nothing
    assert kept.isdisjoint(found.dropped)
    assert kept | set(found.dropped) >= {column.name for column in (*COLUMNS, *NOISE)} - {"visits_filled"}
    assert ("visits" in kept) == ("visits_filled" in kept)
    assert all(found.dropped.values())


@pytest.mark.parametrize("method", METHODS)
def test_a_copy_of_the_signal_does_not_cost_both(method: Method) -> None:
    columns = (COLUMNS[0], Column("again", Owner.SHOPPER, Kind.NUMBER, "the same"), *NOISE[:3])
    data = training_data(columns, Answer.PROBABILITY, 3000)
    tables = [Table(table.folder, {**table.columns, "again": table["age"]}) for table in (data.train, data.valid)]
    found = select(replace(data, train=tables[0], valid=tables[1]), method, 0)
    assert {"age", "again"} & {column.name for column in found.kept}


@pytest.mark.parametrize("method", METHODS)
def test_something_is_kept_where_nothing_tells(method: Method) -> None:
    data = training_data(NOISE, Answer.PROBABILITY, 400)
    found = select(data, method, 0)
    assert found.kept
    assert select(data, method, 0) == found


def test_without_validation_rows_only_training_rows_can_choose() -> None:
    data = planted(Answer.PROBABILITY)
    data = replace(data, valid=data.valid.at(np.zeros(0, np.int64)), valid_label=np.zeros(0))
    assert select(data, "permutation", 0).kept == data.columns
    assert select(data, "none", 0).kept == data.columns
    assert select(data, "mutual_information", 0).dropped


def test_a_task_learns_from_what_was_selected(tmp_path: Path) -> None:
    layout: TaskLayout = write_task(tmp_path, "churn", Answer.PROBABILITY, (*COLUMNS, *NOISE), ("logistic_regression",))
    columns = (*COLUMNS, *NOISE)
    train_task(layout, columns, sizes_of(columns), 0, TaskTrainingSettings(select="permutation"))
    board = Leaderboard.read(layout)
    read = {column.name for column in read_model(layout.model("logistic_regression")).columns}
    assert read >= SIGNAL
    assert read.isdisjoint(board.dropped)
    assert len(set(board.dropped) & {column.name for column in NOISE}) >= 5
