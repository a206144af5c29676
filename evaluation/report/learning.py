"""Training history: ``models/<name>/history.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cartwheel.core.errors import RunError
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_json

_NAMES: Final = {"two_tower": "two-tower", "ranking": "ranking DLRM", "cart": "cart DLRM"}
_VALID: Final = (("log_loss", "log loss"), ("score", "NDCG without cutoff"))
"""Deciding validation metric -> its name; the score of a DLRM is its log loss, negated."""


@dataclass(frozen=True)
class LearningCurve:
    """The epochs of one model."""

    name: str
    loss: tuple[float, ...]
    """Mean training loss of each epoch."""
    valid: tuple[float, ...]
    """Validation metric of each epoch; empty without validation rows."""
    valid_metric: str
    best_epoch: int
    """From 0."""
    stopped_early: bool


def read_learning(run: Path) -> list[LearningCurve]:
    """Return the learning curve of each model that left a history with an epoch.

    Raises:
        RunError: if a history is not one.
    """
    paths = {name: RunLayout(run).model(name).history for name in _NAMES}
    curves = [_curve(_NAMES[name], path, read_json(path)) for name, path in paths.items() if path.is_file()]
    return [curve for curve in curves if curve.loss]


def _curve(name: str, path: Path, told: dict[str, Any]) -> LearningCurve:
    try:
        epochs = told["epochs"]
        key, metric = next(((key, metric) for key, metric in _VALID if all(key in epoch for epoch in epochs)), ("", ""))
        return LearningCurve(
            name,
            tuple(float(epoch["loss"]) for epoch in epochs),
            tuple(float(epoch[key]) for epoch in epochs) if key else (),
            metric,
            int(told["best_epoch"]),
            bool(told["stopped_early"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} does not contain the epochs of a training: {error!r}.", "Run `cartwheel train` again.") from error
