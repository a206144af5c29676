"""Tuning subject of a declared task's learner: ranges from its settings' ``Tune``, metric from validation rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cartwheel.core.errors import ConfigError, UsageError
from cartwheel.core.files import sha256
from cartwheel.core.run_layout import TaskLayout
from cartwheel.core.settings import Settings
from models.families.family import tuned
from models.families.row_registry import make_learner
from models.families.rows.one_feature import row_loss
from models.tasks.leaderboard import METRIC
from models.tasks.rows import read_rows
from models.tasks.spec import TaskSpec
from models.tasks.train import data_of
from models.tuning.space import Dimension, Real, Space, Whole, holding
from models.tuning.subject import DivergedError, Report, Subject
from workflows.features.column import Column
from workflows.features.scale import Scale


def task_subject(
    layout: TaskLayout,
    columns: Sequence[Column],
    sizes: Mapping[str, int],
    name: str,
    current: Mapping[str, Any],
    seed: int,
    folder: Path | None = None,
    scales: Mapping[str, Scale] | None = None,
) -> Subject:
    """Tune a learner of a task: fit on its training rows, judge by the loss of its validation rows, before any calibration.

    Args:
        layout: the task's files; the test split is not read.
        columns: the encoded columns.
        sizes: column of ids -> number of ids.
        name: of the learner, or ``module:Class`` of the shop's own.
        current: its settings of now that are not the defaults.
        seed: of every fit.
        folder: of the configuration file, where a shop's own families lie.
        scales: column of numbers -> how its values are read back in their own unit.

    Raises:
        ConfigError: if there is no such learner, or a setting is not accepted.
        UsageError: if it does not answer the task, has no setting with a range, or the columns are not enough for it.
        RunError: if the task is not prepared.
    """
    spec = TaskSpec.read(layout)
    where = f"tasks.{spec.name}.parameters"
    learner = make_learner(name, current, where, folder)
    read = tuple(column for column in columns if column.kind in learner.tags.reads)
    space, why = space_of_settings(learner.settings), learner.unsuitable(read)
    if spec.answer not in learner.tags.answers:
        why = f"does not answer with a {spec.answer.value}"
    if why or not space:
        raise UsageError(f"{learner.name} {why or 'has no setting with a range'}.", f"Tune another learner of {spec.name}.")
    train, valid = (read_rows(layout, split, read, sizes) for split in ("train", "valid"))
    data = data_of(spec, read, sizes, train, valid, scales)

    def attempt(values: Mapping[str, Any], place: Path, report: Report) -> float:
        del place
        made = make_learner(name, {**current, **values}, where, folder)
        try:
            loss = row_loss(data.valid_label, made.fit(data, seed).scores(data.valid), data.answer)
        except ConfigError as error:  # the loss of a network was no number
            raise DivergedError(error.found) from error
        report(0, float(np.mean(loss)))
        return float(np.mean(loss))

    now = {key: getattr(learner.config, key) for key in space}
    others = {key: value for key, value in learner.config.model_dump(mode="json").items() if key not in space}
    fingerprint = (
        f"{seed}-{sha256(layout.features('train'))[:16]}-{sha256(layout.features('valid'))[:16]}-{sorted(others.items())}"
    )
    metric, section = METRIC[spec.answer].replace("_", " "), f'{where}."{name}"' if ":" in name else f"{where}.{name}"
    return Subject(
        f"{spec.name}.{learner.name}",
        section,
        holding(space, now),
        now,
        metric,
        "minimize",
        fingerprint,
        attempt,
    )


def space_of_settings(settings: type[Settings]) -> Space:
    """Return what is searched: each setting with a ``Tune``, whole numbers where it is an ``int``."""
    return {name: _dimension(settings, name) for name in tuned(settings)}


def _dimension(settings: type[Settings], name: str) -> Dimension:
    bounds = tuned(settings)[name]
    if settings.model_fields[name].annotation is int:
        return Whole(int(bounds.low), int(bounds.high), bounds.log)
    return Real(bounds.low, bounds.high, bounds.log)
