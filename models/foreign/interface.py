"""What a model that was trained elsewhere reads and gives, whatever trained it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import onnx

Array = npt.NDArray[Any]
Form = Literal["vector", "column", "padded", "ragged"]
VALUES: Final = "__values"
OFFSETS: Final = "__offsets"


@dataclass(frozen=True)
class ModelInput:
    """One column that a model reads.

    Attributes:
        name: of the column.
        dtype: one of the plan's element types (``workflows.compiler.plan.types``).
        form: how rows come: ``vector`` is [B], ``column`` is [B, 1], ``padded`` a list [B, L], and ``ragged`` the two tensors
            ``<name>__values`` [N] and ``<name>__offsets`` [B + 1], as Merlin's loader gives lists.
        width: L where it is fixed, else 0.
        rank: of ``__values``, 2 where they are [N, 1].
        offsets: element type of ``__offsets``.
        embedding: rows of the table in which its values are looked up; 0 where that is not known.
    """

    name: str
    dtype: str
    form: Form
    width: int = 0
    rank: int = 1
    offsets: str = "int64"
    embedding: int = 0

    @property
    def is_list(self) -> bool:
        """Whether a row has several values."""
        return self.form in ("padded", "ragged")

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of its tensors in the graph."""
        return (self.name + VALUES, self.name + OFFSETS) if self.form == "ragged" else (self.name,)

    def __str__(self) -> str:
        """Return, for example, ``list[int64]``."""
        return f"list[{self.dtype}]" if self.is_list else self.dtype

    def feeds(self, rows: list[Any], *, blank: Any = 0) -> dict[str, Array]:
        """Return the tensors for encoded rows: numbers or texts, or lists of them."""
        kind: Any = object if self.dtype == "string" else self.dtype
        if self.form == "ragged":
            lengths = [len(row) for row in rows]
            values = np.array([value for row in rows for value in row], dtype=kind)
            offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(self.offsets)
            return {self.name + VALUES: values.reshape(-1, 1) if self.rank == 2 else values, self.name + OFFSETS: offsets}
        if self.form == "padded":
            width = self.width or max(1, *(len(row) for row in rows))
            matrix = np.full((len(rows), width), blank if kind is not object else "", dtype=kind)
            for place, row in enumerate(rows):
                matrix[place, : len(row)] = row
            return {self.name: matrix}
        column = np.array(rows, dtype=kind)
        return {self.name: column.reshape(-1, 1) if self.form == "column" else column}


@dataclass(frozen=True)
class ModelOutput:
    """One answer of a model.

    Attributes:
        name: of the answer.
        dtype: one of the plan's element types.
        width: values a row; 0 where that varies.
        rank: of its tensor: 1 is [B], 2 is [B, width].
    """

    name: str
    dtype: str
    width: int
    rank: int = 2


@dataclass(frozen=True)
class ForeignModel:
    """A model and what it was.

    Attributes:
        path: where it was saved.
        kind: what wrote it, for people.
        inputs: what it reads, by column.
        outputs: what it gives; the graph's outputs have these names.
        graph: it as ONNX.
        answer: tensors by name -> outputs by name, as the library that trained it computes them.
    """

    path: str
    kind: str
    inputs: tuple[ModelInput, ...]
    outputs: tuple[ModelOutput, ...]
    graph: onnx.ModelProto = field(repr=False)
    answer: Callable[[Mapping[str, Array]], dict[str, Array]] = field(repr=False)
