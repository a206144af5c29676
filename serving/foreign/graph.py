"""One ONNX graph of a compiled workflow and a model: encoded columns are handed over as the model wants them.

A model of TensorFlow reads a column as [B], [B, 1], a list filled up to [B, L], or, as Merlin's loader gives lists, as the values of all
rows in turn [N] and where each row begins [B + 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import onnx
from onnx import TensorProto, compose, helper

from cartwheel.core.errors import RunError
from workflows.compiler.onnx_graph import ENCODED_SUFFIX, GraphBuilder

_ELEMENTS: Final[Mapping[str, int]] = {
    "string": TensorProto.STRING,
    "bool": TensorProto.BOOL,
    **{f"{sign}int{bits}": getattr(TensorProto, f"{sign.upper()}INT{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
}
_LENGTHS: Final = ENCODED_SUFFIX + "__lengths"
_BRIDGE: Final = "handed/"
_MODEL: Final = "model/"


@dataclass(frozen=True)
class Handed:
    """How a column is handed to a model.

    Attributes:
        column: the encoded column.
        dtype: element type that the model wants.
        form: ``vector`` [B], ``column`` [B, 1], ``padded`` [B, L], or ``ragged`` values and offsets.
        tensors: the model's inputs: one, or those of values and offsets.
        rank: of the values, 2 for [N, 1].
        offsets: element type of the offsets.
        encoded: element type of the encoded column.
    """

    column: str
    dtype: str
    form: Literal["vector", "column", "padded", "ragged"]
    tensors: tuple[str, ...]
    rank: int = 1
    offsets: str = "int64"
    encoded: str = "int64"


def joined(
    features: onnx.ModelProto, model: onnx.ModelProto, handed: Sequence[Handed], ranks: Mapping[str, int]
) -> onnx.ModelProto:
    """Return features and model as one graph.

    Args:
        features: a compiled workflow, with the outputs ``<column>__encoded`` and, for lists, ``<column>__encoded__lengths``.
        model: the model, of the same opset.
        handed: how each input of the model is made.
        ranks: outputs of the model that are wanted -> their ranks; all come out as [B, n].

    Raises:
        RunError: if both do not fit into one graph.
    """
    bridge = _bridge(features, handed)
    there = {value.name for value in model.graph.input}
    pairs = [(f"{_BRIDGE}{name}", f"{_MODEL}{name}") for each in handed for name in each.tensors if name in there]
    whole = _aligned(model, bridge)
    prefixed = compose.add_prefix(whole, _MODEL)
    try:
        merged = compose.merge_models(bridge, prefixed, io_map=pairs, outputs=[f"{_MODEL}{name}" for name in ranks])
    except (ValueError, onnx.checker.ValidationError) as error:
        raise RunError(f"The workflow and the model cannot be joined into one graph: {error}.", "Report this.") from error
    for name, rank in ranks.items():
        _give(merged, f"{_MODEL}{name}", name, rank)
    helper.set_model_props(merged, {})
    return merged


def _bridge(features: onnx.ModelProto, handed: Sequence[Handed]) -> onnx.ModelProto:
    builder = GraphBuilder("request")
    kinds = {number: name for name, number in _ELEMENTS.items()}
    defaults = {tensor.name: tensor for tensor in features.graph.initializer}
    for value in features.graph.input:
        dims = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in value.type.tensor_type.shape.dim]
        default = onnx.numpy_helper.to_array(defaults[value.name]) if value.name in defaults else None
        builder.input(value.name, kinds[value.type.tensor_type.elem_type], dims, default)
    made = builder.inline(features, {value.name: value.name for value in features.graph.input})
    for each in handed:
        encoded, lengths = made[each.column + ENCODED_SUFFIX], made.get(each.column + _LENGTHS)
        for name, (tensor, dtype, shape) in zip(each.tensors, _tensors(builder, each, encoded, lengths), strict=True):
            builder.output(tensor, _BRIDGE + name, dtype, shape)
    return builder.model()


def _tensors(builder: GraphBuilder, each: Handed, encoded: str, lengths: str | None) -> list[tuple[str, str, list[int | str]]]:
    """Return the tensors of one column, each with its type and shape."""
    value = encoded if each.dtype == each.encoded else builder.add("Cast", encoded, to=_ELEMENTS[each.dtype])
    slots = f"slots of {each.column}"
    if each.form == "column":
        return [(value, each.dtype, ["B", 1])]
    if each.form == "padded":
        return [(value, each.dtype, ["B", slots])]
    flat = builder.constant([-1], np.int64)
    if each.form == "vector":
        return [(builder.add("Reshape", value, flat), each.dtype, ["B"])]
    rows, width = (builder.add("Shape", value, start=axis, end=axis + 1) for axis in (0, 1))
    column = builder.add("Concat", rows, builder.constant([1], np.int64), axis=0)
    counts = builder.add("Expand", lengths or width, column)
    places = builder.add("Range", builder.constant(0, np.int64), builder.add("Squeeze", width), builder.constant(1, np.int64))
    inside = builder.add("Reshape", builder.add("Less", places, counts), flat)
    values = builder.add("Compress", builder.add("Reshape", value, flat), inside, axis=0)
    if each.rank == 2:
        values = builder.add("Unsqueeze", values, builder.constant([1], np.int64))
    ends = builder.add("CumSum", builder.add("Reshape", counts, flat), builder.constant(0, np.int64))
    offsets = builder.add("Concat", builder.constant([0], np.int64), ends, axis=0)
    if each.offsets != "int64":
        offsets = builder.add("Cast", offsets, to=_ELEMENTS[each.offsets])
    number = f"values of {each.column}"
    return [
        (values, each.dtype, [number] if each.rank == 1 else [number, 1]),
        (offsets, each.offsets, [f"offsets of {each.column}"]),
    ]


def _aligned(model: onnx.ModelProto, like: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model under the versions of another: both are of one opset, and older operators of other domains are in newer ones."""
    aligned = onnx.ModelProto()
    aligned.CopyFrom(model)
    aligned.ir_version = like.ir_version
    own = {entry.domain: entry for entry in aligned.opset_import}
    for entry in like.opset_import:
        if entry.domain in own:
            own[entry.domain].version = entry.version
    return aligned


def _give(model: onnx.ModelProto, inner: str, name: str, rank: int) -> None:
    """Let an output leave under its own name as [B, n]."""
    output = next(value for value in model.graph.output if value.name == inner)
    if rank == 1:
        axis = helper.make_tensor(f"{name} axis", TensorProto.INT64, [1], [1])
        model.graph.initializer.append(axis)
        model.graph.node.append(helper.make_node("Unsqueeze", [inner, axis.name], [name]))
    else:
        model.graph.node.append(helper.make_node("Identity", [inner], [name]))
    sizes: list[Any] = ["B", 1] if rank == 1 else ["B", _last(output) or f"n of {name}"]
    output.CopyFrom(helper.make_tensor_value_info(name, output.type.tensor_type.elem_type, sizes))


def _last(value: Any) -> int:
    dims = value.type.tensor_type.shape.dim
    return int(dims[1].dim_value) if len(dims) == 2 and dims[1].HasField("dim_value") else 0
