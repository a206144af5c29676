"""Common code of networks for rows: inputs, training, scoring, export and storage.

Ids and the values of lists become embeddings, of lists their mean; numbers and vectors enter as they are, kept within a bound that few
training values exceed. The last bias starts at the base rate. Training is the fit loop of every model, stopped early on validation rows.
"""

from __future__ import annotations

import math
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from pydantic import Field

from models.families.family import Fitted, Floats, Learner, TrainingData, Tune
from models.families.rows.answers import add_score, ceiling, log_odds, read_content, score, write_content
from models.families.rows.design import declare_inputs
from models.families.rows.one_feature import row_loss
from models.families.rows.ops import NumpyOps, OnnxOps, Ops, TensorFlowOps
from models.families.rows.weights import read_weights, write_weights
from models.training.loop import fit, in_turn
from models.training.settings import TrainingSettings
from models.training.tables import OOV_ID, PADDING_ID, Table
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.features.column import CONTINUOUS, LISTS, Column, Kind
from workflows.tasks.task import Answer

_BOUND: Final = 6.0
"""Standard deviations from the mean beyond which a number counts as this far; a network says nothing sound about what it never saw."""
_SPREAD: Final = 0.05
_SCORED: Final = 16_384
N = TypeVar("N", bound="NetworkSettings")
Weights = dict[str, npt.NDArray[np.float32]]


