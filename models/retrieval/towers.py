"""The two towers as exported, over the questions and the catalogue of one split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cartwheel.core.frames import read_frame
from cartwheel.core.onnx_model import OnnxModel
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import check_aligned, read_json
from models.metrics.ranking import Ints, Numbers
from models.questions.anchors import QUESTIONS
from models.retrieval.retriever import retrieval_model
from models.training.store import files_for
from models.training.tables import read_table as read_features
from workflows.features.columns import QUERY_LISTS
from workflows.features.feature_set import read_feature_set


class Towers:
    """The retrieval model's ONNX files over one split: a ``Scorer`` with its vectors.

    Args:
        run: run directory.
        split: ``valid`` or ``test``.
        rows: the rows of ``examples/<split>/<table>`` that will be asked for; None means all.
        table: the table of questions.
    """

    def __init__(self, run: Path, split: str, rows: Ints | None = None, table: str = QUESTIONS) -> None:
        length = int(read_json(RunLayout(run).state)["recent_items"])
        model = files_for(retrieval_model(run), split)
        query, item = OnnxModel(model.query), OnnxModel(model.item)
        queries = read_queries(run, split, length, table)
        self.items = item.table(read_catalogue(run, split), "item_vector")
        """[N, D] item vectors."""
        number = len(next(iter(queries.values())))
        rows = np.arange(number) if rows is None else rows
        vectors = query.table({name: values[rows] for name, values in queries.items()}, "query_vector")
        self.queries = np.zeros((number, self.items.shape[1]), np.float32)
        """[all rows, D] query vectors; zero where not asked for."""
        self.queries[rows] = vectors

    def __call__(self, rows: Ints) -> Numbers:
        """Return [b, N] dot products."""
        return np.asarray(self.queries[rows] @ self.items.T)


def read_queries(run: Path, split: str, list_length: int, table: str = QUESTIONS) -> dict[str, npt.NDArray[Any]]:
    """Return the encoded query columns of ``features/<split>/<table>``, lists as [A, ``list_length``] padded with 0.

    Raises:
        RunError: if they are not row-aligned with the examples.
    """
    folder = RunLayout(run).features(split, table)
    queries = read_features(folder, read_feature_set(RunLayout(run)).query)
    examples = RunLayout(run).examples(split, table)
    check_aligned(folder, len(queries), examples, len(read_frame(examples, ["user_key"])))
    return {name: _widened(values, list_length) if name in QUERY_LISTS else values for name, values in queries.columns.items()}


def read_catalogue(run: Path, split: str) -> dict[str, npt.NDArray[Any]]:
    """Return the encoded item columns of ``features/<split>/catalogue``.

    Raises:
        RunError: if they are not row-aligned with the examples.
    """
    folder = RunLayout(run).features(split, "catalogue")
    table = read_features(folder, read_feature_set(RunLayout(run)).item)
    examples = RunLayout(run).examples(split, "catalogue")
    check_aligned(folder, len(table), examples, len(read_frame(examples, ["item_id"])))
    return dict(table.columns)


def _widened(lists: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    return np.pad(lists, ((0, 0), (0, max(0, length - lists.shape[1]))))
