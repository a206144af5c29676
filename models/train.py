"""Trains the models of a run and writes their folders.

Outputs are written before the checkpoint is removed, so a training that is killed at any moment and started again continues.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from cartwheel.errors import RunError
from cartwheel.files import atomic_path, sha256, write_json
from models.calibration import cart_features, fit_head, fit_platt, sigmoid
from models.data import Array, Table, exists, read_sizes, read_strings, read_table
from models.fusion import default_fusion_weight, write_fusion
from models.metrics.classification import expected_calibration_error
from models.onnx_export import export
from models.settings import DLRMSettings, TrainingSettings, TwoTowerSettings
from models.store import HISTORY_FILE, ModelConfig, write_config
from models.training import History, Learner, assign, fit, remove_checkpoint, save_weights
from workflows.columns import ITEM, ITEM_CATEGORICAL, ITEM_CONTINUOUS, QUERY, QUERY_CATEGORICAL, QUERY_CONTINUOUS, QUERY_LISTS

OFFLINE_ROWS: Final = 512
"""Rows whose TensorFlow scores are kept, to compare serving with."""
_PARITY_ROWS: Final = 256
Watch = Callable[[Any], Learner]
"""Wraps the learner that is fitted, to see how each epoch goes."""


@dataclass(frozen=True)
class ModelReport:
    """How the training of one model went.

    Attributes:
        name: the model.
        examples: training rows.
        epochs: epochs trained.
        best: loss and validation figures of the best epoch; ``notes`` tell where what training started at was better still.
        seconds: wall clock of training, export included.
        onnx_difference: largest difference between an ONNX file's answers and TensorFlow's.
        notes: sentences about anything that did not go the usual way.
    """

    name: str
    examples: int
    epochs: int
    best: dict[str, float]
    seconds: float
    onnx_difference: float
    notes: tuple[str, ...]


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


@dataclass(frozen=True)
class FittedDLRM:
    """A DLRM with its best weights, and what it was fitted on.

    Attributes:
        dlrm: ``models.dlrm.DLRM``.
        train: its columns and the label, of the training rows.
        valid: the same of the validation rows, or None.
        history: how training went.
        start_score: the negative log loss on validation of the logistic regression that training starts at; -inf without validation.
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


def fit_two_tower(
    features: Path, folder: Path, settings: TwoTowerSettings, seed: int, watch: Watch | None = None
) -> FittedTwoTower:
    """Fit the retrieval model on ``train``, with ``valid`` to stop by; no other split is read.

    Args:
        features: the folder ``features`` of a run.
        folder: where the checkpoint is kept.
        settings: the model's configuration.
        seed: fixes everything random.
        watch: wraps the learner; None fits it as it is.

    Raises:
        RunError, DataError: if features are missing or corrupt.
        ConfigError: if the loss becomes NaN.
    """
    from models.two_tower import TwoTowerLearner, build_two_tower, item_probabilities

    inputs = [features / "train" / "recommend", features / "valid" / "recommend", features / "valid" / "catalogue"]
    sizes = read_sizes(inputs[0])
    _require(sizes, (*QUERY_CATEGORICAL, *QUERY_LISTS, *ITEM_CATEGORICAL), inputs[0])
    train = read_table(inputs[0], (*QUERY, *ITEM), sizes)
    valid, catalogue = _optional(inputs[1], (*QUERY, *ITEM), sizes), _optional(inputs[2], ITEM, sizes)
    tower = build_two_tower(settings, sizes, seed, item_probabilities(train, sizes["item_id"]))
    learner = TwoTowerLearner(tower, train, valid, catalogue)
    history = fit(watch(learner) if watch else learner, settings, seed, folder, _fingerprint(settings, seed, sizes, inputs))
    counts = {"train": len(train), "valid": len(valid) if valid is not None else 0}
    return FittedTwoTower(tower, train, counts, history, _validation_notes(valid if catalogue is not None else None, history))


