"""Treatment effects: S-, T- and X-learners on linear models and on trees.

S. R. Künzel, J. S. Sekhon, P. J. Bickel and B. Yu, "Metalearners for estimating heterogeneous treatment effects", PNAS 2019,
https://doi.org/10.1073/pnas.1804597116. S: one model of the label with the treatment among its columns; T: a model of each arm; X: two
models of each arm's effects as the other arm's model sees them, weighted by how many are treated. They hold where treatment was random.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from pydantic import Field

from cartwheel.core.settings import Settings
from models.families.family import ALL_KINDS, Fitted, Floats, Learner, Tags, TrainingData
from models.families.rows.answers import SCORE, read_content, write_content
from models.families.rows.design import Design, declare_inputs
from models.families.rows.lightgbm import LightGBMLearner, LightGBMSettings, Trees, grown_trees
from models.families.rows.linear import Linear, LinearSettings, LogisticRegressionLearner, PoissonRegressionLearner
from models.training.tables import Table
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.features.column import Column, Kind, Owner
from workflows.tasks.task import Answer

TREATED: Final = Column("treated", Owner.MOMENT, Kind.NUMBER, "whether the row was treated")
"""What an S-learner reads beside the columns of the rows."""
Part = Linear | Trees


class LinearEffectSettings(Settings):
    """Settings of linear models of effects."""

    l2: Annotated[float, Field(gt=0.0)] = 10.0
    """Weight of the squared coefficients in the summed loss of each model."""


class TreeEffectSettings(Settings):
    """Settings of trees of effects."""

    leaves: Annotated[int, Field(ge=2, le=256)] = 8
    """Maximum number of leaves per tree."""
    min_rows: Annotated[int, Field(ge=1)] = 100
    """Minimum number of rows in a leaf: effects are small compared with other influences on a label."""
    rounds: Annotated[int, Field(ge=1)] = 200
    """Maximum number of trees of each model; early stopping on the validation rows of its arm keeps fewer."""


@dataclass
class Effects(Fitted):
    """Models of the label, or of effects, and how they make an effect.

    Attributes:
        columns: of the rows.
        method: ``s``, ``t`` or ``x``.
        parts: by name: ``whole`` of S; ``with`` and ``without`` of T, each of an arm; the same of X, of each arm's effects.
        logistic: whether scores of the parts of S and T are log odds.
        share: of the training rows that were treated.
    """

    columns: tuple[Column, ...]
    method: str
    parts: Mapping[str, Part]
    logistic: bool
    share: float
    notes: tuple[str, ...] = ()

    def scores(self, rows: Table) -> Floats:
        """Return [n] how much more of the label the treatment brings."""
        if self.method == "s":
            above, below = (self._mean("whole", _armed(rows, arm)) for arm in (1.0, 0.0))
            return above - below
        if self.method == "t":
            return self._mean("with", rows) - self._mean("without", rows)
        return (1.0 - self.share) * self.parts["with"].scores(rows) + self.share * self.parts["without"].scores(rows)

    def _mean(self, part: str, rows: Table) -> Floats:
        score = self.parts[part].scores(rows)
        return 1.0 / (1.0 + np.exp(-score)) if self.logistic else score

    def onnx(self) -> Any:
        """Return the graphs of the parts in one."""
        graph = GraphBuilder("effects")
        inputs = declare_inputs(graph, self.columns)

        def mean(part: str, arm: float | None = None) -> str:
            given = dict(inputs)
            if arm is not None:
                first = graph.add("Slice", graph.add("Shape", inputs[self.columns[0].name]), *_ends(graph))
                shape = graph.add("Concat", first, graph.constant([1], np.int64), axis=0)
                given[TREATED.name] = graph.add("Expand", graph.constant([[arm]], np.float32), shape)
            model = self.parts[part]
            (score,) = graph.inline(model.onnx(), {column.name: given[column.name] for column in model.columns}).values()
            score = graph.add("Cast", score, to=TensorProto.DOUBLE)
            return graph.add("Sigmoid", score) if self.logistic else score

        if self.method == "s":
            found = graph.add("Sub", mean("whole", 1.0), mean("whole", 0.0))
        elif self.method == "t":
            found = graph.add("Sub", mean("with"), mean("without"))
        else:
            weights = (graph.constant(each, np.float64) for each in (1.0 - self.share, self.share))
            both = [graph.add("Mul", mean(part), weight) for part, weight in zip(("with", "without"), weights, strict=True)]
            found = graph.add("Add", *both)
        graph.output(graph.add("Cast", found, to=TensorProto.FLOAT), SCORE, "float32", ["batch", 1])
        return graph.model()

    def save(self, folder: Path) -> None:
        """Write each part into a folder of its name."""
        kept = ("method", "logistic", "share", "notes")
        content = {name: getattr(self, name) for name in kept}
        content |= {"columns": [column.to_json() for column in self.columns], "parts": list(self.parts)}
        write_content(folder, content)
        for name, part in self.parts.items():
            (folder / name).mkdir()
            part.save(folder / name)


class EffectLearner(Learner[Any]):
    """A meta-learner over a kind of model."""

    method: ClassVar[str]
    tags: ClassVar[Tags] = Tags(frozenset({Answer.EFFECT}), "rows", ALL_KINDS, random=True, missing=True)

    @abstractmethod
    def model(self, data: TrainingData, seed: int) -> Part:
        """Fit a model of a probability or of a quantity."""

    @abstractmethod
    def regression(self, data: TrainingData, target: Floats, valid_target: Floats, seed: int) -> Part:
        """Fit a model of numbers above and below 0, of the rows of ``data``."""

    @abstractmethod
    def read(self, folder: Path) -> Part:
        """Read what ``Part.save`` wrote."""

    def fit(self, data: TrainingData, seed: int) -> Effects:
        """Fit the models; errors as in ``Learner.fit``."""
        self.check(data)
        treated, valid = _arms(data.treated), _arms(data.valid_treated)
        logistic = bool(np.isin(data.label, (0.0, 1.0)).all())
        answer = Answer.PROBABILITY if logistic else Answer.QUANTITY
        plain = replace(data, answer=answer, treated=None, valid_treated=None)
        share = float(treated.mean())
        if self.method == "s":
            parts = {"whole": self.model(_with_arm(plain, treated, valid), seed)}
            return Effects(data.columns, "s", parts, logistic, share)
        arms = {name: _rows(plain, treated == arm, valid == arm) for name, arm in (("with", 1.0), ("without", 0.0))}
        models = {name: self.model(arm, seed) for name, arm in arms.items()}
        if self.method == "t":
            return Effects(data.columns, "t", models, logistic, share)
        stage = Effects(data.columns, "t", models, logistic, share)
        parts = {}
        for name, other, sign in (("with", "without", 1.0), ("without", "with", -1.0)):
            arm = arms[name]
            target = sign * (arm.label - stage._mean(other, arm.train))
            valid_target = sign * (arm.valid_label - stage._mean(other, arm.valid)) if len(arm.valid) else arm.valid_label
            parts[name] = self.regression(arm, target, valid_target, seed)
        return Effects(data.columns, "x", parts, logistic=False, share=share)

    def load(self, folder: Path) -> Effects:
        """Read what ``Effects.save`` wrote."""
        content = read_content(folder)
        columns = tuple(Column.from_json(each) for each in content["columns"])
        parts = {name: self.read(folder / name) for name in content["parts"]}
        return Effects(columns, content["method"], parts, content["logistic"], content["share"], tuple(content["notes"]))


class _OnLinear(EffectLearner):
    complexity: ClassVar[int] = 2
    settings: ClassVar[type[Settings]] = LinearEffectSettings

    def model(self, data: TrainingData, seed: int) -> Part:
        """Fit a logistic or a Poisson regression."""
        family = LogisticRegressionLearner if data.answer is Answer.PROBABILITY else PoissonRegressionLearner
        return family(LinearSettings(l2=self.config.l2)).fit(data, seed)

    def regression(self, data: TrainingData, target: Floats, valid_target: Floats, seed: int) -> Part:
        """Fit a ridge regression."""
        from sklearn.linear_model import Ridge

        del valid_target, seed
        config = LinearSettings()
        design = Design.of(data.columns, data.train, config.max_levels, config.min_rows, filled=True)
        line = Ridge(alpha=self.config.l2).fit(design.matrix(data.train).astype(np.float64), target)
        return Linear(design, np.asarray(line.coef_, np.float64), float(line.intercept_), None)

    def read(self, folder: Path) -> Part:
        """Read coefficients."""
        return LogisticRegressionLearner().load(folder)


class _OnTrees(EffectLearner):
    complexity: ClassVar[int] = 3
    settings: ClassVar[type[Settings]] = TreeEffectSettings

    def _settings(self) -> LightGBMSettings:
        config = self.config
        rounds = {"rounds": config.rounds, "rounds_without_validation": min(config.rounds, 50)}
        return LightGBMSettings(leaves=config.leaves, min_rows=config.min_rows, l2=10.0, **rounds)

    def model(self, data: TrainingData, seed: int) -> Part:
        """Grow trees."""
        return LightGBMLearner(self._settings()).fit(data, seed)

    def regression(self, data: TrainingData, target: Floats, valid_target: Floats, seed: int) -> Part:
        """Grow trees of squared errors."""
        return grown_trees(self._settings(), data, target, valid_target, seed)

    def read(self, folder: Path) -> Part:
        """Read trees."""
        return LightGBMLearner().load(folder)


class LinearSLearner(_OnLinear):
    """One linear model."""

    name, title, method = "s_linear", "S-learner, linear", "s"


class LinearTLearner(_OnLinear):
    """A linear model of each arm."""

    name, title, method = "t_linear", "T-learner, linear", "t"


class LinearXLearner(_OnLinear):
    """A linear model of each arm's effects."""

    name, title, method = "x_linear", "X-learner, linear", "x"


