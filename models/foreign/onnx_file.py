"""Reads an ONNX model, whatever wrote it: PyTorch, Transformers4Rec, scikit-learn, XGBoost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from cartwheel.core.errors import RunError
from models.foreign.embeddings import with_embeddings
from models.foreign.interface import Array, ForeignModel
from models.foreign.tensorflow_graph import read_inputs, read_output
from workflows.compiler.onnx_graph import IR_VERSION, OPSET

_NEWEST: Final = 10
"""The newest IR version that is taken as it is; what is served has that of the rest."""


def read_onnx_model(path: Path) -> ForeignModel:
    """Read an ONNX file.

    Raises:
        RunError: if it is no ONNX model, cannot be brought to opset 17, or has an operator that ONNX Runtime does not know.
    """
    import onnx
    from onnx import version_converter

    from cartwheel.core.onnx_model import open_session

    try:
        graph = onnx.load(path)
        opset = max((each.version for each in graph.opset_import if each.domain in ("", "ai.onnx")), default=0)
        if opset != OPSET:
            graph = version_converter.convert_version(graph, OPSET)
    except Exception as error:  # protobuf's and the converter's share no public base
        raise RunError(
            f"{path} is not an ONNX model of or convertible to opset {OPSET} ({next(iter(str(error).splitlines()), '')[:200]}).",
            f"Export it with opset {OPSET}.",
        ) from error
    graph.ir_version = min(graph.ir_version, IR_VERSION) if graph.ir_version <= _NEWEST else IR_VERSION
    session = open_session(graph.SerializeToString(), threads=1)
    inputs = read_inputs({value.name: (_type(value), _sizes(value)) for value in session.get_inputs()}, path)
    outputs = tuple(read_output(value.name, _type(value), _sizes(value), path) for value in session.get_outputs())

    def answer(feeds: Mapping[str, Array]) -> dict[str, Array]:
        names = [output.name for output in outputs]
        return {name: np.asarray(value) for name, value in zip(names, session.run(names, dict(feeds)), strict=True)}

    return ForeignModel(str(path), "ONNX", with_embeddings(inputs, graph), outputs, graph, answer)


def _type(value: Any) -> str:
    name: str = value.type.removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)


def _sizes(value: Any) -> list[int]:
    return [size if isinstance(size, int) else -1 for size in value.shape]
