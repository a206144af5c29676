"""A simple rule: the single most predictive column, with the mean label of each of its values.

For churn that is mostly how long ago the last purchase was, for demand last week's, for a session how far it has come: the column that
predicts best on training rows is taken, each evaluated on rows that its means were not taken from. Of a number the means go one way only
(isotonic regression: Barlow et al., 1972), over bins that hold equally many rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from pydantic import Field

from cartwheel.core.errors import DataError
from cartwheel.core.settings import Settings
from models.families.family import BOTH_ANSWERS, Fitted, Floats, Learner, Tags, TrainingData
from models.families.rows.answers import SCORE, read_content, write_content
from models.families.rows.design import declare_inputs
from models.metrics.classification import row_log_loss
from models.metrics.quantities import row_poisson_deviance
from models.training.tables import Table
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.features.column import CATEGORICAL, CONTINUOUS, Column
from workflows.tasks.task import Answer

_FOLDS: Final = 2


class OneFeatureSettings(Settings):
    """Settings of the single-column rule."""

    bins: Annotated[int, Field(ge=2, le=1000)] = 20
    """Number of bins of a numeric column, each with the same number of training rows."""
    prior_rows: Annotated[float, Field(gt=0.0)] = 10.0
    """Number of rows with the overall mean that are added to each bin and value, to smooth small ones."""
    max_levels: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Maximum number of values of an id column with their own mean: the most frequent ones."""


@dataclass(frozen=True)
class Rule:
    """Mean labels along one column.

    Attributes:
        column: the column.
        places: of a number the upper ends of all bins but the last, ascending; of ids the levels, ascending.
        values: one score more than ``places``: of a number those of the bins, of ids those of the levels and of all others.
    """

    column: Column
    places: Floats
    values: Floats

    def scores(self, values: npt.NDArray[Any]) -> Floats:
        """Return [n] scores of the column's encoded values."""
        if self.column.kind in CONTINUOUS:
            return np.asarray(self.values[np.searchsorted(self.places, values.astype(np.float64), side="left")])
        place = np.minimum(np.searchsorted(self.places, values), max(0, len(self.places) - 1))
        known = self.places[place] == values if len(self.places) else np.zeros(len(values), bool)
        return np.asarray(np.where(known, self.values[place], self.values[-1]))


@dataclass
class OneFeature(Fitted):
    """A rule as a model."""

    rule: Rule
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:  # type: ignore[override]
        """The one column."""
        return (self.rule.column,)

    def scores(self, rows: Table) -> Floats:
        """Return [n] log odds, or expected quantities."""
        return self.rule.scores(rows[self.rule.column.name])

    def onnx(self) -> Any:
        """Return the graph: the number of the bin or level, and its score."""
        graph, rule = GraphBuilder("one_feature"), self.rule
        value = declare_inputs(graph, self.columns)[rule.column.name]
        if rule.column.kind in CONTINUOUS:
            beyond = graph.add("Greater", value, graph.constant(rule.places[None], np.float32))
            steps, start = np.diff(rule.values), rule.values[0]
        else:
            beyond = graph.add("Equal", value, graph.constant(rule.places[None], np.int64))
            steps, start = rule.values[:-1] - rule.values[-1], rule.values[-1]
        held = graph.add("Cast", beyond, to=TensorProto.DOUBLE)
        found = graph.add("Add", graph.add("MatMul", held, graph.constant(steps[:, None])), graph.constant(start))
        graph.output(graph.add("Cast", found, to=TensorProto.FLOAT), SCORE, "float32", ["batch", 1])
        return graph.model()

    def save(self, folder: Path) -> None:
        """Write the rule."""
        rule = self.rule
        content = {"column": rule.column.to_json(), "places": rule.places.tolist(), "values": rule.values.tolist()}
        write_content(folder, {**content, "notes": list(self.notes)})


