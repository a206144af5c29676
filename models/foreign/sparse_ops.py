"""TensorFlow's ragged and sparse tensors in ONNX, where tf2onnx stops short of what Merlin's models do with lists and wide columns.

Merlin holds the values of a list as [N, 1], a ragged tensor with a dense last dimension of one, and turns it to a sparse one before it
looks its embeddings up. tf2onnx knows ragged tensors without dense dimensions alone, and divides by the length of the longest list.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from onnx import TensorProto

_END: Final = np.iinfo(np.int64).max


def ragged_to_sparse(ctx: Any, node: Any, _name: str, _arguments: Any) -> None:
    """Convert ``RaggedTensorToSparse`` of one level of lists whose values are single: a handler of tf2onnx.

    Raises:
        ValueError: if lists hold lists, or their values are vectors.
    """
    if len(node.input) != 2:
        raise ValueError("lists of lists have no ONNX form here")
    splits, values = node.input
    dense = (ctx.get_shape(values) or [-1])[1:]
    if any(size != 1 for size in dense):
        raise ValueError(f"lists of vectors {list(dense)} have no ONNX form here")
    build = _Nodes(ctx)
    splits = build("Cast", splits, to=TensorProto.INT64)
    ends = build("Slice", splits, build.constant([1]), build.constant([_END]), build.constant([0]))
    starts = build("Slice", splits, build.constant([0]), build.constant([-1]), build.constant([0]))
    lengths = build("Sub", ends, starts)
    # Never 0, by which what reshapes the sparse tensor would divide.
    widest = build("ReduceMax", build("Concat", lengths, build.constant([1]), axis=0), keepdims=0)
    slots = build("Unsqueeze", build("Range", build.constant(0), widest, build.constant(1)), build.constant([0]))
    inside = build("Less", slots, build("Unsqueeze", lengths, build.constant([1])))
    indices = build("Transpose", build("NonZero", inside), perm=[1, 0])
    shape = build("Concat", build("Shape", lengths), build("Unsqueeze", widest, build.constant([0])), axis=0)
    for _ in dense:
        rows = build("Slice", indices, build.constant([0]), build.constant([1]), build.constant([1]))
        indices = build("Concat", indices, build("Mul", rows, build.constant([0])), axis=1)
        shape = build("Concat", shape, build.constant([1]), axis=0)
    flat = build("Reshape", values, build.constant([-1])) if dense else values
    for output, found in zip(node.output, (indices, flat, shape), strict=True):
        ctx.replace_all_inputs(output, found)
    ctx.remove_node(node.name)


def count_to_sparse(ctx: Any, node: Any, _name: str, _arguments: Any) -> None:
    """Convert ``DenseCountSparseOutput`` without weights, which counts the ids of each row: a handler of tf2onnx.

    Raises:
        ValueError: if values are weighted, or how many ids there are is not known.
    """
    values, weights = node.input
    depth = node.get_attr_value("maxlength")
    if ctx.get_shape(weights) not in ([], [0]) or not depth or depth < 0:
        raise ValueError("weighted counts, and counts of any number of ids, have no ONNX form here")
    build = _Nodes(ctx)
    dtype = ctx.get_dtype(node.output[1])
    ids = build("Cast", values, to=TensorProto.INT64)
    hot = build("OneHot", ids, build.constant(depth), build("Cast", build.constant([0, 1]), to=TensorProto.FLOAT))
    counts = build("ReduceSum", hot, build.constant([1]), keepdims=0)
    if node.get_attr_value("binary_output"):
        counts = build("Cast", build("Cast", counts, to=TensorProto.BOOL), to=TensorProto.FLOAT)
    indices = build("Transpose", build("NonZero", counts), perm=[1, 0])
    found = build("Cast", build("GatherND", counts, indices), to=dtype)
    for output, made in zip(node.output, (indices, found, build("Shape", counts)), strict=True):
        ctx.replace_all_inputs(output, made)
    ctx.remove_node(node.name)


def sparse_concat(ctx: Any, node: Any, _name: str, _arguments: Any) -> None:
    """Convert ``SparseConcat`` of matrices side by side: a handler of tf2onnx. Their values come one matrix after the other.

    Raises:
        ValueError: if they are put together along another axis.
    """
    axis, rank = node.get_attr_value("concat_dim"), ctx.get_shape(node.input[0])[1]
    if axis not in (1, -1) or rank != 2:
        raise ValueError(f"sparse tensors of rank {rank} put together along axis {axis} have no ONNX form here")
    build = _Nodes(ctx)
    count = len(node.input) // 3
    indices, values, shapes = node.input[:count], node.input[count : 2 * count], node.input[2 * count :]
    begin, moved = build.constant([0]), []
    for each, shape in zip(indices, shapes, strict=True):
        moved.append(build("Add", each, build("Concat", build.constant([0]), begin, axis=0)))
        begin = build("Add", begin, build("Gather", shape, build.constant([1])))
    whole = build("Concat", build("Gather", shapes[0], build.constant([0])), begin, axis=0)
    made = build("Concat", *moved, axis=0), build("Concat", *values, axis=0), whole
    for output, found in zip(node.output, made, strict=True):
        ctx.replace_all_inputs(output, found)
    ctx.remove_node(node.name)


def sparse_product(ctx: Any, node: Any, _name: str, _arguments: Any) -> None:
    """Convert ``SparseTensorDenseMatMul``: a handler of tf2onnx.

    Raises:
        ValueError: if a side is transposed.
    """
    if node.get_attr_value("adjoint_a") or node.get_attr_value("adjoint_b"):
        raise ValueError("a transposed side has no ONNX form here")
    build = _Nodes(ctx)
    indices, values, shape, dense = node.input
    zeros = build("Expand", build("Cast", build.constant([0]), to=ctx.get_dtype(values)), shape)
    product = build("MatMul", build("ScatterND", zeros, indices, values), dense)
    ctx.replace_all_inputs(node.output[0], product)
    ctx.remove_node(node.name)


class _Nodes:
    """Adds nodes with one output to a graph of tf2onnx."""

    def __init__(self, ctx: Any) -> None:
        self._ctx = ctx

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name: str = self._ctx.make_node(operator, list(inputs), attr=attributes).output[0]
        return name

    def constant(self, value: Any) -> str:
        from tf2onnx import utils

        name: str = self._ctx.make_const(utils.make_name("constant"), np.array(value, np.int64)).output[0]
        return name


HANDLERS: Final[dict[str, Any]] = {
    "DenseCountSparseOutput": (count_to_sparse, []),
    "RaggedTensorToSparse": (ragged_to_sparse, []),
    "SparseConcat": (sparse_concat, []),
    "SparseTensorDenseMatMul": (sparse_product, []),
}
"""TensorFlow operation -> its handler, as ``tf2onnx.convert.from_function`` takes them."""
