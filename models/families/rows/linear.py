"""Linear models with an L2 penalty: logistic regression of probabilities, conditional logit of lists, Poisson regression of quantities."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import numpy as np
from onnx import TensorProto
from pydantic import Field

from cartwheel.core.settings import Settings
from models.families.family import ALL_KINDS, Fitted, Floats, Learner, Tags, TrainingData, Tune
from models.families.rows.answers import add_score, ceiling, read_content, score, write_content
from models.families.rows.design import Design, Matrix
from models.families.rows.lists import fit_conditional_logit
from models.training.tables import Table
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.features.column import Column
from workflows.tasks.task import Answer

_SOLVER: Final = "newton-cholesky"
"""A few exact Newton steps; a design has hundreds of columns, far fewer than rows."""


class LinearSettings(Settings):
    """Settings of a linear model."""

    l2: Annotated[float, Field(gt=0.0), Tune(0.01, 1000.0, log=True)] = 1.0
    """Weight of the squared coefficients in the summed loss; for ranking, coefficients of numbers are in units of their standard deviation
    within lists."""
    max_levels: Annotated[int, Field(ge=1, le=1000)] = 100
    """Maximum number of values of an id column with a coefficient: the most frequent ones."""
    min_rows: Annotated[int, Field(ge=1)] = 20
    """Minimum number of training rows of a value with a coefficient."""
    max_steps: Annotated[int, Field(ge=1)] = 500
    """Maximum number of solver steps."""


@dataclass
class Linear(Fitted):
    """Coefficients over a design.

    Attributes:
        design: how a row becomes numbers.
        weights: [width] float64.
        bias: of the linear predictor.
        most: highest predicted quantity; None of log odds.
    """

    design: Design
    weights: Floats
    bias: float
    most: float | None
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:  # type: ignore[override]
        """The columns of the design."""
        return self.design.columns

    def scores(self, rows: Table) -> Floats:
        """Return [n] log odds, expected quantities, or what orders a list."""
        return score(np.einsum("nd,d->n", self.design.matrix(rows).astype(np.float64), self.weights) + self.bias, self.most)

    def onnx(self) -> Any:
        """Return the graph, computed in float64."""
        graph = GraphBuilder("linear")
        design = graph.add("Cast", self.design.add(graph), to=TensorProto.DOUBLE)
        product = graph.add("MatMul", design, graph.constant(self.weights[:, None], np.float64))
        add_score(graph, graph.add("Add", product, graph.constant(self.bias, np.float64)), self.most)
        return graph.model()

    def save(self, folder: Path) -> None:
        """Write design and coefficients."""
        content = {"design": self.design.content(), "weights": self.weights.tolist(), "bias": self.bias, "most": self.most}
        write_content(folder, {**content, "notes": list(self.notes)})

    def contributions(self, rows: Table) -> Floats | None:
        """Return [n, columns] coefficient times value, to which the bias adds up to the score; None of quantities."""
        if self.most is not None:
            return None
        return self.design.by_column(self.design.matrix(rows).astype(np.float64) * self.weights)


class _LinearLearner(Learner[LinearSettings]):
    complexity: ClassVar[int] = 2
    settings: ClassVar[type[Settings]] = LinearSettings

    def fit(self, data: TrainingData, seed: int) -> Linear:
        """Fit the coefficients; errors as in ``Learner.fit``."""
        del seed
        self.check(data)
        design = Design.of(data.columns, data.train, self.config.max_levels, self.config.min_rows, filled=True)
        features = design.matrix(data.train)
        if data.answer is Answer.RANKING and data.groups is not None:
            numbers, config = design.numbers(), self.config
            weights, converged = fit_conditional_logit(features, data.label, data.groups, numbers, config.l2, config.max_steps)
            bias = 0.0
        else:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                weights, bias = self._solve(features, data.label)
            converged = not any("converge" in str(each.message) for each in caught)
        notes = () if converged else (f"the solver stopped after {self.config.max_steps} steps",)
        return Linear(design, weights, bias, ceiling(data.answer, data.label), notes)

    def _solve(self, features: Matrix, label: Floats) -> tuple[Floats, float]:
        raise NotImplementedError

    def load(self, folder: Path) -> Linear:
        """Read what ``Linear.save`` wrote."""
        content = read_content(folder)
        weights = np.asarray(content["weights"], np.float64)
        return Linear(Design.from_content(content["design"]), weights, content["bias"], content["most"], tuple(content["notes"]))


class LogisticRegressionLearner(_LinearLearner):
    """Logistic regression (scikit-learn); of lists the conditional logit."""

    name: ClassVar[str] = "logistic_regression"
    title: ClassVar[str] = "logistic regression"
    tags: ClassVar[Tags] = Tags(frozenset({Answer.PROBABILITY, Answer.RANKING}), "rows", ALL_KINDS, missing=True)

    def _solve(self, features: Matrix, label: Floats) -> tuple[Floats, float]:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=1.0 / self.config.l2, solver=_SOLVER, max_iter=self.config.max_steps)
        model.fit(features.astype(np.float64), label.astype(np.int64))
        return np.asarray(model.coef_[0], np.float64), float(model.intercept_[0])


class PoissonRegressionLearner(_LinearLearner):
    """Poisson regression with a logarithmic link (scikit-learn)."""

    name: ClassVar[str] = "poisson_regression"
    title: ClassVar[str] = "Poisson regression"
    tags: ClassVar[Tags] = Tags(frozenset({Answer.QUANTITY}), "rows", ALL_KINDS, missing=True)

    def _solve(self, features: Matrix, label: Floats) -> tuple[Floats, float]:
        from sklearn.linear_model import PoissonRegressor

        model = PoissonRegressor(alpha=self.config.l2 / len(label), solver=_SOLVER, max_iter=self.config.max_steps)
        model.fit(features.astype(np.float64), label)
        return np.asarray(model.coef_, np.float64), float(model.intercept_)
