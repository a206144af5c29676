"""A TensorFlow function with named inputs and outputs as a :class:`models.foreign.interface.ForeignModel`."""

from __future__ import annotations

import contextlib
import io
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from cartwheel.core.errors import NotCompilableError, RunError
from models.foreign.embeddings import with_embeddings
from models.foreign.interface import OFFSETS, VALUES, Array, ForeignModel, Form, ModelInput, ModelOutput
from models.foreign.sparse_ops import HANDLERS
from workflows.compiler.onnx_graph import IR_VERSION, OPSET
from workflows.compiler.plan.types import DTYPES

_LAYER_PREFIX: Final = re.compile(r"^(?:StatefulPartitionedCall(?:_\d+)?|PartitionedCall(?:_\d+)?|Identity)/")
_NAME: Final = re.compile(r"^Name=(?P<name>.+)$|Failed to convert node '(?P<failed>[^']+)'", re.MULTILINE)
_UNSUPPORTED: Final = re.compile(r"Tensorflow op \[(?P<name>[^:\]]+): (?P<kind>\w+)\] is not supported")
_INSTEAD: Final = "Replace that layer by one of plain TensorFlow operations, or give the model as ONNX."


def from_function(
    function: Callable[[Mapping[str, Any]], Mapping[str, Any]], specs: Mapping[str, Any], path: Path, kind: str
) -> ForeignModel:
    """Convert a function.

    Args:
        function: tensors by name -> answers by name.
        specs: input -> its ``tf.TensorSpec``.
        path: where it was saved, for messages.
        kind: what it is, for people.

    Raises:
        NotCompilableError: if an operation has no ONNX form; names the layer that it belongs to.
        RunError: if it reads or gives what no request can hold.
    """
    from cartwheel.merlin_compat import tf

    inputs = read_inputs({name: (spec.dtype.name, _sizes(spec.shape)) for name, spec in specs.items()}, path)
    names = [tensor for each in inputs for tensor in each.tensors]
    answers: list[str] = []

    def positional(*values: Any) -> list[Any]:
        found = function(dict(zip(names, values, strict=True)))
        answers[:] = list(found)
        return [tf.identity(found[name]) for name in answers]

    signature = [tf.TensorSpec(specs[name].shape, specs[name].dtype, name=f"in_{place}") for place, name in enumerate(names)]
    traced = tf.function(positional, autograph=False)
    concrete = traced.get_concrete_function(*signature)
    outputs = tuple(
        read_output(name, spec.dtype.name, _sizes(spec.shape), path)
        for name, spec in zip(answers, concrete.structured_outputs, strict=True)
    )
    graph = _converted(traced, signature, path)
    rename_ends(graph, [*names], [output.name for output in outputs])

    def answer(feeds: Mapping[str, Array]) -> dict[str, Array]:
        tensors = {
            name: tf.constant(feeds[name].tolist() if feeds[name].dtype == object else feeds[name], specs[name].dtype)
            for name in names
        }
        return {name: np.asarray(value) for name, value in function(tensors).items()}

    return ForeignModel(str(path), kind, with_embeddings(inputs, graph), outputs, graph, answer)


def read_inputs(tensors: Mapping[str, tuple[str, Sequence[int]]], path: Path) -> tuple[ModelInput, ...]:
    """Return the columns that a model reads, of its tensors: name -> element type and sizes, -1 where one varies.

    Raises:
        RunError: if one is of a type or a shape that no column has.
    """
    found = []
    for name, (dtype, sizes) in tensors.items():
        column = name.removesuffix(VALUES)
        if name.endswith(OFFSETS) and name.removesuffix(OFFSETS) + VALUES in tensors:
            continue
        element = "string" if dtype == "object" else dtype
        if element not in DTYPES:
            raise RunError(f"{path}: its input {name!r} is of type {dtype}.", f"Columns are of {', '.join(DTYPES)}.")
        if name.endswith(VALUES) and column + OFFSETS in tensors:
            offsets = tensors[column + OFFSETS][0]
            found.append(ModelInput(column, element, "ragged", rank=len(sizes), offsets=offsets))
            continue
        if len(sizes) not in (1, 2):
            raise RunError(
                f"{path}: its input {name!r} has the shape {list(sizes)}.", "A column is [B], [B, 1] or a list [B, L]."
            )
        form: Form = "vector" if len(sizes) == 1 else "column" if sizes[1] == 1 else "padded"
        width = max(0, sizes[1]) if form == "padded" else 0
        found.append(ModelInput(name, element, form, width))
    return tuple(found)


