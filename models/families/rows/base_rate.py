"""The base rate, or the mean effect: a constant prediction. A model that does not beat it has learned nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cartwheel.core.settings import Settings
from models.families.family import ALL_KINDS, BOTH_ANSWERS, Fitted, Floats, Learner, Tags, TrainingData
from models.families.rows.answers import SCORE, log_odds, read_content, write_content
from models.families.rows.design import declare_inputs
from models.training.tables import Table
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.features.column import Column
from workflows.tasks.task import Answer


class BaseRateSettings(Settings):
    """There is nothing to set."""


@dataclass
class BaseRate(Fitted):
    """One score.

    Attributes:
        columns: the first column, whose rows it counts.
        value: the score.
    """

    columns: tuple[Column, ...]
    value: float
    notes: tuple[str, ...] = ()

    def scores(self, rows: Table) -> Floats:
        """Return [n] the same score."""
        return np.full(len(rows), self.value)

    def onnx(self) -> Any:
        """Return the graph that repeats the score."""
        graph = GraphBuilder("base_rate")
        given = declare_inputs(graph, self.columns)[self.columns[0].name]
        rows = graph.add("Slice", graph.add("Shape", given), *(graph.constant([place], np.int64) for place in (0, 1)))
        shape = graph.add("Concat", rows, graph.constant([1], np.int64), axis=0)
        graph.output(graph.add("Expand", graph.constant([[self.value]], np.float32), shape), SCORE, "float32", ["batch", 1])
        return graph.model()

    def save(self, folder: Path) -> None:
        """Write the score."""
        write_content(folder, {"column": self.columns[0].to_json(), "value": self.value})

    def contributions(self, rows: Table) -> Floats:
        """Return zeros."""
        return np.zeros((len(rows), 1))


class BaseRateLearner(Learner[BaseRateSettings]):
    """Answers with the mean of the training labels, or with how much higher it is where rows were treated."""

    name: ClassVar[str] = "base_rate"
    title: ClassVar[str] = "base rate"
    complexity: ClassVar[int] = 0
    tags: ClassVar[Tags] = Tags(BOTH_ANSWERS | {Answer.EFFECT}, "rows", ALL_KINDS, missing=True)
    settings: ClassVar[type[Settings]] = BaseRateSettings

    def fit(self, data: TrainingData, seed: int) -> BaseRate:
        """Take the mean of the labels; errors as in ``Learner.fit``."""
        del seed
        self.check(data)
        value = log_odds(data.label) if data.answer is Answer.PROBABILITY else float(data.label.mean())
        if data.answer is Answer.EFFECT and data.treated is not None:
            value = float(data.label[data.treated == 1].mean() - data.label[data.treated == 0].mean())
        return BaseRate(data.columns[:1], value)

    def load(self, folder: Path) -> BaseRate:
        """Read what ``BaseRate.save`` wrote."""
        content = read_content(folder)
        return BaseRate((Column.from_json(content["column"]),), float(content["value"]))
