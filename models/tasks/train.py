"""Fits and calibrates every learner of a declared task, and writes its folder and the leaderboard."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import polars as pl
from pydantic import Field

from cartwheel.core.errors import CartwheelError, ConfigError, DataError, RunError
from cartwheel.core.files import atomic_path, write_json
from cartwheel.core.hooks import described
from cartwheel.core.progress import progress
from cartwheel.core.run_layout import ModelLayout, TaskLayout
from cartwheel.core.settings import Settings
from cartwheel.core.tables import read_json
from models.families.family import Fitted, Floats, Learner, TrainingData
from models.families.row_registry import SERIES_RULES, learners_for
from models.families.rows.one_feature import OneFeatureLearner, row_loss
from models.metrics.classification import roc_auc, row_log_loss
from models.tasks.calibrate import Level, calibrate, calibrate_level
from models.tasks.decide import Decision, choose_threshold
from models.tasks.effects import given_at_random, row_targeting_loss
from models.tasks.leaderboard import METRIC, Candidate, Leaderboard, rank
from models.tasks.reasons import reason_groups, reasons, typical_values
from models.tasks.rows import Rows, inputs_of, read_rows
from models.tasks.selection import Method, select
from models.tasks.spec import TaskSpec
from models.tasks.spread import Spread, fit_spread
from models.training.calibration import Platt
from models.training.onnx_export import write_checked
from workflows.features.column import Column
from workflows.features.scale import Scale
from workflows.tasks.task import Answer, declared_answer

OFFLINE_ROWS: Final = 256
"""Test rows whose answers are kept for the comparison with the server."""
_PACKAGES: Final = ("lightgbm", "scikit-learn", "tensorflow", "tf-keras", "onnxmltools")


class TaskTrainingSettings(Settings):
    """How the learners of a task are fitted and compared."""

    select: Method = "none"
    """How columns are left out before learners are fitted: not at all, where an L1 penalty gives them no weight, where they share no more
    information with the label than shuffled ones, or where shuffling them on validation rows costs nothing."""
    interval: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.8
    """Share of cases that the interval of a quantity is to hold."""
    bootstrap: Annotated[int, Field(ge=100)] = 500
    """Resamples of entities behind the intervals and standard errors of the leaderboard."""


@dataclass(frozen=True)
class Answering:
    """How a score becomes an answer, as ``calibration.json`` holds it.

    Attributes:
        platt: calibration of log odds.
        decision: when a probability is a yes; None for quantities.
        factor: of quantities.
        spread: of quantities; None for probabilities.
    """

    platt: Platt
    decision: Decision | None
    factor: float = 1.0
    spread: Spread | None = None

    def content(self) -> dict[str, Any]:
        """Return it as JSON values."""
        decided = asdict(self.decision) if self.decision else {}
        return {**self.platt.content(), **decided, "factor": self.factor, "spread": asdict(self.spread) if self.spread else None}


@dataclass(frozen=True)
class TaskModel:
    """What ``config.json`` holds of a trained model of a task.

    Attributes:
        model: name of the learner.
        answer: what answers the task.
        columns: inputs of ``model.onnx``, in their order.
        sizes: column of ids -> number of ids.
        typical: column -> typical encoded value, see ``models.tasks.reasons``.
        reasons: column that is a reason -> inputs that are replaced together.
        calibration: of the log odds; the identity for quantities.
        decision: when a probability is a yes; None for quantities.
        factor: of quantities; 1 for probabilities.
        spread: how far a quantity may be from what is expected; None for probabilities.
    """

    model: str
    answer: Answer
    columns: tuple[Column, ...]
    sizes: Mapping[str, int]
    typical: Mapping[str, Any]
    reasons: Mapping[str, Sequence[str]]
    calibration: Platt
    decision: Decision | None
    factor: float = 1.0
    spread: Spread | None = None

    def answers(self, score: Floats) -> Floats:
        """Return [n] the probabilities, quantities or effects of [n] scores."""
        if self.answer is Answer.PROBABILITY:
            return np.asarray(self.calibration.probability(score), np.float64)
        return score * self.factor


def train_task(
    layout: TaskLayout,
    columns: Sequence[Column],
    sizes: Mapping[str, int],
    seed: int,
    settings: TaskTrainingSettings | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    folder: Path | None = None,
    scales: Mapping[str, Scale] | None = None,
) -> Leaderboard:
    """Fit the learners of a task on its training rows and choose on validation rows which is served.

    Reads ``task.json`` and ``features/``; writes a folder a learner (``model.onnx``, ``config.json``, ``calibration.json``,
    ``offline.parquet`` and what the learner reads itself) and ``leaderboard.json``. A learner gets the columns of the kinds that it
    reads, and notes which it does not; one that reads none of them is left out, and the leaderboard holds why.

    Args:
        layout: the task's files.
        columns: the encoded columns.
        sizes: column of ids -> number of ids.
        seed: of everything that is random.
        settings: how learners are fitted and compared.
        parameters: learner -> settings that are not its defaults.
        folder: of the configuration file, where a shop's own families lie.
        scales: column of numbers -> how its values are read back in their own unit.

    Raises:
        ConfigError: if the task names a learner that there is not, or that cannot answer it, or a shop's own one raises.
        RunError: if ``task.json`` or features are missing.
        DataError: if there is nothing to learn: no row, or one class only.
        ParityError: if the ONNX graph of a learner answers otherwise than the learner.
    """
    settings, spec = settings or TaskTrainingSettings(), TaskSpec.read(layout)
    learners = learners_for(spec.answer, spec.learners, parameters, f"tasks.{spec.name}.learners", folder)
    effect = spec.answer is Answer.EFFECT
    splits = {split: read_rows(layout, split, columns, sizes, treated=effect) for split in ("train", "valid", "test")}
    data = data_of(spec, columns, sizes, splits["train"], splits["valid"], scales)
    if effect and settings.select != "none":
        raise ConfigError(
            f"tasks.{spec.name}.select is {settings.select!r}, which selects by labels and not by effects.", "Leave select out."
        )
    selection = select(data, settings.select, seed)
    alone = areas_alone(data)
    data = replace(data, columns=selection.kept)
    candidates, skipped = [], {}
    with progress(f"train {layout.name}", len(learners)) as advance:
        for learner in learners:
            own, notes = _readable(data, learner)
            why = learner.unsuitable(own.columns)
            if why and learner.name in SERIES_RULES:
                pass  # the task is not about a series, which is no news
            elif why:
                skipped[learner.name] = f"it {why}"
            else:
                candidates.append(_train(layout, spec, learner, own, splits, seed, notes, settings.interval))
            advance(1, learner.name)
    if effect and (why := given_at_random(data, seed)):
        candidates = [replace(each, notes=(*each.notes, why)) for each in candidates]
    if not candidates:
        raise DataError(f"{layout.name}: no learner reads any of its columns.", "Name other learners.")
    valid = splits["valid"]
    entries, served, why = rank(candidates, valid.entity, settings.bootstrap, seed)
    board = Leaderboard(
        layout.name,
        spec.title,
        spec.answer,
        METRIC[spec.answer],
        len(valid),
        len(np.unique(valid.entity)),
        served,
        why,
        entries,
        skipped,
        selection.dropped,
        alone,
    )
    board.write(layout)
    return board


def data_of(
    spec: TaskSpec,
    columns: Sequence[Column],
    sizes: Mapping[str, int],
    train: Rows,
    valid: Rows,
    scales: Mapping[str, Scale] | None = None,
) -> TrainingData:
    """Return what the learners of a task get; arguments as in ``train_task``."""
    return TrainingData(
        spec.name,
        spec.answer,
        tuple(columns),
        dict(sizes),
        train.table,
        train.label,
        valid.table,
        valid.label,
        scales=dict(scales or {}),
        horizon_days=spec.horizon_days,
        treated=train.treated,
        valid_treated=valid.treated,
    )


def areas_alone(data: TrainingData) -> dict[str, float]:
    """Return column -> ROC AUC on validation rows of a rule of this column only, best first; empty for quantities and one class."""
    if data.answer is not Answer.PROBABILITY or len(np.unique(data.valid_label)) < 2:
        return {}
    rules = OneFeatureLearner().rules(data)
    label = data.valid_label.astype(np.int64)
    areas = {name: float(roc_auc(label, rule.scores(data.valid[name]))) for name, rule in rules.items()}
    return dict(sorted(areas.items(), key=lambda each: -each[1]))


def read_model(model: ModelLayout) -> TaskModel:
    """Read what is needed to answer with a model: its ``config.json`` and ``calibration.json``.

    Raises:
        RunError: if a file is missing or lacks what it should hold.
    """
    config, calibration = read_json(model.config), read_json(model.calibration)
    try:
        return TaskModel(
            config["model"],
            declared_answer(config["answer"]),
            tuple(Column.from_json(each) for each in config["columns"]),
            config["sizes"],
            config["typical"],
            config["reasons"],
            Platt(float(calibration["slope"]), float(calibration["intercept"])),
            Decision(float(calibration["threshold"]), calibration["rule"]) if "threshold" in calibration else None,
            float(calibration.get("factor", 1.0)),
            Spread.from_json(calibration["spread"]) if calibration.get("spread") else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{model.config} does not describe a model of a task ({error}).", "Run `cartwheel train` again.") from None


def _readable(data: TrainingData, learner: Learner[Any]) -> tuple[TrainingData, tuple[str, ...]]:
    """Return the data with only the columns of kinds that the family reads, and a note about the others."""
    others = [column.name for column in data.columns if column.kind not in learner.tags.reads]
    if not others:
        return data, ()
    kept = tuple(column for column in data.columns if column.kind in learner.tags.reads)
    return replace(data, columns=kept), (f"it does not read {', '.join(others)}",)


def _fitted(learner: Learner[Any], data: TrainingData, seed: int) -> Fitted:
    """Fit; what a shop's own family raises becomes a sentence."""
    try:
        fitted: Any = learner.fit(data, seed)
    except CartwheelError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{data.task}: the learner {learner.name} raised {described(error)}.",
            "Correct it, or leave it out of the task's learners.",
        ) from error
    if not isinstance(fitted, Fitted):
        raise ConfigError(
            f"{data.task}: the learner {learner.name} gave a {type(fitted).__name__}, where a Fitted is expected.", "Return one."
        )
    return fitted


