"""The client interface of a foreign model: its raw input columns and its outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from serving.contract.tensors import Element

PARAMETER: Final = "model"
"""Parameter of the ensemble's configuration that holds the description as JSON."""
MISSING: Final = "__missing"
"""What follows the name of a column in that of the tensor that tells where it is null."""
LENGTHS: Final = "__lengths"
"""What follows the name of a list in that of the tensor that tells how many of its values are elements."""


@dataclass(frozen=True)
class RawColumn:
    """One raw column of a request.

    Attributes:
        name: of the column and its tensor.
        dtype: of the values, or of a list's elements.
        listed: whether a row has several values.
        nullable: whether a value may be missing, by a tensor ``<name>__missing``; in floats NaN is missing, and no such tensor is needed.
        ragged: whether lists of one request may differ in length, by a tensor ``<name>__lengths``.
    """

    name: str
    dtype: Element
    listed: bool = False
    nullable: bool = False
    ragged: bool = False

    @property
    def is_float(self) -> bool:
        """Whether NaN stands for what is missing."""
        return self.dtype in ("float32", "float64")

    def __str__(self) -> str:
        """Return, for example, ``list[int64]``."""
        return f"list[{self.dtype}]" if self.listed else self.dtype


@dataclass(frozen=True)
class Answered:
    """One tensor of an answer.

    Attributes:
        name: of the tensor.
        dtype: of its values.
        width: values a row; 0 where that varies.
        column: the raw column whose values it holds, where ids were turned back to them; else "".
    """

    name: str
    dtype: Element
    width: int = 1
    column: str = ""


@dataclass(frozen=True)
class ModelForm:
    """What a client must know of a model.

    Attributes:
        name: of the model and its ensemble.
        kind: what wrote it.
        columns: what must be given, None standing for what is missing where that may be.
        answers: what it gives.
    """

    name: str
    kind: str
    columns: tuple[RawColumn, ...]
    answers: tuple[Answered, ...]

    def parameter(self) -> str:
        """Return the value of the parameter ``model``."""
        return json.dumps(asdict(self), sort_keys=True)

    @staticmethod
    def parsed(text: str) -> ModelForm:
        """Read what :meth:`parameter` wrote.

        Raises:
            ValueError: if it is not that.
        """
        try:
            content: Mapping[str, Any] = json.loads(text)
            return ModelForm(
                content["name"],
                content["kind"],
                tuple(RawColumn(**column) for column in content["columns"]),
                tuple(Answered(**answer) for answer in content["answers"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"{PARAMETER} holds {text[:100]!r}") from error
