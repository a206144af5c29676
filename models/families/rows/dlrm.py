"""DLRM on any columns: embeddings, their dot products in pairs, and a linear part of the numbers beside them.

Naumov et al., "Deep learning recommendation model for personalization and recommendation systems", 2019,
https://arxiv.org/abs/1906.00091. The recommender's own DLRM (``models.families.dlrm``) is Merlin's, on the columns of a recommender.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from cartwheel.core.settings import Settings
from models.families.family import ALL_KINDS, BOTH_ANSWERS, Tags
from models.families.rows.network import Draw, NetworkLearner, NetworkSettings, Shape, Weights, embedding, layers, numbers
from models.families.rows.ops import Ops
from models.training.settings import Widths


class RowDLRMSettings(NetworkSettings):
    """Settings of the DLRM for rows."""

    embedding_dimension: Annotated[int, Field(gt=1)] = 8
    """Length of every embedding and of the bottom layers' output."""
    bottom: Widths = (32,)
    """Hidden widths of the layers over numbers."""
    top: Annotated[Widths, Field(min_length=1)] = (64, 32)
    """Widths of the layers over the interactions."""


class RowDLRMLearner(NetworkLearner[RowDLRMSettings]):
    """Trains a DLRM."""

    name: ClassVar[str] = "dlrm"
    title: ClassVar[str] = "DLRM"
    complexity: ClassVar[int] = 5
    tags: ClassVar[Tags] = Tags(BOTH_ANSWERS, "rows", ALL_KINDS, random=True)
    settings: ClassVar[type[Settings]] = RowDLRMSettings

    def initial(self, shape: Shape, draw: Draw) -> Weights:
        """Return embeddings, bottom and top layers, the head and the linear part, which starts at 0."""
        width = self.config.embedding_dimension
        weights = {f"table_{each.name}": draw.embedding(shape.sizes[each.name], width) for each in shape.embedded}
        vectors = len(shape.embedded) + bool(shape.numbers)
        if shape.numbers:
            weights |= draw.layers("bottom", shape.width, (*self.config.bottom, width))
            weights["linear"] = np.zeros((shape.width, 1), np.float32)
        weights |= draw.layers("top", vectors * width + vectors * (vectors - 1) // 2, self.config.top)
        return {**weights, "head": draw.dense(self.config.top[-1], 1)}

    @staticmethod
    def forward(ops: Ops, shape: Shape, inputs: Mapping[str, Any]) -> Any:
        """Return the linear predictor ``[B, 1]``."""
        settings = shape.settings
        vectors = [embedding(ops, column, inputs) for column in shape.embedded]
        if shape.numbers:
            given = numbers(ops, shape, inputs)
            vectors.append(layers(ops, "bottom", given, (*settings.bottom, settings.embedding_dimension), 0.0))
        parts = list(vectors)
        if len(vectors) > 1:
            parts.append(_products(ops, vectors))
        found = ops.matmul(layers(ops, "top", ops.concat(parts), settings.top, settings.dropout), ops.weight("head"))
        if shape.numbers:
            found = ops.add(found, ops.matmul(given, ops.weight("linear")))
        return ops.add(found, ops.weight("bias"))


def _products(ops: Ops, vectors: list[Any]) -> Any:
    """Return the dot products of all pairs, ``[B, F (F - 1) / 2]``: the upper triangle of all of them, picked by a product."""
    number = len(vectors)
    stacked = ops.stack(vectors)
    every = ops.reshape(ops.matmul(stacked, ops.transposed(stacked)), -1, number * number)
    first, second = np.triu_indices(number, 1)
    pick = np.zeros((number * number, len(first)), np.float32)
    pick[first * number + second, np.arange(len(first))] = 1.0
    return ops.matmul(every, ops.number(pick))
