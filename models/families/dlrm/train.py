"""Trains the ranking model and the cart model of a run and writes their folders."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Final

import numpy as np

from cartwheel.core.files import write_json
from cartwheel.core.run_layout import ModelLayout, RunLayout
from models.families.dlrm.settings import DLRMSettings
from models.metrics.classification import expected_calibration_error
from models.training.base_rates import BaseRates
from models.training.calibration import head_features, sigmoid
from models.training.form_calibration import AS_LOGGED, RequestRows, fit_forms, fit_log, form_contents
from models.training.loop import History, assign, fit
from models.training.onnx_export import export
from models.training.store import ModelConfig
from models.training.tables import Table, read_sizes, read_strings, read_table
from models.training.trained_files import (
    OFFLINE_ROWS,
    PARITY_ROWS,
    ModelReport,
    Watch,
    fingerprint,
    finish,
    optional_table,
    require_sizes,
    validation_notes,
    write_offline,
)
from models.training.warm_start import start_where_earlier_ended
from workflows.features.feature_set import read_feature_set
from workflows.tasks.cart_requests import CART_REQUESTS

TABLES: Final[Mapping[str, tuple[str, ...]]] = {"ranking": ("ranking",), "cart": ("cart", CART_REQUESTS)}
"""Model -> the tables of a split that it learns from: the log's rows, and those rows as requests ask for them."""


@dataclass(frozen=True)
class FittedDLRM:
    """A DLRM with its best weights, and what it was fitted on.

    Attributes:
        dlrm: ``models.dlrm.DLRM``.
        train: its columns and the label, of the training rows.
        valid: the same of the validation rows, or None.
        history: how training went.
        start_score: the negative log loss on validation of what training starts at; -inf without validation.
        notes: sentences about anything that did not go the usual way.
    """

    dlrm: Any
    train: Table
    valid: Table | None
    history: History
    start_score: float
    notes: list[str]

    @property
    def score(self) -> float:
        """The negative log loss on validation of the weights that were kept; -inf without validation."""
        return max(self.start_score, self.history.best.get("score", -math.inf))


def fit_dlrm(
    run: RunLayout, folder: Path, name: str, settings: DLRMSettings, seed: int, watch: Watch | None = None
) -> FittedDLRM:
    """Fit the ``ranking`` or the ``cart`` model on ``train``, with ``valid`` to stop by; no other split is read.

    Args:
        run: the run whose features are read.
        folder: where the checkpoint is kept.
        name: ``ranking`` or ``cart``.
        settings: the model's configuration.
        seed: fixes everything random.
        watch: wraps the learner; None fits it as it is.

    Raises:
        UsageError: if there is no DLRM of that name.
        RunError, DataError: if features are missing or corrupt.
        ConfigError: if the loss becomes NaN.
    """
    from models.families.dlrm.model import LABEL, DLRMLearner, build_dlrm, check_name, dlrm_columns

    check_name(name)
    inputs = [run.features(split, table) for split in ("train", "valid") for table in TABLES[name]]
    features = read_feature_set(run)
    categorical, continuous = dlrm_columns(name, features)
    sizes = {column: size for column, size in read_sizes(inputs[0]).items() if column in categorical}
    require_sizes(sizes, categorical, inputs[0])
    columns = (*categorical, *continuous, LABEL)
    train, valid = (_joined(run, split, name, columns, sizes) for split in ("train", "valid"))
    if train is None:
        train = read_table(inputs[0], columns, sizes)  # tells what is missing
    dlrm = build_dlrm(name, settings, sizes, seed, features)
    start = _start(dlrm, train, seed)
    learner = DLRMLearner(dlrm, train, valid)
    weights, start_score = [variable.numpy() for variable in dlrm.variables], learner.validate().get("score", -math.inf)
    history = fit(watch(learner) if watch else learner, settings, seed, folder, fingerprint(settings, seed, sizes, inputs))
    notes = validation_notes(valid, history)
    if history.best.get("score", math.inf) < start_score:
        assign(dlrm.variables, weights)
        notes.append(f"no epoch was better on validation than {start}, which was kept")
    return FittedDLRM(dlrm, train, valid, history, start_score, notes)


def _start(dlrm: Any, train: Table, seed: int) -> str:
    """Give a DLRM the weights at which training begins, and return what they are."""
    earlier: Path | None = dlrm.settings.start_from
    if earlier is None:
        dlrm.start_at_logistic_regression(train, seed)
        return "the logistic regression that training starts at"
    start_where_earlier_ended(RunLayout(earlier).model(dlrm.name).path, dlrm.variables, dlrm.vocabularies, dlrm.sizes, train)
    return f"the model of {earlier.name} that training starts from"


