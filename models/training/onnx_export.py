"""TensorFlow functions as ONNX files that answer alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from cartwheel.core.errors import ParityError
from cartwheel.core.files import atomic_path
from cartwheel.core.onnx_model import open_session
from models.training.tables import Array
from workflows.compiler.onnx_graph import IR_VERSION, OPSET

TOLERANCE: Final = 1e-5
"""Largest difference allowed between TensorFlow's and ONNX Runtime's answer, relative to 1 or to the answer where it is larger."""


def export(
    function: Callable[[dict[str, Any]], Any],
    integers: Sequence[str],
    lists: Sequence[str],
    floats: Sequence[str],
    output: str,
    target: Path,
    rows: Mapping[str, Array],
) -> float:
    """Write ``function`` as ONNX (opset 17, any batch size), unless its answers on ``rows`` differ from TensorFlow's.

    Args:
        function: maps encoded columns by name to one float32 tensor ``[B, D]``.
        integers: scalar id columns, inputs int64 ``[B, 1]``.
        lists: list columns, inputs int64 ``[B, L]``.
        floats: continuous columns, inputs float32 ``[B, 1]``.
        output: name of the output.
        target: the file to write.
        rows: real encoded rows, as the inputs are shaped, to compare on.

    Returns:
        The largest absolute difference found.

    Raises:
        ParityError: if the answers differ by more than ``TOLERANCE``, or the exporter left an input out.
    """
    import tf2onnx

    from cartwheel.merlin_compat import tf

    names = [*integers, *lists, *floats]
    signature = [
        tf.TensorSpec([None, None if name in lists else 1], tf.float32 if name in floats else tf.int64, name=name)
        for name in names
    ]

    def positional(*values: Any) -> Any:
        return tf.identity(function(dict(zip(names, values, strict=True))), name=output)

    model, _ = tf2onnx.convert.from_function(tf.function(positional, autograph=False), input_signature=signature, opset=OPSET)
    _name_ends(model, names, output)
    model.ir_version = IR_VERSION
    model.producer_name = "cartwheel"
    feeds = {name: np.ascontiguousarray(rows[name], dtype=np.float32 if name in floats else np.int64) for name in names}
    expected = function({name: tf.constant(value) for name, value in feeds.items()}).numpy()
    return write_checked(model, feeds, expected, target, "TensorFlow")


def write_checked(model: Any, feeds: Mapping[str, Array], expected: Array, target: Path, reference: str) -> float:
    """Write an ONNX model, unless its answers differ from what is expected.

    Args:
        model: ``onnx.ModelProto`` with one output.
        feeds: its inputs.
        expected: what it should answer, ``[B, D]``.
        target: the file to write.
        reference: what ``expected`` was computed by, for the message.

    Returns:
        The largest absolute difference found.

    Raises:
        ParityError: if the answers differ by more than ``TOLERANCE``.
    """
    content = model.SerializeToString()
    difference = _compare(content, feeds, expected, target, reference)
    with atomic_path(target) as aside:
        aside.write_bytes(content)
    return difference


def _name_ends(model: Any, names: Sequence[str], output: str) -> None:
    """Give inputs and the output their contract names, and the free sizes names of their own."""
    graph = model.graph
    old = {value.name: value.name.split(":")[0] for value in graph.input}
    missing = sorted(set(names) - set(old.values()))
    if missing:
        raise ParityError(
            f"The ONNX export of {output} has no input {missing[0]!r}; the model ignores that column.", "Report this."
        )
    old[graph.output[0].name] = output
    for node in graph.node:
        node.input[:] = [old.get(name, name) for name in node.input]
        node.output[:] = [old.get(name, name) for name in node.output]
    for value in [*graph.input, *graph.output]:
        value.name = old[value.name]
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if not size.HasField("dim_value"):
                size.dim_param = ("batch", "length")[axis]


def _compare(content: bytes, feeds: Mapping[str, Array], expected: Array, target: Path, reference: str) -> float:
    found = open_session(content).run(None, dict(feeds))[0]
    if found.shape != expected.shape:
        raise ParityError(f"{target} returns shape {found.shape}, where {reference} returns {expected.shape}.", "Report this.")
    difference = np.abs(found - expected)
    if not np.all(difference <= TOLERANCE * np.maximum(1.0, np.abs(expected))):
        row = int(np.argmax(difference.max(axis=1)))
        raise ParityError(
            f"{target} differs from {reference} by {difference.max():.2g} in row {row}, where at most {TOLERANCE:g} is allowed.",
            "Report this; the export is refused.",
        )
    return float(difference.max(initial=0.0))