class NetworkSettings(TrainingSettings):
    """What every network of rows shares."""

    epochs: Annotated[int, Field(gt=0)] = 60
    """Maximum number of passes over the training rows; early stopping ends sooner."""
    patience: Annotated[int, Field(gt=0)] = 5
    """Epochs without a lower validation loss before training stops; the best weights are kept."""
    batch_size: Annotated[int, Field(gt=1)] = 256
    """Rows per step."""
    learning_rate: Annotated[float, Field(gt=0.0), Tune(1e-4, 1e-2, log=True)] = 0.001
    """Step size of Adam."""
    embedding_l2: Annotated[float, Field(ge=0.0), Tune(1e-7, 1e-3, log=True)] = 1e-6
    """Weight of the squared embeddings in the loss."""
    id_dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.05
    """Share of ids replaced by the id of unknown values in training, so that the model learns about unknown values."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0), Tune(0.0, 0.5)] = 0.2
    """Dropout rate of the hidden layers."""


@dataclass(frozen=True)
class Shape:
    """What a network is made of, apart from its weights.

    Attributes:
        columns: what it reads.
        sizes: column of ids -> number of ids.
        settings: of its family.
    """

    columns: tuple[Column, ...]
    sizes: Mapping[str, int]
    settings: Any

    @property
    def numbers(self) -> tuple[Column, ...]:
        """Columns of numbers, and vectors."""
        return tuple(column for column in self.columns if column.kind in CONTINUOUS or column.kind is Kind.VECTOR)

    @property
    def width(self) -> int:
        """Numbers of a row."""
        return sum(column.width if column.kind is Kind.VECTOR else 1 for column in self.numbers)

    @property
    def embedded(self) -> tuple[Column, ...]:
        """Columns of ids and lists."""
        return tuple(column for column in self.columns if column not in self.numbers)


Forward = Callable[[Ops, Shape, Mapping[str, Any]], Any]
"""(operations, shape, inputs) -> the linear predictor ``[B, 1]``."""


@dataclass
class Network(Fitted):
    """A trained network.

    Attributes:
        shape: what it is made of.
        forward: its forward pass.
        weights: by name, float32.
        most: highest predicted quantity; None of log odds.
    """

    shape: Shape
    forward: Forward
    weights: Weights
    most: float | None
    notes: tuple[str, ...] = ()
    _ops: NumpyOps = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._ops = NumpyOps(self.weights)

    @property
    def columns(self) -> tuple[Column, ...]:  # type: ignore[override]
        """The columns of the shape."""
        return self.shape.columns

    def scores(self, rows: Table) -> Floats:
        """Return [n] log odds, or expected quantities."""
        names = [column.name for column in self.columns]
        parts = [np.zeros(0)]
        for start in range(0, len(rows), _SCORED):
            inputs = rows.batch(slice(start, start + _SCORED), names)
            parts.append(self.forward(self._ops, self.shape, _as_float64(inputs))[:, 0])
        return score(np.concatenate(parts), self.most)

    def onnx(self) -> Any:
        """Return the graph."""
        graph = GraphBuilder("network")
        found = self.forward(OnnxOps(graph, self.weights), self.shape, declare_inputs(graph, self.columns))
        add_score(graph, graph.add("Cast", found, to=TensorProto.DOUBLE), self.most)
        return graph.model()

    def save(self, folder: Path) -> None:
        """Write shape and weights."""
        content = {
            "columns": [column.to_json() for column in self.columns],
            "sizes": dict(self.shape.sizes),
            "settings": self.shape.settings.model_dump(mode="json"),
            "most": self.most,
            "notes": list(self.notes),
        }
        write_content(folder, content)
        write_weights(folder, self.weights)


class NetworkLearner(Learner[N]):
    """A family of networks: says which weights there are and what the forward pass is."""

    @abstractmethod
    def initial(self, shape: Shape, draw: Draw) -> Weights:
        """Return the weights that training starts from, ``bias`` ``[1]`` among them: the last bias, which is set to the base rate."""

    @staticmethod
    @abstractmethod
    def forward(ops: Ops, shape: Shape, inputs: Mapping[str, Any]) -> Any:
        """Return the linear predictor ``[B, 1]``."""

    def fit(self, data: TrainingData, seed: int) -> Network:
        """Train; errors as in ``Learner.fit``."""
        self.check(data)
        sizes = {column.name: data.sizes[column.name] for column in data.columns if column.name in data.sizes}
        shape = Shape(data.columns, sizes, self.config)
        weights = self.initial(shape, Draw(np.random.default_rng(seed)))
        rate = log_odds(data.label) if data.answer is Answer.PROBABILITY else math.log(data.label.mean())
        weights["bias"] = np.array([rate], np.float32)
        trained = _Training(self, shape, data, weights)
        with tempfile.TemporaryDirectory() as folder:
            history = fit(trained, self.config, seed, Path(folder), "")
        notes = () if len(data.valid) else (f"there are no validation rows, so it was trained for {self.config.epochs} epochs",)
        kept = f"the weights are those after epoch {history.best_epoch + 1}"
        return Network(shape, self.forward, trained.weights(), ceiling(data.answer, data.label), (*notes, kept))

    def load(self, folder: Path) -> Network:
        """Read what ``Network.save`` wrote."""
        content = read_content(folder)
        columns = tuple(Column.from_json(each) for each in content["columns"])
        shape = Shape(columns, content["sizes"], self.settings(**content["settings"]))
        return Network(shape, self.forward, read_weights(folder), content["most"], tuple(content["notes"]))


@dataclass
class Draw:
    """Initial weights.

    Attributes:
        rng: what they are drawn from.
    """

    rng: np.random.Generator

    def dense(self, inputs: int, outputs: int) -> npt.NDArray[np.float32]:
        """Return ``[inputs, outputs]`` by Glorot and Bengio (2010)."""
        bound = math.sqrt(6.0 / (inputs + outputs))
        return self.rng.uniform(-bound, bound, (inputs, outputs)).astype(np.float32)

    def embedding(self, rows: int, width: int) -> npt.NDArray[np.float32]:
        """Return ``[rows, width]`` small normal numbers."""
        return self.rng.normal(0.0, _SPREAD, (rows, width)).astype(np.float32)

    def layers(self, name: str, inputs: int, widths: Sequence[int]) -> Weights:
        """Return the weights of ``layers`` of this name."""
        made = {}
        for place, width in enumerate(widths):
            made[f"{name}{place}"], made[f"{name}{place}_bias"] = self.dense(inputs, width), np.zeros(width, np.float32)
            inputs = width
        return made


def layers(ops: Ops, name: str, value: Any, widths: Sequence[int], dropout: float) -> Any:
    """Apply hidden layers with ReLU."""
    for place in range(len(widths)):
        product = ops.matmul(value, ops.weight(f"{name}{place}"))
        value = ops.dropout(ops.relu(ops.add(product, ops.weight(f"{name}{place}_bias"))), dropout)
    return value


def numbers(ops: Ops, shape: Shape, inputs: Mapping[str, Any]) -> Any:
    """Return the numbers and vectors of the rows, ``[B, width]``, within the bound."""
    return ops.clip(ops.concat([inputs[column.name] for column in shape.numbers]), -_BOUND, _BOUND)


def embedding(ops: Ops, column: Column, inputs: Mapping[str, Any]) -> Any:
    """Return the embedding of an id, or the mean of those of a list, ``[B, D]``; of an empty list 0."""
    table, ids = ops.weight(f"table_{column.name}"), inputs[column.name]
    if column.kind not in LISTS:
        return ops.at(ops.gather(table, ids), 0)
    real = ops.real(ids)
    total = ops.total(ops.multiply(ops.gather(table, ids), _last_axis(ops, real)), 1)
    return ops.divide(total, ops.maximum(_last(ops, ops.total(real, 1)), ops.number(1.0)))


def _last(ops: Ops, value: Any) -> Any:
    return ops.reshape(value, -1, 1)


def _last_axis(ops: Ops, value: Any) -> Any:
    return ops.transposed(ops.stack([value]))


def _as_float64(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.astype(np.float64) if value.dtype == np.float32 else value for name, value in inputs.items()}


class _Training:
    """What ``models.training.loop.fit`` needs of a network."""

    def __init__(self, learner: NetworkLearner[Any], shape: Shape, data: TrainingData, weights: Weights) -> None:
        from cartwheel.merlin_compat import tf

        self.title = f"{learner.name} of {data.task}"
        self.examples = len(data.label)
        self._learner, self._shape, self._data = learner, shape, data
        self._named = {name: tf.Variable(value, name=name) for name, value in weights.items()}
        self.variables = list(self._named.values())
        self.optimizer = tf.keras.optimizers.legacy.Adam(learner.config.learning_rate)
        _ = self.optimizer.iterations
        self.optimizer._create_all_weights(self.variables)
        self._names = [column.name for column in shape.columns]
        self._ids = [column.name for column in shape.embedded]
        self._label = data.label.astype(np.float32)
        self._most = ceiling(data.answer, data.label)
        self._run = in_turn(self._learn)

    def weights(self) -> Weights:
        """Return a copy of the weights."""
        return {name: variable.numpy() for name, variable in self._named.items()}

    def steps(self, rows: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
        """Learn from the rows ``[S, B]`` of S steps; return the mean loss of each."""
        given = []
        for name in self._names:
            values = self._data.train[name][rows]
            values = values[..., None] if values.ndim == 2 else values
            if name in self._ids:
                unknown = (rng.random(values.shape, dtype=np.float32) < self._learner.config.id_dropout) & (values != PADDING_ID)
                values = np.where(unknown, OOV_ID, values).astype(np.int32)
            given.append(values)
        seeds = rng.integers(0, 1 << 30, (len(rows), 2)).astype(np.int32)
        losses: npt.NDArray[Any] = self._run(seeds, self._label[rows], *given).numpy()
        return losses

    def _learn(self, seed: Any, label: Any, *given: Any) -> Any:
        from cartwheel.merlin_compat import tf

        with tf.GradientTape() as tape:
            inputs = dict(zip(self._names, given, strict=True))
            found = self._learner.forward(TensorFlowOps(self._named, seed), self._shape, inputs)[:, 0]
            loss = tf.reduce_mean(self._loss(tf, label, found))
            if self._learner.config.embedding_l2 and self._ids:
                tables = [self._named[f"table_{name}"] for name in self._ids]
                loss += self._learner.config.embedding_l2 * tf.add_n([tf.reduce_sum(tf.square(each)) for each in tables])
        gradients = tape.gradient(loss, self.variables)
        self.optimizer.apply_gradients(zip(gradients, self.variables, strict=True))
        return loss

    def _loss(self, tf: Any, label: Any, found: Any) -> Any:
        if self._most is None:
            return tf.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=found)
        found = tf.minimum(found, math.log(self._most))
        return tf.exp(found) - label * found

    def validate(self) -> dict[str, float]:
        """Return the validation ``loss_valid``, and ``score`` (its negative)."""
        if not len(self._data.valid):
            return {}
        model = Network(self._shape, self._learner.forward, self.weights(), self._most)
        loss = float(row_loss(self._data.valid_label, model.scores(self._data.valid), self._data.answer).mean())
        return {"valid_loss": loss, "score": -loss}
