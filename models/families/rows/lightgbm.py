"""Gradient boosted trees: LightGBM (Ke et al., NIPS 2017), stopped early on validation rows.

Lists are ordered by LambdaRank (Burges, "From RankNet to LambdaRank to LambdaMART", 2010) and stopped by NDCG at 10 of validation lists.
A missing number goes the way of each split that suits the training rows which miss it.

Columns are float32 when a model is served, and thresholds of LightGBM are float64 between two of them. They are rounded down to float32,
which sends every float32 value the same way, so that trees answer alike in LightGBM and in ONNX.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import numpy as np
from onnx import TensorProto
from pydantic import Field

from cartwheel.core.cores import cores
from cartwheel.core.errors import RunError
from cartwheel.core.files import write_text
from cartwheel.core.settings import Settings
from models.families.family import ALL_ANSWERS, ALL_KINDS, Fitted, Floats, Learner, Tags, TrainingData, Tune
from models.families.rows.answers import add_score, ceiling, read_content, score, write_content
from models.families.rows.design import Design
from models.families.rows.lists import validation_ndcg
from models.metrics.grouped import Lists
from models.metrics.quantities import poisson_deviance
from models.training.tables import Table
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.features.column import Column
from workflows.tasks.task import Answer

TREES: Final = "trees.txt"
QUANTITY_LOSSES: Final = ("poisson", "tweedie")
_CONVERTER_OPSET: Final = 15
"""The latest that onnxmltools converts trees to; what it needs has not changed since."""


class LightGBMSettings(Settings):
    """Settings of gradient boosting."""

    rounds: Annotated[int, Field(ge=1, le=5000)] = 500
    """Maximum number of trees; early stopping keeps fewer."""
    rounds_without_validation: Annotated[int, Field(ge=1, le=5000)] = 100
    """Maximum number of trees without validation rows for early stopping."""
    patience: Annotated[int, Field(ge=1)] = 30
    """Trees without a better validation loss before training stops."""
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0), Tune(0.01, 0.3, log=True)] = 0.05
    """Shrinkage applied to each tree."""
    leaves: Annotated[int, Field(ge=2, le=1024), Tune(4, 128, log=True)] = 15
    """Maximum number of leaves per tree."""
    min_rows: Annotated[int, Field(ge=1), Tune(5, 500, log=True)] = 30
    """Minimum number of training rows in a leaf, and of a value of an id column that trees can split on."""
    l2: Annotated[float, Field(ge=0.0), Tune(0.1, 100.0, log=True)] = 1.0
    """Weight of the squared leaf values."""
    feature_share: Annotated[float, Field(gt=0.0, le=1.0), Tune(0.3, 1.0)] = 0.8
    """Share of the features that each tree may split on, drawn with the seed."""
    max_levels: Annotated[int, Field(ge=1, le=1000)] = 100
    """Maximum number of values of an id column that trees can split on: the most frequent ones."""
    quantity: Literal["poisson", "tweedie", "best"] = "poisson"
    """Loss of quantities; ``tweedie`` suits sums of money with many zeros; ``best`` fits both and keeps the one with the lower Poisson
    deviance on validation rows."""
    ranking: Literal["lambdarank", "binary"] = "lambdarank"
    """Loss for rankings: pairwise within a list, or binary per row, on whether its label is above 0."""
    truncation: Annotated[int, Field(ge=1)] = 20
    """LambdaRank learns from pairs with at least one item in this many first positions of its list."""
    num_threads: Annotated[int, Field(ge=0)] = 0
    """Number of threads; 0 means one per core. The trees do not depend on it."""


@dataclass
class Trees(Fitted):
    """Grown trees over a design.

    Attributes:
        design: how a row becomes numbers.
        booster: ``lightgbm.Booster`` whose sum of leaves is the linear predictor.
        most: highest predicted quantity; None of log odds.
    """

    design: Design
    booster: Any
    most: float | None
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:  # type: ignore[override]
        """The columns of the design."""
        return self.design.columns

    def scores(self, rows: Table) -> Floats:
        """Return [n] log odds, expected quantities, or what orders a list."""
        if not len(rows):
            return np.zeros(0)
        found = self.booster.predict(self.design.matrix(rows), raw_score=True, num_threads=1)
        return score(np.asarray(found, np.float64), self.most)

    def onnx(self) -> Any:
        """Return the graph: the design, and a ``TreeEnsembleRegressor`` over it."""
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        graph = GraphBuilder("lightgbm")
        design = self.design.add(graph)
        trees = convert_lightgbm(
            self.booster,
            initial_types=[("design", FloatTensorType([None, self.design.width]))],
            name="trees",
            target_opset=_CONVERTER_OPSET,
        )
        (found,) = graph.inline(trees, {"design": design}).values()
        add_score(graph, graph.add("Cast", found, to=TensorProto.DOUBLE), self.most)
        return graph.model()

    def save(self, folder: Path) -> None:
        """Write design and trees, these in LightGBM's own text format."""
        write_content(folder, {"design": self.design.content(), "most": self.most, "notes": list(self.notes)})
        write_text(folder / TREES, self.booster.model_to_string())

    def contributions(self, rows: Table) -> Floats | None:
        """Return [n, columns] SHAP values (Lundberg et al., 2020) of the score; None of quantities."""
        if self.most is not None or not len(rows):
            return None
        parts = self.booster.predict(self.design.matrix(rows), pred_contrib=True, num_threads=1)
        return self.design.by_column(np.asarray(parts, np.float64)[:, :-1])


