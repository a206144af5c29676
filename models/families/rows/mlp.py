"""A multilayer perceptron with dropout (Srivastava et al., JMLR 2014) over embeddings and numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from cartwheel.core.settings import Settings
from models.families.family import ALL_KINDS, BOTH_ANSWERS, Tags
from models.families.rows.network import Draw, NetworkLearner, NetworkSettings, Shape, Weights, embedding, layers, numbers
from models.families.rows.ops import Ops
from models.training.settings import Widths


class MLPSettings(NetworkSettings):
    """Settings of the multilayer perceptron."""

    hidden: Annotated[Widths, Field(min_length=1)] = (64, 32)
    """Widths of the hidden layers."""
    max_embedding: Annotated[int, Field(ge=1)] = 16
    """Maximum embedding dimension of an id column; the dimension is about the square root of the number of ids."""


class MLPLearner(NetworkLearner[MLPSettings]):
    """Trains a multilayer perceptron."""

    name: ClassVar[str] = "mlp"
    title: ClassVar[str] = "multilayer perceptron"
    complexity: ClassVar[int] = 4
    tags: ClassVar[Tags] = Tags(BOTH_ANSWERS, "rows", ALL_KINDS, random=True)
    settings: ClassVar[type[Settings]] = MLPSettings

    def initial(self, shape: Shape, draw: Draw) -> Weights:
        """Return embeddings, hidden layers and the head."""
        wide = {
            each.name: min(self.config.max_embedding, math.ceil(math.sqrt(shape.sizes[each.name]))) for each in shape.embedded
        }
        weights = {f"table_{name}": draw.embedding(shape.sizes[name], width) for name, width in wide.items()}
        weights |= draw.layers("hidden", shape.width + sum(wide.values()), self.config.hidden)
        return {**weights, "head": draw.dense(self.config.hidden[-1], 1)}

    @staticmethod
    def forward(ops: Ops, shape: Shape, inputs: Mapping[str, Any]) -> Any:
        """Return the linear predictor ``[B, 1]``."""
        parts = [embedding(ops, column, inputs) for column in shape.embedded]
        if shape.numbers:
            parts.append(numbers(ops, shape, inputs))
        hidden = layers(ops, "hidden", ops.concat(parts), shape.settings.hidden, shape.settings.dropout)
        return ops.add(ops.matmul(hidden, ops.weight("head")), ops.weight("bias"))