def fit_dlrm(
    features: Path, folder: Path, name: str, settings: DLRMSettings, seed: int, watch: Watch | None = None
) -> FittedDLRM:
    """Fit the ``ranking`` or the ``cart`` model on ``train``, with ``valid`` to stop by; no other split is read.

    Args:
        features: the folder ``features`` of a run.
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
    from models.dlrm import CATEGORICAL, CONTINUOUS, LABEL, DLRMLearner, build_dlrm, check_name

    check_name(name)
    inputs = [features / "train" / name, features / "valid" / name]
    sizes = {column: size for column, size in read_sizes(inputs[0]).items() if column in CATEGORICAL}
    _require(sizes, CATEGORICAL, inputs[0])
    columns = (*CATEGORICAL, *CONTINUOUS[name], LABEL)
    train, valid = read_table(inputs[0], columns, sizes), _optional(inputs[1], columns, sizes)
    dlrm = build_dlrm(name, settings, sizes, seed)
    dlrm.start_at_logistic_regression(train, seed)
    learner = DLRMLearner(dlrm, train, valid)
    start, start_score = [variable.numpy() for variable in dlrm.variables], learner.validate().get("score", -math.inf)
    history = fit(watch(learner) if watch else learner, settings, seed, folder, _fingerprint(settings, seed, sizes, inputs))
    notes = _validation_notes(valid, history)
    if history.best.get("score", math.inf) < start_score:
        assign(dlrm.variables, start)
        notes.append("no epoch was better on validation than the logistic regression that training starts at, which was kept")
    return FittedDLRM(dlrm, train, valid, history, start_score, notes)


def export_query(tower: Any, target: Path, rows: Table) -> float:
    """Write the query tower as ONNX and return the largest difference from TensorFlow's answers on ``rows``; see ``export``."""
    return export(
        lambda columns: tower.query(columns, training=False),
        QUERY_CATEGORICAL,
        QUERY_LISTS,
        QUERY_CONTINUOUS,
        "query_vector",
        target,
        rows.batch(slice(None), QUERY),
    )


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
    features, folder = run / "features", run / "models" / "two_tower"
    fitted = fit_two_tower(features, folder, settings, seed)
    tower, rows = fitted.tower, fitted.train.head(_PARITY_ROWS)
    difference = max(
        export_query(tower, folder / "query.onnx", rows),
        export(
            lambda columns: tower.item(columns, training=False),
            ITEM_CATEGORICAL,
            (),
            ITEM_CONTINUOUS,
            "item_vector",
            folder / "item.onnx",
            rows.batch(slice(None), ITEM),
        ),
    )
    _write_offline_vectors(tower, features, folder, tower.sizes)
    config = ModelConfig("two_tower", settings, tower.sizes, seed, fitted.examples, fitted.notes)
    return _finish(folder, config, tower.variables, fitted.history, {}, started, difference)


def train_dlrm(run: Path, name: str, settings: DLRMSettings, seed: int, retrieval_weight: float | None = None) -> ModelReport:
    """Train the ``ranking`` or the ``cart`` model and write its folder.

    Args:
        run: the run directory.
        name: ``ranking`` or ``cart``.
        settings: the model's configuration.
        seed: fixes everything random.
        retrieval_weight: written to ``fusion.json`` of ``ranking`` until a tuned one is; None is the default one.

    Raises:
        UsageError: if there is no DLRM of that name.
        RunError, DataError: if features are missing or corrupt.
        ConfigError: if the loss becomes NaN.
        ParityError: if ONNX and TensorFlow differ.
    """
    from models.dlrm import CATEGORICAL, CONTINUOUS

    started = time.monotonic()
    features, folder = run / "features", run / "models" / name
    fitted = fit_dlrm(features, folder, name, settings, seed)
    dlrm, valid, notes, extra = fitted.dlrm, fitted.valid, fitted.notes, {}
    rows = fitted.train.head(_PARITY_ROWS).batch(slice(None), dlrm.columns)
    difference = export(
        lambda columns: dlrm.merlin(columns, training=False),
        CATEGORICAL,
        (),
        CONTINUOUS[name],
        "logit",
        folder / "model.onnx",
        rows,
    )
    if name == "ranking":
        write_fusion(folder, default_fusion_weight() if retrieval_weight is None else retrieval_weight)
    else:
        extra = _calibrate(dlrm, valid, features / "valid" / name, folder, notes)
    test = _optional(features / "test" / name, dlrm.columns, dlrm.sizes)
    if test is not None:
        _write_offline(folder / "offline.parquet", "logit", dlrm.logits(test.head(OFFLINE_ROWS)))
    counts = {"train": len(fitted.train), "valid": len(valid) if valid is not None else 0}
    config = ModelConfig(name, settings, dlrm.sizes, seed, counts, notes)
    return _finish(folder, config, dlrm.variables, fitted.history, extra, started, difference)