def _train(
    layout: TaskLayout,
    spec: TaskSpec,
    learner: Learner[Any],
    data: TrainingData,
    splits: Mapping[str, Rows],
    seed: int,
    notes: tuple[str, ...],
    interval: float,
) -> Candidate:
    fitted, valid = _fitted(learner, data, seed), splits["valid"]
    notes = (*notes, *fitted.notes)
    score = fitted.scores(valid.table)
    if data.answer is Answer.PROBABILITY:
        calibrated = calibrate(score, valid.label, valid.entity)
        platt, loss = calibrated.platt, row_log_loss(valid.label.astype(np.int64), calibrated.held_out)
        decision = choose_threshold(valid.label, calibrated.held_out, spec.false_positive, spec.false_negative)
        answering = Answering(platt, decision)
        notes = (*notes, platt.note) if platt.note else notes
    elif data.answer is Answer.EFFECT:
        answering, loss = Answering(Platt(), None), row_targeting_loss(data, score, seed)
    else:
        level = Level(1.0, score) if fitted.own_level else calibrate_level(score, valid.label, valid.entity)
        loss = row_loss(valid.label, level.held_out, data.answer)
        spread = fit_spread(level.held_out, valid.label, interval, spec.false_positive, spec.false_negative)
        answering = Answering(Platt(), None, level.factor, spread)
    examples = {split: len(rows) for split, rows in splits.items()}
    with atomic_path(layout.model(learner.name).path) as folder:
        folder.mkdir()
        about = {"seed": seed, "examples": examples, "notes": list(notes)}
        _write(ModelLayout(folder), learner, fitted, data, answering, splits, about)
    return Candidate(learner.name, learner.title, learner.complexity, loss, notes)