class OneFeatureLearner(Learner[OneFeatureSettings]):
    """Chooses the column that predicts best by itself."""

    name: ClassVar[str] = "one_feature"
    title: ClassVar[str] = "best single column"
    complexity: ClassVar[int] = 1
    tags: ClassVar[Tags] = Tags(BOTH_ANSWERS, "rows", CATEGORICAL | CONTINUOUS)
    settings: ClassVar[type[Settings]] = OneFeatureSettings

    def fit(self, data: TrainingData, seed: int) -> OneFeature:
        """Choose the column and take its means; errors as in ``Learner.fit``."""
        del seed
        self.check(data)
        losses = {column.name: self._loss(column, data) for column in data.columns}
        best = min(data.columns, key=lambda column: losses[column.name])
        if not np.isfinite(losses[best.name]):
            raise DataError(
                f"{data.task}: {self.name} needs two training rows of each label, of {len(data.label)} in all.",
                "Give the task a longer log.",
            )
        return OneFeature(self.rule(best, data.train[best.name], data.label, data.answer), (f"the column is {best.name}",))

    def rules(self, data: TrainingData) -> Mapping[str, Rule]:
        """Return the rule of every column that the family reads."""
        read = [column for column in data.columns if column.kind in self.tags.reads]
        return {column.name: self.rule(column, data.train[column.name], data.label, data.answer) for column in read}

    def rule(self, column: Column, values: npt.NDArray[Any], label: Floats, answer: Answer) -> Rule:
        """Return the means of one column.

        Args:
            column: the column.
            values: [n] encoded.
            label: [n].
            answer: what the labels are.
        """
        if column.kind in CONTINUOUS:
            inner = np.linspace(0.0, 1.0, self.config.bins + 1)[1:-1]
            places = np.unique(np.quantile(values, inner, method="lower")).astype(np.float64)
            places = places[places < values.max()]
            bins = np.searchsorted(places, values.astype(np.float64), side="left")
            means, rows = self._means(bins, label, len(places) + 1)
            means = _one_way(means, rows)
        else:
            ids, counts = np.unique(values, return_counts=True)
            places = np.sort(ids[np.lexsort((ids, -counts))[: self.config.max_levels]]).astype(np.float64)
            bins = np.where(np.isin(values, places), np.searchsorted(places, values), len(places))
            means, _ = self._means(bins, label, len(places) + 1)
        return Rule(column, places, np.log(means / (1.0 - means)) if answer is Answer.PROBABILITY else means)

    def _means(self, bins: npt.NDArray[np.intp], label: Floats, number: int) -> tuple[Floats, Floats]:
        rows = np.bincount(bins, minlength=number).astype(np.float64)
        prior = self.config.prior_rows
        mean = (label.sum() + 0.5) / (len(label) + 1.0)
        return (np.bincount(bins, label, number) + prior * mean) / (rows + prior), rows + prior

    def _loss(self, column: Column, data: TrainingData) -> float:
        """Return the mean loss on each half of the training rows of the means of the other."""
        fold, total = np.arange(len(data.label)) % _FOLDS, 0.0
        for held in range(_FOLDS):
            rest = fold != held
            if not rest.any():
                return float("inf")
            rule = self.rule(column, data.train[column.name][rest], data.label[rest], data.answer)
            total += float(row_loss(data.label[~rest], rule.scores(data.train[column.name][~rest]), data.answer).sum())
        return total / len(data.label)

    def load(self, folder: Path) -> OneFeature:
        """Read what ``OneFeature.save`` wrote."""
        content = read_content(folder)
        places, values = (np.asarray(content[name], np.float64) for name in ("places", "values"))
        return OneFeature(Rule(Column.from_json(content["column"]), places, values), tuple(content["notes"]))


def row_loss(label: Floats, score: Floats, answer: Answer) -> Floats:
    """Return [n] the log loss of log odds, or the Poisson deviance of expected quantities."""
    if answer is Answer.QUANTITY:
        return row_poisson_deviance(label, score)
    return row_log_loss(label.astype(np.int64), 1.0 / (1.0 + np.exp(-score)))


def _one_way(means: Floats, rows: Floats) -> Floats:
    """Return the means made to rise or to fall throughout, whichever is closer."""
    from sklearn.isotonic import IsotonicRegression

    place = np.arange(len(means))
    fits = [IsotonicRegression(increasing=way).fit(place, means, rows).predict(place) for way in (True, False)]
    return np.asarray(min(fits, key=lambda fit: float(np.sum(rows * (fit - means) ** 2))), np.float64)
