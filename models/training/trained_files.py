"""What the trainings of all models of a run share: what a model's folder holds beside its ONNX files, and how it came about.

Outputs are written before the checkpoint is removed, so a training that is killed at any moment and started again continues.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from cartwheel.core.errors import RunError
from cartwheel.core.files import atomic_path, sha256, write_json
from cartwheel.core.run_layout import SNAPSHOT, ModelLayout, RunLayout
from cartwheel.core.tables import has_table
from models.training.loop import History, Learner, remove_checkpoint, save_weights
from models.training.settings import TrainingSettings
from models.training.store import ModelConfig, write_config
from models.training.tables import Array, Table, read_table
from workflows.features.feature_set import read_feature_set

OFFLINE_ROWS: Final = 512
"""Rows whose TensorFlow scores are kept, to compare serving with."""
PARITY_ROWS: Final = 256
"""Training rows on which an ONNX file is compared with TensorFlow."""
Watch = Callable[[Any], Learner]
"""Wraps the learner that is fitted, to see how each epoch goes."""


class Towers(Protocol):
    """A retrieval model: the score is the product of both vectors."""

    def encode_queries(self, table: Table) -> Array:
        """Return float32 ``[N, D]`` query vectors."""

    def encode_items(self, table: Table) -> Array:
        """Return float32 ``[N, D]`` item vectors."""


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


def finish(
    folder: Path,
    config: ModelConfig[Any],
    variables: Sequence[Any],
    history: History,
    extra: Mapping[str, float],
    started: float,
    difference: float,
) -> ModelReport:
    """Write weights, history and configuration of a model, and forget the checkpoint.

    Args:
        folder: the model's folder.
        config: what it was made from.
        variables: its weights.
        history: how training went.
        extra: figures that the history tells beside the epochs.
        started: when training began, by the monotonic clock.
        difference: the largest one between ONNX and TensorFlow.
    """
    save_weights(folder, variables)
    write_json(ModelLayout(folder).history, history.content() | dict(extra))
    write_config(folder, config)
    remove_checkpoint(folder)
    seconds = time.monotonic() - started
    best = history.best | dict(extra)
    return ModelReport(
        config.model, config.examples["train"], len(history.epochs), best, seconds, difference, tuple(config.notes)
    )


def write_offline(path: Path, column: str, scores: Array) -> None:
    """Write the scores of the first rows of a table: ``row`` int64 and the score, a number or a list, float32."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    values = pa.array(list(scores), pa.list_(pa.float32()) if scores.ndim == 2 else pa.float32())
    with atomic_path(path) as aside:
        pq.write_table(pa.table({"row": pa.array(np.arange(len(scores))), column: values}), aside)


def write_offline_vectors(towers: Towers, run: RunLayout, model: ModelLayout, sizes: Mapping[str, int]) -> None:
    """Write the vectors that serving is compared with, and those of the items that it searches.

    Args:
        towers: the retrieval model.
        run: the run; where its features lack a table, as those of a short log may, its vectors are left out.
        model: the model's files.
        sizes: ids of each categorical column.
    """
    features = read_feature_set(run)
    test = optional_table(run.features("test", "recommend"), features.query, sizes)
    if test is not None:
        write_offline(model.offline, "query_vector", towers.encode_queries(test.head(OFFLINE_ROWS)))
    queries = optional_table(run.features(SNAPSHOT, "queries"), features.query, sizes)
    if queries is not None:
        write_offline(model.offline_queries, "query_vector", towers.encode_queries(queries))
    items = optional_table(run.features(SNAPSHOT, "items"), features.item, sizes)
    if items is not None:
        with atomic_path(model.item_vectors) as aside:
            np.save(aside, towers.encode_items(items))


def optional_table(folder: Path, names: Sequence[str], sizes: Mapping[str, int]) -> Table | None:
    """Read a table that a short log may lack."""
    if not has_table(folder):
        return None
    table = read_table(folder, names, sizes, empty_ok=True)
    return table if len(table) else None


def validation_notes(valid: Table | None, history: History) -> list[str]:
    """Say so where a training had nothing to stop by."""
    if valid is not None:
        return []
    return [
        f"validation: there are no validation rows, so training ran for all {len(history.epochs)} epochs and kept the last weights"
    ]


def require_sizes(sizes: Mapping[str, int], columns: Sequence[str], folder: Path) -> None:
    """Check that the schema of a features folder has all of some categorical columns.

    Raises:
        RunError: if it lacks one.
    """
    missing = [column for column in columns if column not in sizes]
    if missing:
        raise RunError(f"The schema of {folder} has no categorical column {missing[0]!r}.", "Run prepare again.")


def fingerprint(settings: TrainingSettings, seed: int, sizes: Mapping[str, int], inputs: Sequence[Path]) -> str:
    """Return what a checkpoint must agree in to be resumed: settings, seed, sizes, and the content of the data."""
    hashes = [sha256(folder) if folder.is_dir() else "" for folder in inputs]
    about = [settings.model_dump(mode="json"), seed, dict(sizes), hashes]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