def _write(
    model: ModelLayout,
    learner: Learner[Any],
    fitted: Fitted,
    data: TrainingData,
    answering: Answering,
    splits: Mapping[str, Rows],
    about: Mapping[str, Any],
) -> None:
    columns = fitted.columns
    typical = typical_values(columns, data.train)
    config = {
        "model": learner.name,
        "title": learner.title,
        "task": data.task,
        "answer": data.answer.value,
        "settings": learner.config.model_dump(mode="json"),
        "columns": [column.to_json() for column in columns],
        "sizes": {column.name: data.sizes[column.name] for column in columns if column.name in data.sizes},
        "typical": typical,
        "reasons": reason_groups(columns),
        "versions": {package: importlib.metadata.version(package) for package in _PACKAGES},
        **about,
    }
    fitted.save(model.path)
    write_json(model.config, config)
    write_json(model.calibration, answering.content())
    rows = splits["test"].table.head(OFFLINE_ROWS)
    score = fitted.scores(rows)
    write_checked(fitted.onnx(), inputs_of(rows, columns), score[:, None].astype(np.float32), model.scores, learner.title)
    found = reasons(fitted.scores, columns, typical, rows)
    task_model = TaskModel(
        learner.name,
        data.answer,
        columns,
        data.sizes,
        typical,
        {},
        answering.platt,
        answering.decision,
        answering.factor,
        answering.spread,
    )
    answer = task_model.answers(score)
    values = {"entity": splits["test"].entity[:OFFLINE_ROWS], "score": score, "answer": answer}
    if answering.spread is not None:
        values |= dict(zip(("low", "high", "order"), answering.spread.bounds(answer), strict=True))
    pl.DataFrame({**values, **{f"reason_{name}": each for name, each in found.items()}}).write_parquet(model.offline)