def read_output(name: str, dtype: str, sizes: Sequence[int] | None, path: Path) -> ModelOutput:
    """Return an answer of a model.

    Raises:
        RunError: if it does not give one value or one list of values a row.
    """
    if sizes is None or len(sizes) not in (1, 2):
        shape = "unknown" if sizes is None else list(sizes)
        raise RunError(
            f"{path}: its output {name!r} has the shape {shape}, expected [B] or [B, n].",
            "Let the model give one answer a row, for a sequence that of its last position.",
        )
    element = "string" if dtype == "object" else dtype
    if element not in DTYPES:
        raise RunError(f"{path}: its output {name!r} is of type {dtype}.", f"Answers are of {', '.join(DTYPES)}.")
    return ModelOutput(name, element, max(0, sizes[1]) if len(sizes) == 2 else 1, len(sizes))


def rename_ends(graph: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Give the inputs ``in_<place>`` and the outputs, in their order, the names of the interface, by nodes that change nothing.

    Raises:
        NotCompilableError: if an input is read by nothing, which the exporter then leaves out.
    """
    from onnx import helper

    there = {value.name.split(":")[0]: value for value in graph.graph.input}
    for place, name in enumerate(inputs):
        value = there.get(f"in_{place}")
        if value is None:
            continue
        graph.graph.node.insert(0, helper.make_node("Identity", [name], [value.name]))
        value.name = name
    for value, name in zip(graph.graph.output, outputs, strict=True):
        if value.name != name:
            graph.graph.node.append(helper.make_node("Identity", [value.name], [name]))
            value.name = name


def _sizes(shape: Any) -> list[int]:
    return [-1 if size is None else int(size) for size in shape.as_list()] if shape.rank is not None else [-1] * 9


def _converted(traced: Any, signature: Sequence[Any], path: Path) -> Any:
    import tf2onnx

    logger = logging.getLogger("tf2onnx")
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
            graph, _ = tf2onnx.convert.from_function(
                traced, input_signature=list(signature), opset=OPSET, custom_op_handlers=dict(HANDLERS)
            )
    except Exception as error:
        raise _unsupported(heard.getvalue(), str(error), path) from error
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
    if found := _UNSUPPORTED.search(heard.getvalue()):
        raise _refused(found["name"], found["kind"], "has no ONNX form", path)
    graph.ir_version = IR_VERSION
    graph.producer_name = "cartwheel"
    return graph


def _unsupported(log: str, error: str, path: Path) -> NotCompilableError:
    """Return what tf2onnx could not convert, by the layer that its log names."""
    if found := _UNSUPPORTED.search(log):
        return _refused(found["name"], found["kind"], "has no ONNX form", path)
    named = _NAME.search(log)
    name = (named["name"] or named["failed"]) if named else ""
    why = error.strip().splitlines()[0] if error.strip() else "it cannot be converted"
    return _refused(name, "", f"cannot be converted ({why.removeprefix('make_sure failure: ')})", path)


def _refused(name: str, kind: str, why: str, path: Path) -> NotCompilableError:
    layer = layer_of(name)
    what = f"its operation {kind}" if kind else "an operation"
    where = f"{path}: the layer {layer!r}: {what}" if layer else f"{path}: {what}"
    return NotCompilableError(f"{where} {why}.", _INSTEAD)


def layer_of(operation: str) -> str:
    """Return the layer that an operation of a frozen graph belongs to: its name without the calls around it and without its own.

    >>> layer_of("StatefulPartitionedCall/model/my_layer/StringSplit")
    'model/my_layer'
    """
    name = operation
    while found := _LAYER_PREFIX.match(name):
        name = name[found.end() :]
    return name.rpartition("/")[0]