class LightGBMLearner(Learner[LightGBMSettings]):
    """Grows trees."""

    name: ClassVar[str] = "lightgbm"
    title: ClassVar[str] = "gradient boosting"
    complexity: ClassVar[int] = 3
    tags: ClassVar[Tags] = Tags(ALL_ANSWERS, "rows", ALL_KINDS, random=True, missing=True)
    settings: ClassVar[type[Settings]] = LightGBMSettings

    def fit(self, data: TrainingData, seed: int) -> Trees:
        """Grow trees until validation stops improving; errors as in ``Learner.fit``."""
        import lightgbm

        if self.config.quantity == "best" and data.answer is Answer.QUANTITY:
            return self._best(data, seed)
        self.check(data)
        design = Design.of(data.columns, data.train, self.config.max_levels, self.config.min_rows)
        parameters = self._parameters(data, seed)
        train = self._rows(design, data, parameters)
        rounds, stopping, sets, judge = self.config.rounds, [], [], None
        notes: tuple[str, ...] = ()
        if _can_stop(data):
            sets = [train.create_valid(design.matrix(data.valid), self._target(data.valid_label, data), params=parameters)]
            stopping = [lightgbm.early_stopping(self.config.patience, verbose=False)]
            judge = _by_ndcg(data) if data.answer is Answer.RANKING else None
        else:
            rounds = min(rounds, self.config.rounds_without_validation)
            notes = (f"validation rows cannot stop it, so it grew {rounds} trees",)
        grown = lightgbm.train(parameters, train, rounds, valid_sets=sets, feval=judge, callbacks=stopping)
        kept = grown.best_iteration if grown.best_iteration > 0 else rounds
        return Trees(design, _served(grown.model_to_string(num_iteration=kept)), ceiling(data.answer, data.label), notes)

    def _best(self, data: TrainingData, seed: int) -> Trees:
        """Return the trees of the loss that validation rows like better; of the first where there are none."""
        if not len(data.valid_label):
            return LightGBMLearner(self.config.model_copy(update={"quantity": QUANTITY_LOSSES[0]})).fit(data, seed)
        made = [LightGBMLearner(self.config.model_copy(update={"quantity": loss})).fit(data, seed) for loss in QUANTITY_LOSSES]
        deviance = [poisson_deviance(data.valid_label, trees.scores(data.valid)) for trees in made]
        place = int(np.argmin(deviance))
        made[place].notes = (*made[place].notes, f"it minimises the {QUANTITY_LOSSES[place]} loss, by validation")
        return made[place]

    def _rows(self, design: Design, data: TrainingData, parameters: dict[str, Any]) -> Any:
        """Return the training rows; of pairs those of lists that hold an order, since no other has a pair."""
        import lightgbm

        rows, label, sizes = data.train, self._target(data.label, data), None
        if parameters["objective"] == "lambdarank" and data.groups is not None:
            lists = Lists.of(data.groups)
            kept = lists.differing(label)
            held = np.flatnonzero(np.repeat(kept, lists.sizes))
            rows, label, sizes = (rows if kept.all() else rows.at(held)), label[held], lists.sizes[kept]
        return lightgbm.Dataset(design.matrix(rows), label, group=sizes, params=parameters)

    def _target(self, label: Floats, data: TrainingData) -> Floats:
        by_row = data.answer is Answer.RANKING and self.config.ranking == "binary"
        return (label > 0).astype(np.float64) if by_row else label

    def _parameters(self, data: TrainingData, seed: int) -> dict[str, Any]:
        config = self.config
        objectives = {Answer.PROBABILITY: "binary", Answer.QUANTITY: config.quantity, Answer.RANKING: config.ranking}
        return {
            "objective": objectives[data.answer],
            "learning_rate": config.learning_rate,
            "num_leaves": config.leaves,
            "min_data_in_leaf": config.min_rows,
            "lambda_l2": config.l2,
            "feature_fraction": config.feature_share,
            "lambdarank_truncation_level": config.truncation,
            "seed": seed,
            "deterministic": True,
            "force_col_wise": True,  # a histogram is summed by one thread, so that threads change no sum
            "num_threads": config.num_threads or cores(),
            "verbosity": -1,
            **({"metric": "None"} if data.answer is Answer.RANKING else {}),
        }

    def load(self, folder: Path) -> Trees:
        """Read what ``Trees.save`` wrote."""
        import lightgbm

        content, path = read_content(folder), folder / TREES
        try:
            booster = lightgbm.Booster(model_str=path.read_text(encoding="utf-8"))
        except (OSError, lightgbm.basic.LightGBMError) as error:
            raise RunError(f"{path} cannot be read as trees ({error}).", "Train the model again.") from error
        return Trees(Design.from_content(content["design"]), booster, content["most"], tuple(content["notes"]))


