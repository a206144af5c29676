"""Networks over ordered lists, such as the last items of a session: a GRU, an LSTM, a convolution or self-attention.

Each column of kind ``id_list`` is read by an encoder of its own; what it gives joins the embeddings and numbers of the other columns
before the hidden layers. Cho et al., EMNLP 2014, https://arxiv.org/abs/1406.1078 (GRU); Hochreiter and Schmidhuber, 1997 (LSTM); Kim,
EMNLP 2014, https://arxiv.org/abs/1408.5882 (convolution); Vaswani et al., NIPS 2017, https://arxiv.org/abs/1706.03762 (attention).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from cartwheel.core.settings import Settings
from models.families.family import ALL_KINDS, BOTH_ANSWERS, Tags
from models.families.rows.network import Draw, NetworkLearner, NetworkSettings, Shape, Weights, embedding, layers, numbers
from models.families.rows.ops import Ops
from models.training.settings import Widths
from workflows.features.column import Column, Kind

_FAR: Final = 1e9
"""What padding is set back by, so that attention and the maximum pass it over."""


class SequenceSettings(NetworkSettings):
    """Settings of networks over lists."""

    encoder: Literal["gru", "lstm", "cnn", "attention"] = "gru"
    """Encoder of a list."""
    embedding_dimension: Annotated[int, Field(gt=1)] = 16
    """Length of every embedding."""
    units: Annotated[int, Field(gt=1)] = 32
    """Length of the encoder output."""
    hidden: Annotated[Widths, Field(min_length=1)] = (32,)
    """Widths of the hidden layers over the encodings of all columns."""


class SequenceLearner(NetworkLearner[SequenceSettings]):
    """Trains a network over lists."""

    name: ClassVar[str] = "sequence"
    title: ClassVar[str] = "sequence network"
    complexity: ClassVar[int] = 6
    tags: ClassVar[Tags] = Tags(BOTH_ANSWERS, "rows", ALL_KINDS, random=True)
    settings: ClassVar[type[Settings]] = SequenceSettings

    def unsuitable(self, columns: Sequence[Column]) -> str:
        """Return why columns are not enough: there must be a list in order."""
        return (
            "" if any(column.kind is Kind.ID_LIST for column in columns) else "needs a column of kind id_list, and there is none"
        )

    def initial(self, shape: Shape, draw: Draw) -> Weights:
        """Return embeddings, encoders, hidden layers and the head."""
        width, units = self.config.embedding_dimension, self.config.units
        weights = {f"table_{each.name}": draw.embedding(shape.sizes[each.name], width) for each in shape.embedded}
        entering = shape.width
        for column in shape.embedded:
            if column.kind is Kind.ID_LIST:
                weights |= {f"{column.name}/{name}": value for name, value in _encoder(self.config, column, draw).items()}
            entering += units if column.kind is Kind.ID_LIST else width
        weights |= draw.layers("hidden", entering, self.config.hidden)
        return {**weights, "head": draw.dense(self.config.hidden[-1], 1)}

    @staticmethod
    def forward(ops: Ops, shape: Shape, inputs: Mapping[str, Any]) -> Any:
        """Return the linear predictor ``[B, 1]``."""
        settings = shape.settings
        parts = []
        for column in shape.embedded:
            if column.kind is Kind.ID_LIST:
                parts.append(_read(ops, column, settings, inputs[column.name]))
            else:
                parts.append(embedding(ops, column, inputs))
        if shape.numbers:
            parts.append(numbers(ops, shape, inputs))
        hidden = layers(ops, "hidden", ops.concat(parts), settings.hidden, settings.dropout)
        return ops.add(ops.matmul(hidden, ops.weight("head")), ops.weight("bias"))


def _encoder(settings: SequenceSettings, column: Column, draw: Draw) -> Weights:
    """Return the weights of the encoder of a column."""
    width, units = settings.embedding_dimension, settings.units
    if settings.encoder in ("gru", "lstm"):
        gates = ("update", "reset", "new") if settings.encoder == "gru" else ("forget", "enter", "leave", "new")
        made = {gate: draw.dense(width + units, units) for gate in gates}
        start = 1.0 if settings.encoder == "lstm" else 0.0
        return {**made, **{f"{gate}_bias": np.full(units, start if gate == "forget" else 0.0, np.float32) for gate in gates}}
    if settings.encoder == "cnn":
        return {"window": draw.dense(3 * width, units), "window_bias": np.zeros(units, np.float32)}
    made = {name: draw.dense(width, units) for name in ("query", "key", "value", "own")}
    return {**made, "places": draw.embedding(column.width, width)}


def _read(ops: Ops, column: Column, settings: SequenceSettings, ids: Any) -> Any:
    """Return what the encoder of a column gives, ``[B, units]``; 0 of an empty list but for biases."""

    def weight(name: str) -> Any:
        return ops.weight(f"{column.name}/{name}")

    embedded, real = ops.gather(ops.weight(f"table_{column.name}"), ids), ops.real(ids)
    reader = {"gru": _gru, "lstm": _lstm, "cnn": _convolution, "attention": _attention}[settings.encoder]
    found: Any = reader(ops, weight, embedded, real, (column.width, settings.units))
    return found


Weight = Callable[[str], Any]
Sizes = tuple[int, int]
"""(length of the list, units)."""


def _steps(ops: Ops, embedded: Any, real: Any, length: int) -> list[tuple[Any, Any]]:
    """Return of each place the embedding ``[B, D]`` and whether it is real ``[B, 1]``."""
    return [(ops.at(embedded, place), ops.reshape(ops.at(real, place), -1, 1)) for place in range(length)]


def _gate(ops: Ops, weight: Weight, name: str, value: Any) -> Any:
    return ops.add(ops.matmul(value, weight(name)), weight(f"{name}_bias"))


def _kept(ops: Ops, real: Any, new: Any, old: Any) -> Any:
    """Return ``new`` where the place is real, else ``old``."""
    return ops.add(old, ops.multiply(real, ops.add(new, ops.multiply(old, ops.number(-1.0)))))


def _zeros(ops: Ops, real: Any, units: int) -> Any:
    return ops.multiply(real, ops.number(np.zeros((1, units))))


def _gru(ops: Ops, weight: Weight, embedded: Any, real: Any, sizes: Sizes) -> Any:
    steps = _steps(ops, embedded, real, sizes[0])
    state = _zeros(ops, steps[0][1], sizes[1])
    for value, there in steps:
        both = ops.concat([value, state])
        update = ops.sigmoid(_gate(ops, weight, "update", both))
        reset = ops.sigmoid(_gate(ops, weight, "reset", both))
        new = ops.tanh(_gate(ops, weight, "new", ops.concat([value, ops.multiply(reset, state)])))
        state = _kept(ops, ops.multiply(there, update), new, state)
    return state


def _lstm(ops: Ops, weight: Weight, embedded: Any, real: Any, sizes: Sizes) -> Any:
    steps = _steps(ops, embedded, real, sizes[0])
    state = memory = _zeros(ops, steps[0][1], sizes[1])
    for value, there in steps:
        both = ops.concat([value, state])
        forget, enter, leave = (ops.sigmoid(_gate(ops, weight, name, both)) for name in ("forget", "enter", "leave"))
        new = ops.tanh(_gate(ops, weight, "new", both))
        fresh = ops.add(ops.multiply(forget, memory), ops.multiply(enter, new))
        memory = _kept(ops, there, fresh, memory)
        state = _kept(ops, there, ops.multiply(leave, ops.tanh(fresh)), state)
    return state


def _convolution(ops: Ops, weight: Weight, embedded: Any, real: Any, sizes: Sizes) -> Any:
    """Return the maximum over places of windows of three."""
    steps = [(ops.multiply(value, there), there) for value, there in _steps(ops, embedded, real, sizes[0])]
    edge = ops.multiply(steps[0][0], ops.number(0.0))
    padded = [edge, *(value for value, _ in steps), edge]
    found = None
    for place, (_, there) in enumerate(steps):
        window = ops.relu(_gate(ops, weight, "window", ops.concat(padded[place : place + 3])))
        window = ops.multiply(window, there)  # at least 0, so padding never is the maximum of a list with values
        found = window if found is None else ops.maximum(found, window)
    return found


def _attention(ops: Ops, weight: Weight, embedded: Any, real: Any, sizes: Sizes) -> Any:
    """Return the mean over real places of one head of self-attention with learnt places."""
    value = ops.add(embedded, weight("places"))
    query, key, held = (ops.matmul(value, weight(name)) for name in ("query", "key", "value"))
    similar = ops.multiply(ops.matmul(query, ops.transposed(key)), ops.number(1.0 / np.sqrt(sizes[1])))
    there = ops.stack([real])
    back = ops.multiply(ops.add(there, ops.number(-1.0)), ops.number(_FAR))
    seen = ops.relu(ops.add(ops.matmul(ops.softmax(ops.add(similar, back)), held), ops.matmul(value, weight("own"))))
    total = ops.total(ops.multiply(seen, ops.transposed(there)), 1)
    return ops.divide(total, ops.maximum(ops.reshape(ops.total(real, 1), -1, 1), ops.number(1.0)))