class TreeSLearner(_OnTrees):
    """Trees of both arms."""

    name, title, method = "s_trees", "S-learner, trees", "s"


class TreeTLearner(_OnTrees):
    """Trees of each arm."""

    name, title, method = "t_trees", "T-learner, trees", "t"


class TreeXLearner(_OnTrees):
    """Trees of each arm's effects."""

    name, title, method = "x_trees", "X-learner, trees", "x"


def _arms(given: Floats | None) -> Floats:
    return np.zeros(0) if given is None else given


def _armed(rows: Table, arm: float | Floats) -> Table:
    """Return the rows with the column of the treatment."""
    values = np.broadcast_to(np.asarray(arm, np.float32), len(rows)).astype(np.float32)
    return Table(rows.folder, {**rows.columns, TREATED.name: values})


def _with_arm(data: TrainingData, treated: Floats, valid: Floats) -> TrainingData:
    columns = (*data.columns, TREATED)
    return replace(data, columns=columns, train=_armed(data.train, treated), valid=_armed(data.valid, valid))


def _rows(data: TrainingData, train: npt.NDArray[np.bool_], valid: npt.NDArray[np.bool_]) -> TrainingData:
    """Return the data with some of its training and validation rows."""
    first, second = np.flatnonzero(train), np.flatnonzero(valid)
    rows = replace(data, train=data.train.at(first), label=data.label[first])
    return replace(rows, valid=data.valid.at(second), valid_label=data.valid_label[second])


def _ends(graph: GraphBuilder) -> tuple[str, str]:
    return graph.constant([0], np.int64), graph.constant([1], np.int64)
