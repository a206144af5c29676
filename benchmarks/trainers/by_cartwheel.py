"""Both trainings as Cartwheel's ``train`` runs them: its fit loop, checkpoints included, its starts and its drop-outs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.encoding.child import Stages
from benchmarks.trainers.data import RANKING, read_pairs, read_rows
from benchmarks.trainers.laps import Laps
from models.families.dlrm.settings import DLRMSettings
from models.families.two_tower.settings import TwoTowerSettings
from models.training.loop import fit


class _Judged:
    """A learner whose epochs are timed and evaluated; ``fit`` sees nothing of it.

    Args:
        learner: the model with its data.
        laps: the stop-watch.
        judge: returns the accuracy of the model as it is.
    """

    def __init__(self, learner: Any, laps: Laps, judge: Callable[[], float]) -> None:
        self._learner, self._laps, self._judge = learner, laps, judge

    def __getattr__(self, name: str) -> Any:
        return getattr(self._learner, name)

    def validate(self) -> dict[str, float]:
        """Judge the model: the score that decides which weights are kept is the accuracy."""
        return {"score": self._laps.epoch(self._judge)}


def dlrm(features: str, rows: int, epochs: int, seed: int, choice: Mapping[str, Any]) -> Stages:
    """Train the ranking model; ``choice`` holds settings of it."""
    from models.families.dlrm.model import DLRMLearner, build_dlrm

    data = read_rows(Path(features), rows)
    settings = DLRMSettings(epochs=epochs, patience=epochs, **choice)

    def work() -> dict[str, Any]:
        laps = Laps()
        model = build_dlrm(RANKING, settings, data.sizes, seed)
        model.start_at_logistic_regression(data.train, seed)
        learner = DLRMLearner(model, data.train, data.valid)
        return _fitted(learner, settings, seed, laps, lambda: data.auc(model.logits(data.valid)))

    return [("train", work)]


def two_tower(features: str, rows: int, epochs: int, seed: int, choice: Mapping[str, Any]) -> Stages:
    """Train the retrieval model; ``choice`` holds settings of it."""
    from models.families.two_tower.model import TwoTowerLearner, build_two_tower, item_probabilities
    from models.families.two_tower.spectral_start import start_spectrally

    data = read_pairs(Path(features), rows)
    settings = TwoTowerSettings(epochs=epochs, patience=epochs, **choice)

    def work() -> dict[str, Any]:
        laps = Laps()
        model = build_two_tower(settings, data.sizes, seed, item_probabilities(data.train, data.sizes["item_id"]))
        if settings.start == "spectral":
            start_spectrally(model, data.train)
        learner = TwoTowerLearner(model, data.train, data.valid, data.catalogue)
        judge = lambda: data.recall(model.encode_queries(data.valid), model.encode_items(data.catalogue))  # noqa: E731
        return _fitted(learner, settings, seed, laps, judge)

    return [("train", work)]


def _fitted(learner: Any, settings: Any, seed: int, laps: Laps, judge: Callable[[], float]) -> dict[str, Any]:
    laps.built()
    with tempfile.TemporaryDirectory() as folder:
        fit(_Judged(learner, laps, judge), settings, seed, Path(folder), "benchmark")
    batch = min(settings.batch_size, learner.examples)
    weights = sum(int(np.prod(variable.shape)) for variable in learner.variables)
    return laps.content(learner.examples // batch * batch, weights)