def _joined(run: RunLayout, split: str, name: str, columns: Sequence[str], sizes: Mapping[str, int]) -> Table | None:
    """Return the rows of all tables of a model in one split; None where there are none."""
    found = [
        table
        for table in (optional_table(run.features(split, each), columns, sizes) for each in TABLES[name])
        if table is not None
    ]
    return reduce(Table.followed_by, found) if found else None


def train_dlrm(
    run: Path, name: str, settings: DLRMSettings, seed: int, beside: Callable[[Path], None] | None = None
) -> ModelReport:
    """Train the ``ranking`` or the ``cart`` model and write its folder.

    Args:
        run: the run directory.
        name: ``ranking`` or ``cart``.
        settings: the model's configuration.
        seed: fixes everything random.
        beside: writes into the model's folder, before it is complete, what others keep beside the model.

    Raises:
        UsageError: if there is no DLRM of that name.
        RunError, DataError: if features are missing or corrupt.
        ConfigError: if the loss becomes NaN.
        ParityError: if ONNX and TensorFlow differ.
    """
    from models.families.dlrm.model import TASKS

    started = time.monotonic()
    layout = RunLayout(run)
    model, folder = layout.model(name), layout.model(name).path
    fitted = fit_dlrm(layout, folder, name, settings, seed)
    dlrm, valid, notes, extra = fitted.dlrm, fitted.valid, fitted.notes, {}
    rows = fitted.train.head(PARITY_ROWS).batch(slice(None), dlrm.columns)
    difference = export(
        lambda columns: dlrm.merlin(columns, training=False),
        dlrm.categorical,
        (),
        dlrm.continuous,
        "logit",
        model.scores,
        rows,
    )
    if beside is not None:
        beside(folder)
    if TASKS[name].probabilities_of_carts:
        extra = _calibrate(dlrm, layout, model, notes)
    test = optional_table(layout.features("test", name), dlrm.columns, dlrm.sizes)
    if test is not None:
        write_offline(model.offline, "logit", dlrm.logits(test.head(OFFLINE_ROWS)))
    counts = {"train": len(fitted.train), "valid": len(valid) if valid is not None else 0}
    config = ModelConfig(name, settings, dlrm.sizes, seed, counts, notes, dlrm.features.to_json())
    return finish(folder, config, dlrm.variables, fitted.history, extra, started, difference)


def _calibrate(dlrm: Any, run: RunLayout, model: ModelLayout, notes: list[str]) -> dict[str, float]:
    """Write ``calibration.json`` and ``head.json``; return the calibration errors, measured on the rows that were fitted.

    Args:
        dlrm: the trained model.
        run: the run whose encoded tables of validation are read.
        model: the model's files.
        notes: gets sentences about what did not go the usual way.
    """
    rows = _valid_rows(dlrm, run.features("valid", "cart"))
    rates = BaseRates.of(run.features("train", "cart"), run.features("train", CART_REQUESTS))
    log = fit_log(rows, rates)
    forms = fit_forms(_valid_rows(dlrm, run.features("valid", CART_REQUESTS)), log, rates)
    notes.extend(log.notes)
    notes.extend(dict.fromkeys(note for each in forms.values() for own in each.values() for note in own.notes))
    of_lines, of_carts = form_contents(forms)
    write_json(model.calibration, {**log.lines.content(), "forms": of_lines})
    write_json(model.head, {**log.cart.content(), "forms": of_carts})
    if not len(rows.label):
        return {}
    features, first = head_features(rows.cart, rows.logit)
    probabilities = sigmoid(log.cart.log_odds(features, log.lines))
    return {
        "calibration_error_before": expected_calibration_error(rows.label, sigmoid(rows.logit)),
        "calibration_error_after": expected_calibration_error(rows.label, log.lines.probability(rows.logit)),
        "cart_calibration_error": expected_calibration_error(rows.cart_label[first], probabilities),
    }


def _valid_rows(dlrm: Any, folder: Path) -> RequestRows:
    """Return the rows of a table of carts with their logits, those of the log as one form; none where there is no such table."""
    table = optional_table(folder, (*dlrm.columns, "label", "cart_label"), dlrm.sizes)
    if table is None:
        nothing, none = np.zeros(0), np.zeros(0, np.int32)
        return RequestRows(nothing, nothing, nothing, nothing, none, none)
    cart, user = (read_strings(folder, name) for name in ("cart_id", "user_key"))
    form = read_strings(folder, "form") if folder.name == CART_REQUESTS else np.full(len(cart), AS_LOGGED, dtype=object)
    return RequestRows(form, cart, user, dlrm.logits(table), table["label"], table["cart_label"])
