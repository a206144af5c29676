"""Trains the retrieval model of a run and writes its folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cartwheel.core.run_layout import ModelLayout, RunLayout
from models.families.two_tower.settings import TwoTowerSettings
from models.families.two_tower.spectral_start import start_spectrally
from models.training.loop import History, fit, remove_checkpoint, save_weights
from models.training.onnx_export import export
from models.training.store import ModelConfig, files_for
from models.training.tables import Table, read_sizes, read_table
from models.training.trained_files import (
    PARITY_ROWS,
    ModelReport,
    Watch,
    fingerprint,
    finish,
    optional_table,
    require_sizes,
    validation_notes,
    write_offline_vectors,
)
from models.training.warm_start import start_where_earlier_ended
from workflows.features.columns import QUERY_LISTS
from workflows.features.feature_set import FeatureSet, read_feature_set
from workflows.tasks.recommend import REFIT

NAME: Final = "two_tower"


@dataclass(frozen=True)
class FittedTwoTower:
    """A two-tower model with its best weights, and what it was fitted on.

    Attributes:
        tower: ``models.two_tower.TwoTower``.
        train: QUERY and ITEM columns of the training examples.
        examples: rows it was trained and validated on, by split.
        history: how training went.
        notes: sentences about anything that did not go the usual way.
    """

    tower: Any
    train: Table
    examples: dict[str, int]
    history: History
    notes: list[str]


def fit_two_tower(
    run: RunLayout, folder: Path, settings: TwoTowerSettings, seed: int, watch: Watch | None = None
) -> FittedTwoTower:
    """Fit the retrieval model on ``train``, with ``valid`` to stop by; no other split is read.

    Args:
        run: the run whose features are read.
        folder: where the checkpoint is kept.
        settings: the model's configuration.
        seed: fixes everything random.
        watch: wraps the learner; None fits it as it is.

    Raises:
        RunError, DataError: if features are missing or corrupt.
        ConfigError: if the loss becomes NaN.
    """
    from models.families.two_tower.model import TwoTowerLearner

    inputs = [run.features("train", "recommend"), run.features("valid", "recommend"), run.features("valid", "catalogue")]
    features, sizes = read_feature_set(run), read_sizes(inputs[0])
    require_sizes(sizes, (*features.query_categorical, *QUERY_LISTS, *features.item_categorical), inputs[0])
    train = read_table(inputs[0], features.recommend, sizes)
    valid = optional_table(inputs[1], features.recommend, sizes)
    catalogue = optional_table(inputs[2], features.item, sizes)
    tower = _started(settings, sizes, seed, train, features, before_validation=True)
    learner = TwoTowerLearner(tower, train, valid, catalogue)
    history = fit(watch(learner) if watch else learner, settings, seed, folder, fingerprint(settings, seed, sizes, inputs))
    counts = {"train": len(train), "valid": len(valid) if valid is not None else 0}
    return FittedTwoTower(tower, train, counts, history, validation_notes(valid if catalogue is not None else None, history))


def refit_two_tower(
    run: RunLayout, folder: Path, settings: TwoTowerSettings, seed: int, fitted: FittedTwoTower
) -> FittedTwoTower | None:
    """Fit the retrieval model anew on ``train`` and the whole of ``valid``, for as many epochs as validation selected.

    Args:
        run: the run whose features are read.
        folder: where the checkpoint is kept.
        settings: the model's configuration.
        seed: fixes everything random.
        fitted: what came of ``fit_two_tower``.

    Returns:
        The model; None where ``valid`` holds nothing to learn.

    Raises:
        RunError, DataError: if features are missing or corrupt.
        ConfigError: if the loss becomes NaN.
    """
    inputs, sizes = [run.features("train", "recommend"), run.features("valid", REFIT)], fitted.tower.sizes
    features = fitted.tower.features
    latest = optional_table(inputs[1], features.recommend, sizes)
    if latest is None:
        return None
    rows, epochs = fitted.train.followed_by(latest), fitted.history.best_epoch + 1
    told = fingerprint(settings.model_copy(update={"epochs": epochs}), seed, sizes, inputs)
    tower, history = fit_rows(folder, settings, seed, rows, epochs, fitted.tower, told, "refit")
    return FittedTwoTower(tower, rows, fitted.examples | {REFIT: len(latest)}, history, [])


def fit_rows(
    folder: Path,
    settings: TwoTowerSettings,
    seed: int,
    rows: Table,
    epochs: int,
    like: Any,
    told: str,
    doing: str,
) -> tuple[Any, History]:
    """Fit a retrieval model on given examples for a given number of epochs, without validation.

    Args:
        folder: where the checkpoint is kept.
        settings: the model's configuration; its own ``epochs`` are not read.
        seed: fixes everything random.
        rows: QUERY and ITEM columns of the examples.
        epochs: how many.
        like: a ``models.two_tower.TwoTower`` of the run, whose vocabularies and columns the model shares.
        told: the fingerprint of all this; a checkpoint of another is not resumed.
        doing: what the progress calls it.

    Returns:
        The ``models.two_tower.TwoTower``, and how training went.

    Raises:
        ConfigError: if the loss becomes NaN.
    """
    from models.families.two_tower.model import TwoTowerLearner

    tower = _started(settings, like.sizes, seed, rows, like.features)
    wanted = settings.model_copy(update={"epochs": epochs})
    return tower, fit(TwoTowerLearner(tower, rows, None, None), wanted, seed, folder, told, doing)


def _started(
    settings: TwoTowerSettings,
    sizes: Mapping[str, int],
    seed: int,
    rows: Table,
    features: FeatureSet,
    *,
    before_validation: bool = False,
) -> Any:
    """Return a two-tower with the weights at which training on ``rows`` begins.

    Of an earlier run, those of the model that validation has not taught, where it keeps one and that is wanted.
    """
    from models.families.two_tower.model import build_two_tower, item_probabilities

    tower = build_two_tower(settings, sizes, seed, item_probabilities(rows, sizes["item_id"]), features)
    if settings.start_from is not None:
        model = RunLayout(settings.start_from).model(NAME)
        folder = (files_for(model, "valid") if before_validation else model).path
        start_where_earlier_ended(folder, tower.variables, tower.vocabularies, tower.sizes, rows)
    elif settings.start == "spectral":
        start_spectrally(tower, rows)
    return tower


def train_two_tower(run: Path, settings: TwoTowerSettings, seed: int) -> ModelReport:
    """Train the retrieval model and write ``models/two_tower``.

    Args:
        run: the run directory.
        settings: the model's configuration.
        seed: fixes everything random.

    Raises:
        RunError, DataError: if features are missing or corrupt.
        ConfigError: if the loss becomes NaN.
        ParityError: if ONNX and TensorFlow differ.
    """
    started = time.monotonic()
    layout = RunLayout(run)
    model = layout.model(NAME)
    folder, before = model.path, model.validation.path
    fitted = fit_two_tower(layout, before, settings, seed)
    again = refit_two_tower(layout, folder, settings, seed, fitted) if settings.refit else None
    final, extra = fitted, {}
    if again is None:
        shutil.rmtree(before)
    else:
        _export_towers(fitted.tower, model.validation, fitted.train)
        save_weights(before, fitted.tower.variables)  # a later run may start from them
        final, extra = again, {"refit_epochs": len(again.history.epochs), "refit_loss": again.history.best["loss"]}
    tower = final.tower
    difference = _export_towers(tower, model, final.train)
    write_offline_vectors(tower, layout, model, tower.sizes)
    config = ModelConfig(NAME, settings, tower.sizes, seed, final.examples, fitted.notes, tower.features.to_json())
    report = finish(folder, config, tower.variables, fitted.history, extra, started, difference)
    remove_checkpoint(before)
    return report


def export_query(tower: Any, target: Path, rows: Table) -> float:
    """Write the query tower as ONNX and return the largest difference from TensorFlow's answers on ``rows``; see ``export``."""
    return export(
        lambda columns: tower.query(columns, training=False),
        tower.features.query_categorical,
        QUERY_LISTS,
        tower.features.query_continuous,
        "query_vector",
        target,
        rows.batch(slice(None), tower.features.query),
    )


def _export_towers(tower: Any, model: ModelLayout, rows: Table) -> float:
    """Write both towers as ONNX and return the largest difference from TensorFlow's answers on some of ``rows``."""
    some = rows.head(PARITY_ROWS)
    item = export(
        lambda columns: tower.item(columns, training=False),
        tower.features.item_categorical,
        (),
        tower.features.item_continuous,
        "item_vector",
        model.item,
        some.batch(slice(None), tower.features.item),
    )
    return max(export_query(tower, model.query, some), item)