def grown_trees(config: LightGBMSettings, data: TrainingData, target: Floats, valid_target: Floats, seed: int) -> Trees:
    """Grow trees of squared errors from the rows of ``data`` to targets above and below 0, [N] and [M]; the score is the sum of leaves."""
    import lightgbm

    learner = LightGBMLearner(config)
    design = Design.of(data.columns, data.train, config.max_levels, config.min_rows)
    parameters = learner._parameters(data, seed) | {"objective": "regression"}
    train = lightgbm.Dataset(design.matrix(data.train), target, params=parameters)
    rounds, sets, stopping = config.rounds, [], []
    if len(np.unique(valid_target)) > 1:
        sets = [train.create_valid(design.matrix(data.valid), valid_target, params=parameters)]
        stopping = [lightgbm.early_stopping(config.patience, verbose=False)]
    else:
        rounds = min(rounds, config.rounds_without_validation)
    grown = lightgbm.train(parameters, train, rounds, valid_sets=sets, callbacks=stopping)
    kept = grown.best_iteration if grown.best_iteration > 0 else rounds
    return Trees(design, _served(grown.model_to_string(num_iteration=kept)), None)


def _can_stop(data: TrainingData) -> bool:
    if data.answer is Answer.RANKING:
        return data.valid_groups is not None and bool(Lists.of(data.valid_groups).differing(data.valid_label).any())
    return len(np.unique(data.valid_label)) > 1


def _by_ndcg(data: TrainingData) -> Callable[[Floats, Any], tuple[str, float, bool]]:
    """Return what LightGBM calls after each tree; its own NDCG is a sum whose order changes with the number of threads."""
    ndcg = validation_ndcg(data)
    return lambda score, _: ("ndcg", ndcg.mean(score), True)


def _served(text: str) -> Any:
    """Return a booster of LightGBM's text whose thresholds are float32 and whose answer is the plain sum of leaves."""
    import lightgbm

    text = re.sub(r"(?m)^threshold=(.*)$", lambda found: "threshold=" + " ".join(map(_down, found[1].split())), text)
    text = re.sub(r"(?m)^tree_sizes=.*\n", "", text)  # lengths of what was just changed; without them LightGBM reads in turn
    text = re.sub(r"(?m)^objective=.*$", "objective=regression", text)
    text = re.sub(r"(?m)^\[objective: \w+\]$", "[objective: regression]", text)
    return lightgbm.Booster(model_str=text)


def _down(threshold: str) -> str:
    """Return the largest float32 that is at most ``threshold``.

    >>> float(_down("0.1")) <= 0.1
    True
    """
    value = float(threshold)
    rounded = np.float32(value)
    if float(rounded) > value:
        rounded = np.nextafter(rounded, np.float32(-np.inf))
    return repr(float(rounded))
