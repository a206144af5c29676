"""The health probe request of an ensemble, stored in its configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from serving.contract.tensors import NUMPY_TYPES, REQUEST_TYPES, Tensor

PARAMETER: Final = "question"
_LINE: Final = re.compile(rf'^parameters \{{ key: "{PARAMETER}" value: \{{ string_value: (?P<value>".*") \}} \}}$', re.MULTILINE)
_NUMBERS: Final[Mapping[str, Any]] = {name: NUMPY_TYPES[element] for element, name in REQUEST_TYPES.items()}


@dataclass(frozen=True)
class Given:
    """One input of a question.

    Attributes:
        datatype: in Triton's words.
        shape: of one request.
        content: the values as they go over the wire.
    """

    datatype: str
    shape: Sequence[int]
    content: bytes


def question_parameter(tensors: Sequence[Tensor], question: Mapping[str, Sequence[Any]]) -> str:
    """Return the value of the parameter: input -> type, shape and values, of one row.

    Args:
        tensors: inputs of the ensemble.
        question: input -> its values.
    """
    by_name = {tensor.name: tensor for tensor in tensors}
    asked = {}
    for name, values in question.items():
        tensor = by_name[name]
        shape = [1, len(values)] if tensor.batched else [len(values)]
        asked[name] = {"datatype": REQUEST_TYPES[tensor.dtype], "shape": shape, "values": list(values)}
    return json.dumps(asked, sort_keys=True)


def written_question(config: Path) -> dict[str, Given]:
    """Return the question that a ``config.pbtxt`` holds; empty where it holds none, as those of steps do."""
    found = _LINE.search(config.read_text(encoding="utf-8"))
    if found is None:
        return {}
    asked: dict[str, dict[str, Any]] = json.loads(json.loads(found["value"]))
    return {
        name: Given(given["datatype"], given["shape"], _content(given["datatype"], given["values"]))
        for name, given in asked.items()
    }


def _content(datatype: str, values: Sequence[Any]) -> bytes:
    if datatype == "BYTES":
        texts = [text.encode() for text in values]
        return b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    return np.array(values, _NUMBERS[datatype]).tobytes()
