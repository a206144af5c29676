"""From a linear predictor to a score: log odds as they are, a quantity as its exponential, at most what training saw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from onnx import TensorProto

from cartwheel.core.errors import RunError
from cartwheel.core.files import write_json
from models.families.family import Floats
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.tasks.task import Answer

SCORE: Final = "score"
_LEAST: Final = -30.0


def log_odds(label: Floats) -> float:
    """Return the log odds of the base rate, half a row added to each class so that it is finite.

    >>> log_odds(np.array([0.0, 1.0]))
    0.0
    """
    return float(np.log((label.sum() + 0.5) / (len(label) - label.sum() + 0.5)))


def ceiling(answer: Answer, label: Floats) -> float | None:
    """Return the highest training label, which no predicted quantity exceeds: an exponential has no bound of its own."""
    return float(label.max()) if answer is Answer.QUANTITY else None


def score(predictor: Floats, most: float | None) -> Floats:
    """Return [n] scores of [n] linear predictors; ``most`` is None for log odds."""
    if most is None:
        return predictor
    return np.exp(np.clip(predictor, _LEAST, np.log(most)))


def add_score(graph: GraphBuilder, predictor: str, most: float | None) -> None:
    """Add ``score`` of a float64 ``[B, 1]`` predictor as the graph's output."""
    if most is not None:
        low, high = graph.constant(_LEAST, np.float64), graph.constant(np.log(most), np.float64)
        predictor = graph.add("Exp", graph.add("Min", graph.add("Max", predictor, low), high))
    graph.output(graph.add("Cast", predictor, to=TensorProto.FLOAT), SCORE, "float32", ["batch", 1])


def write_content(folder: Path, content: Mapping[str, Any]) -> None:
    """Write what a small model consists of."""
    write_json(folder / "fitted.json", content)


def read_content(folder: Path) -> dict[str, Any]:
    """Read what ``write_content`` wrote.

    Raises:
        RunError: if it is missing or is no JSON object.
    """
    path = folder / "fitted.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read as a fitted model ({error}).", "Train the model again.") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} contains {type(content).__name__}, expected a JSON object.", "Train the model again.")
    return content
