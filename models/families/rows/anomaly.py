"""Common code of anomaly detectors: anomaly scores, and their mapping to the label's probability.

A detector learns what is usual from training rows that are labelled no. How strange a row is then becomes log odds by a logistic
regression on that one number, fitted on all training rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import numpy as np
from onnx import TensorProto

from cartwheel.core.settings import Settings
from models.families.family import ALL_KINDS, Fitted, Floats, Learner, Tags, TrainingData
from models.families.rows.answers import SCORE, read_content, write_content
from models.families.rows.design import Design, Matrix
from models.training.tables import Table
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.features.column import Column
from workflows.tasks.task import Answer

_MAX_LEVELS: Final = 50
_MIN_ROWS: Final = 20
_CHUNK: Final = 65_536
S = TypeVar("S", bound=Settings)


class Detector(ABC):
    """Tells how strange a row is."""

    @abstractmethod
    def strangeness(self, rows: Matrix) -> Floats:
        """Return [n] float64 of a design's matrix [n, width]: the higher, the less usual."""

    @abstractmethod
    def add(self, graph: GraphBuilder, rows: str) -> str:
        """Add ``strangeness`` of float32 ``[B, width]`` to a graph; float64 ``[B, 1]``."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the detector into an existing folder; no pickle."""


@dataclass
class Anomalies(Fitted):
    """A detector, and what its strangeness says.

    Attributes:
        design: how a row becomes numbers.
        detector: how numbers become strangeness.
        weight: log odds a unit of strangeness.
        bias: log odds where it is 0.
    """

    design: Design
    detector: Detector
    weight: float
    bias: float
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:  # type: ignore[override]
        """The columns of the design."""
        return self.design.columns

    def scores(self, rows: Table) -> Floats:
        """Return [n] log odds."""
        return self.bias + self.weight * strangeness(self.detector, self.design.matrix(rows))

    def onnx(self) -> Any:
        """Return the graph: design, strangeness, log odds."""
        graph = GraphBuilder("anomalies")
        found = self.detector.add(graph, self.design.add(graph))
        scaled = graph.add("Mul", found, graph.constant(self.weight, np.float64))
        log_odds = graph.add("Add", scaled, graph.constant(self.bias, np.float64))
        graph.output(graph.add("Cast", log_odds, to=TensorProto.FLOAT), SCORE, "float32", ["batch", 1])
        return graph.model()

    def save(self, folder: Path) -> None:
        """Write design, weights and detector."""
        content = {"design": self.design.content(), "weight": self.weight, "bias": self.bias, "notes": list(self.notes)}
        write_content(folder, content)
        self.detector.save(folder)


class AnomalyLearner(Learner[S]):
    """A family of detectors: says how one is fitted to usual rows, and how it is read."""

    complexity: ClassVar[int] = 3
    tags: ClassVar[Tags] = Tags(frozenset({Answer.PROBABILITY}), "rows", ALL_KINDS, random=True, missing=True)

    @abstractmethod
    def detector(self, usual: Matrix, seed: int) -> Detector:
        """Fit a detector to usual rows [n, width] of a design."""

    @abstractmethod
    def read(self, folder: Path) -> Detector:
        """Read what ``Detector.save`` wrote.

        Raises:
            RunError: if a file is missing or cannot be read.
        """

    def fit(self, data: TrainingData, seed: int) -> Anomalies:
        """Learn what is usual, then what being unusual says; errors as in ``Learner.fit``."""
        from sklearn.linear_model import LogisticRegression

        self.check(data)
        design = Design.of(data.columns, data.train, _MAX_LEVELS, _MIN_ROWS, filled=True)
        rows = design.matrix(data.train)
        detector = self.detector(rows[data.label == 0], seed)
        found = strangeness(detector, rows)
        mean, spread = float(found.mean()), float(found.std()) or 1.0
        line = LogisticRegression(C=1.0).fit(((found - mean) / spread)[:, None], data.label.astype(np.int64))
        weight = float(line.coef_[0, 0]) / spread
        notes = () if weight > 0 else ("of training rows, the usual ones are more often labelled yes than the unusual ones",)
        return Anomalies(design, detector, weight, float(line.intercept_[0]) - weight * mean, notes)

    def load(self, folder: Path) -> Anomalies:
        """Read what ``Anomalies.save`` wrote."""
        content = read_content(folder)
        design = Design.from_content(content["design"])
        return Anomalies(design, self.read(folder), content["weight"], content["bias"], tuple(content["notes"]))


def strangeness(detector: Detector, rows: Matrix) -> Floats:
    """Return [n] of [n, width], some rows at a time."""
    parts = [detector.strangeness(rows[start : start + _CHUNK]) for start in range(0, len(rows), _CHUNK)]
    return np.concatenate([np.zeros(0), *parts])
