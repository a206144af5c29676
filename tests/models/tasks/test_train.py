from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cartwheel.core.errors import ConfigError, DataError, RunError
from cartwheel.core.onnx_model import OnnxModel
from cartwheel.core.run_layout import TaskLayout
from cartwheel.testing.learner import COLUMNS, sizes_of
from models.families.row_registry import RULES, learners_for, load_fitted
from models.tasks.leaderboard import Candidate, Leaderboard, rank
from models.tasks.rows import inputs_of, read_rows
from models.tasks.train import OFFLINE_ROWS, read_model, train_task
from workflows.features.column import Column, Kind, Owner
from workflows.tasks.task import DECLARED_ANSWERS, Answer

from .conftest import TRIED, write_task


@pytest.mark.parametrize("answer", DECLARED_ANSWERS)
def test_each_learner_leaves_what_is_served_from(trained: dict[Answer, TaskLayout], answer: Answer) -> None:
    layout = trained[answer]
    test = read_rows(layout, "test", COLUMNS, sizes_of(COLUMNS))
    for name in (*RULES, *TRIED[answer]):
        files, model = layout.model(name), read_model(layout.model(name))
        graph = OnnxModel(files.scores)
        offline = pl.read_parquet(files.offline)
        rows = test.table.head(OFFLINE_ROWS)
        score = graph.table(inputs_of(rows, model.columns), "score")[:, 0].astype(np.float64)
        np.testing.assert_allclose(offline["score"], score, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(offline["answer"], model.answers(score), rtol=1e-4, atol=1e-5)
        assert set(model.typical) == {column.name for column in model.columns}
        assert offline["entity"].to_list() == test.entity[:OFFLINE_ROWS].tolist()
        np.testing.assert_array_equal(load_fitted(name, files.path).scores(rows), offline["score"])


@pytest.mark.parametrize("answer", DECLARED_ANSWERS)
def test_reasons_are_what_replacing_a_column_changes(trained: dict[Answer, TaskLayout], answer: Answer) -> None:
    layout = trained[answer]
    rows = read_rows(layout, "test", COLUMNS, sizes_of(COLUMNS)).table.head(OFFLINE_ROWS)
    for name in TRIED[answer]:
        files, model = layout.model(name), read_model(layout.model(name))
        graph, offline = OnnxModel(files.scores), pl.read_parquet(files.offline)
        given = inputs_of(rows, model.columns)
        assert model.reasons["visits"] == ["visits", "visits_filled"]
        for reason, together in model.reasons.items():
            typical = {
                each: np.broadcast_to(np.asarray(model.typical[each], given[each].dtype), given[each].shape) for each in together
            }
            change = graph.table(given, "score") - graph.table({**given, **typical}, "score")
            np.testing.assert_allclose(offline[f"reason_{reason}"], change[:, 0], rtol=1e-3, atol=3e-5)


def test_reasons_of_a_linear_model_are_its_contributions_less_those_of_the_typical_row(trained: dict[Answer, TaskLayout]) -> None:
    layout = trained[Answer.PROBABILITY]
    files = layout.model("logistic_regression")
    model, fitted = read_model(files), load_fitted("logistic_regression", files.path)
    rows = read_rows(layout, "test", COLUMNS, sizes_of(COLUMNS)).table.head(OFFLINE_ROWS)
    parts = fitted.contributions(rows)
    assert parts is not None
    place = [column.name for column in model.columns].index("age")
    weight = (parts[1, place] - parts[0, place]) / (rows["age"][1] - rows["age"][0])
    expected = weight * (rows["age"].astype(np.float64) - model.typical["age"])
    np.testing.assert_allclose(pl.read_parquet(files.offline)["reason_age"], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("answer", DECLARED_ANSWERS)
def test_the_leaderboard_puts_what_learnt_before_the_rules(trained: dict[Answer, TaskLayout], answer: Answer) -> None:
    board = Leaderboard.read(trained[answer])
    order = [entry.learner for entry in board.entries]
    assert set(order) == {*RULES, *TRIED[answer]}
    assert order[-1] == "base_rate"
    assert order[-2] == "one_feature"
    assert board.served == TRIED[answer][0]  # the planted signal is linear but for parity, and trees gain little
    assert [entry.value for entry in board.entries] == sorted(entry.value for entry in board.entries)
    assert all(entry.low is not None and entry.low < entry.value < entry.high for entry in board.entries)
    if answer is Answer.PROBABILITY:
        assert next(iter(board.alone)) == "age"


def test_training_twice_gives_the_same_files(trained: dict[Answer, TaskLayout], tmp_path: Path) -> None:
    first = trained[Answer.PROBABILITY]
    again = write_task(tmp_path, first.name, Answer.PROBABILITY, learners=TRIED[Answer.PROBABILITY])
    train_task(again, COLUMNS, sizes_of(COLUMNS), 0)
    files = sorted(path.relative_to(again.models) for path in again.models.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(first.models) for path in first.models.rglob("*") if path.is_file())
    for file in files:
        assert (again.models / file).read_bytes() == (first.models / file).read_bytes(), file


def test_a_simple_learner_that_is_as_good_is_served() -> None:
    rng = np.random.default_rng(0)
    entity, noise = np.arange(400).astype(str), rng.normal(size=400)
    simple = Candidate("simple", "simple", 1, 1.0 + noise, ())
    better = Candidate("better", "better", 4, simple.loss - 0.001 + rng.normal(scale=0.1, size=400), ())
    bad = Candidate("bad", "bad", 0, simple.loss + 0.5, ())
    _, served, why = rank([simple, better, bad], entity, 200, 0)
    assert served == "simple"
    assert "one standard error" in why
    clear = Candidate("clear", "clear", 5, simple.loss - 0.2 + rng.normal(scale=0.1, size=400), ())
    entries, served, _ = rank([simple, better, bad, clear], entity, 200, 0)
    assert served == "clear"
    assert [entry.learner for entry in entries][-1] == "bad"


def test_rows_of_one_entity_count_as_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    each = rng.normal(size=40)
    candidates = [Candidate("first", "first", 1, np.zeros(400), ()), Candidate("second", "second", 2, np.repeat(each, 10), ())]
    errors = []
    for entity in (np.repeat(np.arange(40), 10), np.arange(400)):
        entries, _, _ = rank(candidates, entity.astype(str), 300, 0)
        errors.append(max(entry.standard_error for entry in entries))
    assert errors[0] > 2 * errors[1]


def test_a_learner_that_reads_none_of_the_columns_is_left_out_and_named(tmp_path: Path) -> None:
    columns = (Column("vector", Owner.SHOPPER, Kind.VECTOR, "a vector", width=3),)
    layout = write_task(tmp_path, "churn", Answer.PROBABILITY, columns, ("logistic_regression",))
    board = train_task(layout, columns, {}, 0)
    assert board.skipped == {"one_feature": "it needs a column of a kind that it reads, and there is none"}
    assert {entry.learner for entry in board.entries} == {"base_rate", "logistic_regression"}


def test_what_is_missing_or_cannot_be_learnt_is_said(tmp_path: Path, trained: dict[Answer, TaskLayout]) -> None:
    with pytest.raises(RunError, match=r"task\.json is missing"):
        train_task(TaskLayout(tmp_path, "none"), COLUMNS, sizes_of(COLUMNS), 0)
    layout = write_task(tmp_path, "flat", Answer.PROBABILITY)
    path = layout.features("train") / "part.0.parquet"
    pl.read_parquet(path).with_columns(label=pl.lit(0.0)).write_parquet(path)
    with pytest.raises(DataError, match="flat: base_rate: all 1200 training labels are 0"):
        train_task(layout, COLUMNS, sizes_of(COLUMNS), 0)
    damaged = trained[Answer.PROBABILITY].model("base_rate")
    copy = TaskLayout(tmp_path, "copy").model("base_rate")
    copy.path.mkdir(parents=True)
    copy.config.write_text(json.dumps({**json.loads(damaged.config.read_text()), "answer": "rank"}))
    copy.calibration.write_text(damaged.calibration.read_text())
    with pytest.raises(RunError, match="does not describe a model of a task"):
        read_model(copy)


def test_learners_are_checked_before_anything_is_fitted() -> None:
    with pytest.raises(ConfigError, match="'poisson_regression' does not answer with a probability"):
        learners_for(Answer.PROBABILITY, ("poisson_regression",))
    with pytest.raises(ConfigError, match="'forest' is not a model family"):
        learners_for(Answer.PROBABILITY, ("forest",), where="tasks.churn.learners")
    with pytest.raises(ConfigError, match=r"lightgbm.leaves = 1 is not accepted"):
        learners_for(Answer.PROBABILITY, ("lightgbm",), {"lightgbm": {"leaves": 1}})
    with pytest.raises(ConfigError, match="settings of 'mlp', which is not tried"):
        learners_for(Answer.PROBABILITY, ("lightgbm",), {"mlp": {"epochs": 1}})
    with pytest.raises(ConfigError, match="there is no module 'no_such_shop'"):
        learners_for(Answer.PROBABILITY, ("no_such_shop.models:Mine",))
    with pytest.raises(ConfigError, match="is not a model family"):
        learners_for(Answer.PROBABILITY, ("pathlib:Path",))
    assert [each.name for each in learners_for(Answer.QUANTITY)][:2] == list(RULES)


OWN = """
from cartwheel.core.settings import Settings
from models.families.family import ALL_KINDS, BOTH_ANSWERS, Learner, Tags
from models.families.rows.base_rate import BaseRateLearner

class Nothing(Settings):
    pass

class Mine(BaseRateLearner):
    name, title, complexity = "mine", "my own", 1

class Raises(Mine):
    def fit(self, data, seed):
        raise ZeroDivisionError("no shops")

class GivesNothing(Mine):
    def fit(self, data, seed):
        return None

class SameName(Mine):
    name = "lightgbm"

class BadName(Mine):
    name = "My Own"

class Half(Learner):
    name, title, complexity, tags, settings = "half", "half", 1, Tags(BOTH_ANSWERS, "rows", ALL_KINDS), Nothing

class Untitled(Learner):
    name = "untitled"
"""


def test_a_family_of_the_shop_is_tried_like_ours_and_its_mistakes_are_said(tmp_path: Path) -> None:
    (tmp_path / "shop_families.py").write_text(OWN)

    def train(*names: str) -> Leaderboard:
        named = tuple(name if name == "lightgbm" else f"shop_families:{name}" for name in names)
        layout = write_task(tmp_path / "".join(names), "churn", Answer.PROBABILITY, COLUMNS[:1], named)
        return train_task(layout, COLUMNS[:1], {}, 0, folder=tmp_path)

    assert {entry.learner for entry in train("Mine").entries} == {*RULES, "mine"}
    for name, expected in {
        "Raises": r"churn: the learner mine raised ZeroDivisionError: no shops \(shop_families\.py, line",
        "GivesNothing": "the learner mine gave a NoneType, where a Fitted is expected",
        "BadName": "is called 'My Own', which cannot be the name of a folder",
        "Half": "does not define fit, load",
        "Untitled": "has no title",
        "Nowhere": "has no 'Nowhere'",
    }.items():
        with pytest.raises(ConfigError, match=expected):
            train(name)
    with pytest.raises(ConfigError, match="are both called 'lightgbm'"):
        train("lightgbm", "SameName")


def test_settings_of_a_learner_reach_it(tmp_path: Path) -> None:
    layout = write_task(tmp_path, "churn", Answer.PROBABILITY, COLUMNS[:1], ("lightgbm",))
    train_task(layout, COLUMNS[:1], {}, 0, parameters={"lightgbm": {"leaves": 3}})
    assert json.loads(layout.model("lightgbm").config.read_text())["settings"]["leaves"] == 3
