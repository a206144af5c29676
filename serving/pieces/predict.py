"""A declared task in one graph: columns looked up and overridden, encoded, scored, calibrated, decided and explained.

A reason is how far the score falls where a column is replaced by its typical value. All of them are computed in one run of the model,
on the row and its variants one below the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from cartwheel.core.errors import RunError
from serving.contract.tasks import ENTITY, REASONS, TaskForm
from serving.contract.tensors import StepModel, Tensor
from serving.pieces.common import cast, declare_outputs, encode_columns, run_model, size
from workflows.compiler.onnx_graph import GraphBuilder

_EMPTY: Mapping[str, Any] = {"string": "", "int64": 0, "float32": 0.0}
_DTYPES: Mapping[str, Any] = {"string": object, "int64": np.int64, "float32": np.float32}


@dataclass(frozen=True)
class TaskModels:
    """What a task's piece is made of.

    Attributes:
        form: what clients know of it.
        entities: ids of the stored entities [U].
        stored: column -> raw values [U + 1, width]; the last row stands for an entity that is not known.
        encode: raw columns -> encoded columns.
        model: encoded columns -> ``score`` [B, 1].
        typical: encoded column -> its typical value, or values.
        reasons: column that is a reason -> the encoded columns that are replaced together.
        slope: of the calibration of log odds.
        intercept: of the same.
        factor: of quantities.
        spread: of quantities, as ``calibration.json`` holds it: ``base``, ``edges``, ``widths`` and ``orders``; None where there is none.
    """

    form: TaskForm
    entities: Sequence[str]
    stored: Mapping[str, npt.NDArray[Any]]
    encode: onnx.ModelProto
    model: onnx.ModelProto
    typical: Mapping[str, Any]
    reasons: Mapping[str, Sequence[str]]
    slope: float = 1.0
    intercept: float = 0.0
    factor: float = 1.0
    spread: Mapping[str, Any] | None = None


def predict_graph(step: StepModel, task: TaskModels) -> onnx.ModelProto:
    """Return the graph of ``<task>_predict``."""
    return _Predict(step, task).model()


class _Predict:
    def __init__(self, step: StepModel, task: TaskModels) -> None:
        self._step, self._task = step, task
        self._graph = GraphBuilder(step.name)

    def model(self) -> onnx.ModelProto:
        graph, form = self._graph, self._task.form
        given = {tensor.name: self._input(tensor) for tensor in self._step.inputs}
        rows = self._rows(list(given.values()))
        values: dict[str, str] = {}
        row = self._whole(given[ENTITY], rows, self._texts("", rows)) if form.stored else ""
        place = self._place(row, rows)
        if form.stored:
            unknown = graph.constant(len(self._task.entities), np.int64)
            values["known"] = cast(graph, graph.add("Less", place, unknown), onnx.TensorProto.INT32)
        raw = {column.name: self._column(column.name, given, place, rows) for column in form.columns}
        encoded = encode_columns(graph, self._task.encode, raw)
        score, contributions = self._scores(encoded, rows)
        values |= {"score": score, **self._answer(score, rows), **self._reasons(contributions)}
        return declare_outputs(graph, self._step, values)

    def _input(self, tensor: Tensor) -> str:
        """Declare an input of which no row is there where it is not given."""
        width = tensor.shape[1]
        assert isinstance(width, int)
        nothing = np.zeros((0, width), _DTYPES[tensor.dtype])
        return self._graph.input(tensor.name, tensor.dtype, (f"{tensor.name}_rows", width), nothing)

    def _rows(self, given: Sequence[str]) -> str:
        """Return how many rows are asked about, [1]; one where nothing is given."""
        graph = self._graph
        return graph.add("Max", graph.constant([1], np.int64), *(size(graph, value, 0) for value in given))

    def _texts(self, text: str, rows: str) -> str:
        return self._graph.add("Expand", self._graph.constant([[text]]), self._shape(rows, 1))

    def _shape(self, rows: str, *others: int) -> str:
        return self._graph.add("Concat", rows, self._graph.constant(list(others), np.int64), axis=0)

    def _whole(self, given: str, rows: str, otherwise: str, width: int = 1) -> str:
        """Return ``given`` where it has rows, else ``otherwise``; a number of rows that is neither all nor none fails to reshape."""
        graph = self._graph
        both = graph.add("Concat", given, otherwise, axis=0)
        shape = graph.add("Concat", graph.constant([-1], np.int64), rows, graph.constant([width], np.int64), axis=0)
        zero, one = graph.constant([0], np.int64), graph.constant([1], np.int64)
        return graph.add("Squeeze", graph.add("Slice", graph.add("Reshape", both, shape), zero, one, zero), zero)

    def _place(self, entity: str, rows: str) -> str:
        """Return the row of each entity in the stored tables, int64 [B, 1]."""
        graph, ids = self._graph, self._task.entities
        if not entity or not ids:
            return graph.add("Expand", graph.constant([[len(ids)]], np.int64), self._shape(rows, 1))
        return graph.add(
            "LabelEncoder",
            entity,
            domain="ai.onnx.ml",
            keys_strings=list(ids),
            values_int64s=list(range(len(ids))),
            default_int64=len(ids),
        )

    def _column(self, name: str, given: Mapping[str, str], place: str, rows: str) -> str:
        graph, table = self._graph, self._task.stored[name]
        width = table.shape[1]
        # One by one: of rows of strings, ONNX Runtime's Gather copies the first one alone.
        places = graph.add("Add", graph.add("Mul", place, graph.constant(width, np.int64)), graph.constant(np.arange(width)))
        stored = graph.add("Gather", graph.constant(table.reshape(-1)), places, axis=0)
        return self._whole(given[name], rows, stored, width)

    def _scores(self, encoded: Mapping[str, str], rows: str) -> tuple[str, str]:
        """Return the score [B, 1], and how far it falls where each column is typical [B, C]."""
        graph, reasons = self._graph, self._task.reasons
        count = len(reasons) + 1
        wanted = [value.name for value in self._task.model.graph.input]
        lacking = [name for name in wanted if name not in encoded]
        if lacking:
            raise RunError(
                f"The model of the task {self._task.form.name!r} reads the columns {lacking}, which its encoding does not give.",
                "Run `cartwheel train` again.",
            )
        tiled = {name: self._variants(encoded[name], name, count) for name in wanted}
        flat = run_model(graph, self._task.model, tiled, "score")
        table = graph.add("Transpose", graph.add("Reshape", flat, self._below(count, rows)), perm=[1, 0])
        starts, axis = graph.constant([0], np.int64), graph.constant([1], np.int64)
        whole = graph.add("Slice", table, starts, graph.constant([1], np.int64), axis)
        others = graph.add("Slice", table, graph.constant([1], np.int64), graph.constant([count], np.int64), axis)
        return whole, graph.add("Sub", whole, others)

    def _below(self, count: int, rows: str) -> str:
        return self._graph.add("Concat", self._graph.constant([count], np.int64), rows, axis=0)

    def _variants(self, value: str, name: str, count: int) -> str:
        """Return the rows of an encoded column as they are, and then those of each reason: [count * B, width]."""
        graph = self._graph
        typical = np.atleast_1d(np.asarray(self._task.typical[name]))
        kind = np.dtype(np.int64) if typical.dtype.kind in "iu" and not self._is_number(name) else np.dtype(np.float32)
        replaced = [False, *(name in together for together in self._task.reasons.values())]
        mask = graph.constant(np.array(replaced).reshape(count, 1, 1))
        row = graph.add("Unsqueeze", value, graph.constant([0], np.int64))
        varied = graph.add("Where", mask, graph.constant(typical.reshape(1, 1, -1), kind), row)
        return graph.add("Reshape", varied, graph.constant([-1, typical.size], np.int64))

    def _is_number(self, name: str) -> bool:
        kinds = {value.name: value.type.tensor_type.elem_type for value in self._task.model.graph.input}
        return bool(kinds[name] == onnx.TensorProto.FLOAT)

    def _answer(self, score: str, rows: str) -> dict[str, str]:
        graph, form = self._graph, self._task.form
        base = graph.add("Expand", graph.constant([[form.base_rate]], np.float32), self._shape(rows, 1))
        flag = graph.add("Expand", graph.constant([[int(form.calibrated)]], np.int32), self._shape(rows, 1))
        values = {"base_rate": base, "calibrated": flag}
        if form.answer == "effect":
            return {**values, "effect": score, **self._decision(score, rows, "Greater")}
        if form.threshold is None:
            quantity = (
                graph.add("Mul", score, graph.constant(self._task.factor, np.float32)) if self._task.factor != 1.0 else score
            )
            return {**values, "quantity": quantity, **self._spread(quantity)}
        slope, intercept = (graph.constant(value, np.float32) for value in (self._task.slope, self._task.intercept))
        probability = graph.add("Sigmoid", graph.add("Add", graph.add("Mul", score, slope), intercept))
        return {**values, "probability": probability, **self._decision(probability, rows, "GreaterOrEqual")}

    def _decision(self, value: str, rows: str, beyond: str) -> dict[str, str]:
        """Return the threshold, and 1 where a value is beyond it."""
        graph, least = self._graph, self._task.form.threshold
        assert least is not None
        threshold = graph.add("Expand", graph.constant([[least]], np.float32), self._shape(rows, 1))
        return {"threshold": threshold, "decision": cast(graph, graph.add(beyond, value, threshold), onnx.TensorProto.INT32)}

    def _spread(self, quantity: str) -> dict[str, str]:
        """Return the ends of the interval, and how much to have: multiples of a row's unit, by the bin of its quantity."""
        graph, spread = self._graph, self._task.spread
        if spread is None:
            return {}
        zero = graph.constant(0.0, np.float32)
        unit = graph.add("Sqrt", graph.add("Add", graph.add("Max", quantity, zero), graph.constant(spread["base"], np.float32)))
        edges = np.asarray(spread["edges"], np.float32).reshape(1, -1)
        above = cast(graph, graph.add("Greater", quantity, graph.constant(edges)), onnx.TensorProto.FLOAT)

        def reach(multiples: Sequence[float]) -> str:
            first = graph.constant(multiples[0], np.float32)
            if len(multiples) == 1:
                return graph.add("Mul", unit, first)
            steps = graph.constant(np.diff(np.asarray(multiples))[:, None], np.float32)
            return graph.add("Mul", unit, graph.add("Add", graph.add("MatMul", above, steps), first))

        width, order = reach(spread["widths"]), reach(spread["orders"])
        ends = {"low": graph.add("Sub", quantity, width), "high": graph.add("Add", quantity, width)}
        ends["order"] = graph.add("Add", quantity, order)
        return {f"quantity_{name}": graph.add("Max", value, zero) for name, value in ends.items()}

    def _reasons(self, contributions: str) -> dict[str, str]:
        """Return the names and contributions of the strongest reasons [B, 3]; "" and 0 where there are fewer."""
        graph, names = self._graph, list(self._task.reasons)
        lacking = max(0, REASONS - len(names))
        padded = contributions
        if lacking:
            pads = graph.constant([0, 0, 0, lacking], np.int64)
            padded = graph.add("Pad", contributions, pads, graph.constant(0, np.float32))
        _, order = graph.add_many("TopK", 2, graph.add("Abs", padded), graph.constant([REASONS], np.int64), axis=1)
        chosen = graph.add("GatherElements", padded, order, axis=1)
        texts = graph.add("Gather", graph.constant(np.array([*names, *[""] * lacking], dtype=object)), order, axis=0)
        nothing = graph.add("Equal", chosen, graph.constant(0, np.float32))
        return {
            "reasons": graph.add("Where", nothing, graph.constant(np.array("", dtype=object)), texts),
            "contributions": chosen,
        }
