"""A small builder of ONNX graphs, so that the code that composes them reads like arithmetic.

ONNX operators: https://onnx.ai/onnx/operators/ . Opset and IR version are held at what every ONNX Runtime since 1.14 reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET: Final = 17
ML_OPSET: Final = 3
ENCODED_SUFFIX: Final = "__encoded"
"""Suffix of the outputs of the compiled feature graphs, whose inputs carry the raw names."""
IR_VERSION: Final = 8

Shape = Sequence[int | str]

_ELEMENT_TYPES: Final = {
    "bool": TensorProto.BOOL,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "string": TensorProto.STRING,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
}

_WITHOUT_WHERE: Final = ("bool", "int16", "uint16", "uint64")


class GraphBuilder:
    """Collects nodes, constants, inputs and outputs, and gives each value a name of its own.

    Args:
        name: name of the graph, shown by viewers.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._count = 0

    def _fresh(self, hint: str) -> str:
        self._count += 1
        return f"{hint}_{self._count}"

    def input(self, name: str, dtype: str, shape: Shape, default: npt.NDArray[Any] | None = None) -> str:
        """Declare a graph input; one with a ``default`` is optional (an overridable initializer).

        Args:
            name: name of the input.
            dtype: ``string``, ``bool``, ``float32``, ``float64``, or an integer of 8 to 64 bits, ``uint8`` and so on being unsigned.
            shape: sizes, or names of the sizes that vary.
            default: the value where the caller gives none.

        Returns:
            ``name``.
        """
        self._inputs.append(helper.make_tensor_value_info(name, _ELEMENT_TYPES[dtype], list(shape)))
        if default is not None:
            self._initializers.append(_tensor(default, name))
        return name

    def output(self, value: str, name: str, dtype: str, shape: Shape) -> None:
        """Declare that ``value`` leaves the graph under ``name``."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, _ELEMENT_TYPES[dtype], list(shape)))

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> str:
        """Return the name of a constant; equal constants are stored once.

        Args:
            value: numbers or strings.
            dtype: numpy type to store; strings ignore it.
        """
        array = np.asarray(value) if dtype is None else np.asarray(value, dtype=dtype)
        if array.dtype.kind == "U":  # NumPy's own strings lose a NUL at their end
            array = np.asarray(value, dtype=object)
        content = array.tobytes() if array.dtype != object else repr(array.tolist()).encode()
        key = (array.dtype.str, array.shape, content)
        if key not in self._constants:
            self._constants[key] = self._fresh("constant")
            self._initializers.append(_tensor(array, self._constants[key]))
        return self._constants[key]

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output.

        Args:
            operator: ONNX operator, for example ``"MatMul"``.
            *inputs: names of values; ``""`` leaves out an optional one.
            domain: operator domain, ``"ai.onnx.ml"`` for ``LabelEncoder``.
            **attributes: the operator's attributes.

        Returns:
            The name of the output.
        """
        return self.add_many(operator, 1, *inputs, domain=domain, **attributes)[0]

    def add_many(self, operator: str, outputs: int, *inputs: str, domain: str = "", **attributes: Any) -> list[str]:
        """Add a node with ``outputs`` outputs, for example ``TopK``, and return their names."""
        names = [self._fresh(operator.lower()) for _ in range(outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), names, domain=domain, **attributes))
        return names

    def where(self, condition: str, then: str, otherwise: str, dtype: str) -> str:
        """Add a ``Where`` over values of any element type, as in ``input``.

        ONNX Runtime's CPU has none for ``bool``, ``int16``, ``uint16`` and ``uint64``: those pass through ``int64``, and come back the
        same bits.
        """
        if dtype not in _WITHOUT_WHERE:
            return self.add("Where", condition, then, otherwise)
        branches = [self.add("Cast", value, to=TensorProto.INT64) for value in (then, otherwise)]
        return self.add("Cast", self.add("Where", condition, *branches), to=_ELEMENT_TYPES[dtype])

    def choose(
        self,
        condition: str,
        then: Callable[[GraphBuilder], Sequence[str]],
        otherwise: Callable[[GraphBuilder], Sequence[str]],
        dtypes: Sequence[str],
    ) -> list[str]:
        """Add an ``If``: only the branch that ``condition`` chooses is computed.

        Args:
            condition: a bool of one element.
            then: adds the nodes of the true branch to the builder that it is given, and returns its values; it may use values that
                this graph has, and must add none to it.
            otherwise: likewise for the false branch.
            dtypes: element type of each value, as in ``input``.

        Returns:
            The values of the branch that was chosen.
        """
        branches = {}
        for name, fill in (("then_branch", then), ("else_branch", otherwise)):
            inner = GraphBuilder(name)
            inner._count = self._count  # names of a branch must differ from those outside
            outputs = []
            for value, dtype in zip(fill(inner), dtypes, strict=True):
                held = inner.add("Identity", value)
                outputs.append(helper.make_tensor_value_info(held, _ELEMENT_TYPES[dtype], None))
            self._count = inner._count
            branches[name] = helper.make_graph(inner._nodes, f"{self._name}_{name}", [], outputs, inner._initializers)
        return self.add_many("If", len(dtypes), condition, **branches)

    def inline(self, model: onnx.ModelProto, inputs: Mapping[str, str]) -> dict[str, str]:
        """Copy another model's graph into this one.

        Args:
            model: a model without subgraphs' outer references to rename (``If`` and ``Loop`` bodies are refused).
            inputs: each input of ``model`` -> a value of this graph.

        Returns:
            Each output of ``model`` -> the value of this graph that holds it.

        Raises:
            ValueError: if an input is not given or the model has control flow.
        """
        graph = model.graph
        defaults = {tensor.name for tensor in graph.initializer}
        missing = [value.name for value in graph.input if value.name not in inputs and value.name not in defaults]
        if missing:
            raise ValueError(f"inline of {graph.name!r}: no value for its inputs {missing}")
        prefix = self._fresh(graph.name or "inlined")
        renamed: dict[str, str] = {"": "", **inputs}
        for tensor in graph.initializer:
            if tensor.name not in inputs:
                renamed[tensor.name] = f"{prefix}/{tensor.name}"
                copied = onnx.TensorProto()
                copied.CopyFrom(tensor)
                copied.name = renamed[tensor.name]
                self._initializers.append(copied)
        for node in graph.node:
            if any(attribute.HasField("g") for attribute in node.attribute):
                raise ValueError(f"inline of {graph.name!r}: node {node.name!r} ({node.op_type}) has a subgraph")
            renamed.update({name: f"{prefix}/{name}" for name in node.output if name})
            copied_node = onnx.NodeProto()
            copied_node.CopyFrom(node)
            copied_node.name = f"{prefix}/{node.name}" if node.name else ""
            copied_node.input[:] = [renamed[name] for name in node.input]
            copied_node.output[:] = [renamed[name] for name in node.output]
            self._nodes.append(copied_node)
        return {value.name: renamed[value.name] for value in graph.output}

    def model(self, properties: Mapping[str, str] | None = None) -> onnx.ModelProto:
        """Return the checked model.

        Args:
            properties: what it is to carry along as metadata.

        Raises:
            onnx.checker.ValidationError: if the graph is not valid ONNX.
        """
        graph = helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, self._initializers)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="cartwheel")
        helper.set_model_props(model, dict(properties or {}))
        onnx.checker.check_model(model)
        return model


def _tensor(array: npt.NDArray[Any], name: str) -> onnx.TensorProto:
    if array.dtype.kind in "USO":
        strings = [str(value).encode() for value in array.ravel()]  # put in by hand: onnx's helper cuts a NUL at the end of one
        return TensorProto(name=name, data_type=TensorProto.STRING, dims=array.shape, string_data=strings)
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