def _calibrate(dlrm: Any, valid: Table | None, source: Path, folder: Path, notes: list[str]) -> dict[str, float]:
    """Write ``calibration.json`` and ``head.json``; return the calibration errors, measured on the rows that were fitted."""
    logits = np.zeros(0, np.float32) if valid is None else dlrm.logits(valid)
    labels = np.zeros(0, np.int32) if valid is None else valid["label"]
    platt = fit_platt(logits, labels)
    features, cart_labels = np.zeros((0, 3)), labels
    if valid is not None:
        features, cart_labels = cart_features(
            read_strings(source, "cart_id"), logits, read_table(source, ["cart_label"])["cart_label"]
        )
    head = fit_head(features, cart_labels, platt)
    notes.extend(note for note in (platt.note, head.note) if note)
    write_json(folder / "calibration.json", platt.content())
    write_json(folder / "head.json", head.content())
    if valid is None:
        return {}
    return {
        "calibration_error_before": expected_calibration_error(labels, sigmoid(logits)),
        "calibration_error_after": expected_calibration_error(labels, platt.probability(logits)),
        "cart_calibration_error": expected_calibration_error(cart_labels, sigmoid(head.log_odds(features, platt))),
    }


def _write_offline_vectors(tower: Any, features: Path, folder: Path, sizes: Mapping[str, int]) -> None:
    test = _optional(features / "test" / "recommend", QUERY, sizes)
    if test is not None:
        _write_offline(folder / "offline.parquet", "query_vector", tower.encode_queries(test.head(OFFLINE_ROWS)))
    queries = _optional(features / "snapshot" / "queries", QUERY, sizes)
    if queries is not None:
        _write_offline(folder / "offline_queries.parquet", "query_vector", tower.encode_queries(queries))
    items = _optional(features / "snapshot" / "items", ITEM, sizes)
    if items is not None:
        with atomic_path(folder / "item_vectors.npy") as aside:
            np.save(aside, tower.encode_items(items))


def _write_offline(path: Path, column: str, scores: Array) -> None:
    """Write the scores of the first rows of a table: ``row`` int64 and the score, a number or a list, float32."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = pa.array(list(scores), pa.list_(pa.float32()) if scores.ndim == 2 else pa.float32())
    with atomic_path(path) as aside:
        pq.write_table(pa.table({"row": pa.array(np.arange(len(scores))), column: values}), aside)


def _finish(
    folder: Path,
    config: ModelConfig[Any],
    variables: Sequence[Any],
    history: History,
    extra: Mapping[str, float],
    started: float,
    difference: float,
) -> ModelReport:
    save_weights(folder, variables)
    write_json(folder / HISTORY_FILE, history.content() | dict(extra))
    write_config(folder, config)
    remove_checkpoint(folder)
    seconds = time.monotonic() - started
    best = history.best | dict(extra)
    return ModelReport(
        config.model, config.examples["train"], len(history.epochs), best, seconds, difference, tuple(config.notes)
    )


def _optional(folder: Path, names: Sequence[str], sizes: Mapping[str, int]) -> Table | None:
    """Read a table that a short log may lack."""
    if not exists(folder):
        return None
    table = read_table(folder, names, sizes, empty_ok=True)
    return table if len(table) else None


def _validation_notes(valid: Table | None, history: History) -> list[str]:
    if valid is not None:
        return []
    return [
        f"validation: there are no validation rows, so training ran for all {len(history.epochs)} epochs and kept the last weights"
    ]


def _require(sizes: Mapping[str, int], columns: Sequence[str], folder: Path) -> None:
    missing = [column for column in columns if column not in sizes]
    if missing:
        raise RunError(f"The schema of {folder} has no categorical column {missing[0]!r}.", "Run prepare again.")


def _fingerprint(settings: TrainingSettings, seed: int, sizes: Mapping[str, int], inputs: Sequence[Path]) -> str:
    """Return what a checkpoint must agree in to be resumed: settings, seed, sizes, and the content of the data."""
    hashes = [sha256(folder) if folder.is_dir() else "" for folder in inputs]
    about = [settings.model_dump(mode="json"), seed, dict(sizes), hashes]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
