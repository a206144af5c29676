"""Cart: the probability that each line, and that any line, of a cart is bought."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from serving.contract.tensors import AFTER, StepModel
from serving.pieces.common import INFINITY, PairColumns, cast, declare_inputs, declare_outputs, encode_columns, run_model
from serving.pieces.live_prices import ItemPrices
from serving.pieces.state import Catalogue
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.features.columns import CART, FORMS, SIZES

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class CartModels:
    """What the cart step is made of.

    Attributes:
        cross: ``workflow/cross.onnx``.
        cart: ``workflow/cart.onnx``.
        lines: ``models/cart/model.onnx``.
        slopes: Platt slope of the line logit (Platt, 1999) in each form of request and size of cart, float32 [forms, sizes].
        intercepts: Platt intercept, float32 [forms, sizes].
        heads: weights of the largest logit, the mean logit and log1p(lines) in the logit of the whole cart, float32 [forms, sizes, 3].
        biases: their biases, float32 [forms, sizes].
        item: ``workflow/item.onnx``, which encodes prices that are set; None where none is.
    """

    cross: onnx.ModelProto
    cart: onnx.ModelProto
    lines: onnx.ModelProto
    slopes: Floats
    intercepts: Floats
    heads: Floats
    biases: Floats
    item: onnx.ModelProto | None = None


@dataclass(frozen=True)
class _Calibration:
    """The numbers of ``CartModels`` for each request, [B, 1] and [B, 3]."""

    slope: str
    intercept: str
    head: str
    bias: str


def cart_graph(step: StepModel, catalogue: Catalogue, models: CartModels, recents: int) -> onnx.ModelProto:
    """Return the graph of ``cart_score``."""
    graph = GraphBuilder(step.name)
    inputs = declare_inputs(graph, step, {AFTER.name: np.zeros((1, 1), np.float32)})
    lines = inputs["cart_index"]
    present = graph.add("GreaterOrEqual", lines, graph.constant(0, np.int64))
    # A line that stands several times is one line, and each time it gets its answer.
    distinct = graph.add("Greater", inputs["cart_counts"], graph.constant(0, np.int64))
    ones = graph.constant([1], np.int64)
    count = graph.add("ReduceSum", cast(graph, distinct, onnx.TensorProto.FLOAT), ones, keepdims=1)
    prices = None if models.item is None else ItemPrices(graph, catalogue, inputs, lines, models.item)
    pairs = PairColumns(graph, catalogue, inputs, lines, recents, prices)
    raw = {**pairs.cross(), **dict(zip(CART, map(pairs.repeated, (count, _value(graph, pairs, distinct))), strict=True))}
    encoded = {
        **pairs.query(), **pairs.item(), **encode_columns(graph, models.cross, raw), **encode_columns(graph, models.cart, raw),
    }  # fmt: skip
    logit = graph.add("Reshape", run_model(graph, models.lines, encoded, "logit"), graph.add("Shape", lines))
    own = _calibration(graph, models, inputs["form"], count)
    chance = graph.add("Sigmoid", graph.add("Add", graph.add("Mul", logit, own.slope), own.intercept))
    whole = _whole(graph, own, logit, distinct, count)
    capped = graph.add("Where", _gets_base_rate(graph, own), graph.add("Min", chance, whole), chance)
    values = {
        "line_probability": graph.add("Where", present, capped, graph.constant(np.nan, np.float32)),
        "cart_probability": whole,
    }
    return declare_outputs(graph, step, values)


def _calibration(graph: GraphBuilder, models: CartModels, form: str, count: str) -> _Calibration:
    """Pick the calibration of each request by its form, int64 [B, 1], and the number of its distinct lines, float32 [B, 1]."""
    several = cast(graph, graph.add("Greater", count, graph.constant(1, np.float32)), onnx.TensorProto.INT64)
    place = graph.add("Add", graph.add("Mul", form, graph.constant(len(SIZES), np.int64)), several)
    row = graph.add("Squeeze", place, graph.constant([1], np.int64))

    def picked(table: Floats) -> str:
        rows = table.reshape(len(FORMS) * len(SIZES), -1).astype(np.float32)
        return graph.add("Gather", graph.constant(rows), row, axis=0)

    return _Calibration(picked(models.slopes), picked(models.intercepts), picked(models.heads), picked(models.biases))


def _value(graph: GraphBuilder, pairs: PairColumns, distinct: str) -> str:
    """Return the sum of the known prices of the lines [B, 1]."""
    prices = pairs.prices()
    known = graph.add("And", distinct, graph.add("Not", graph.add("IsNaN", prices)))
    summands = graph.add("Where", known, prices, graph.constant(0, np.float32))
    return graph.add("ReduceSum", summands, graph.constant([1], np.int64), keepdims=1)


def _gets_base_rate(graph: GraphBuilder, own: _Calibration) -> str:
    """Return which requests get a base rate for the cart, but none for its lines [B, 1]."""
    zero = graph.constant(0, np.float32)
    weight = graph.add("ReduceSum", graph.add("Abs", own.head), graph.constant([1], np.int64), keepdims=1)
    return graph.add("And", graph.add("Equal", weight, zero), graph.add("Greater", graph.add("Abs", own.slope), zero))


def _whole(graph: GraphBuilder, own: _Calibration, logit: str, distinct: str, count: str) -> str:
    """Return the probability that any line is bought [B, 1]; 0 for an empty cart."""
    zero = graph.constant(0, np.float32)
    some = graph.add("Greater", count, zero)
    largest = graph.add(
        "ReduceMax", graph.add("Where", distinct, logit, graph.constant(-INFINITY, np.float32)), axes=[1], keepdims=1
    )
    total = graph.add("ReduceSum", graph.add("Where", distinct, logit, zero), graph.constant([1], np.int64), keepdims=1)
    mean = graph.add("Div", total, graph.add("Max", count, graph.constant(1, np.float32)))
    length = graph.add("Log", graph.add("Add", count, graph.constant(1, np.float32)))
    features = graph.add("Concat", graph.add("Where", some, largest, zero), mean, length, axis=1)
    weighted = graph.add("ReduceSum", graph.add("Mul", features, own.head), graph.constant([1], np.int64), keepdims=1)
    head = graph.add("Add", weighted, own.bias)
    # Whatever the head says: any of n lines is bought at least as often as the likeliest one, and at most n times as often; but a base
    # rate is not raised by its lines, which are capped by it.
    scaled = graph.add("Mul", graph.add("Where", some, largest, zero), own.slope)
    least = graph.add("Sigmoid", graph.add("Add", scaled, own.intercept))
    most = graph.add("Min", graph.add("Mul", least, count), graph.constant(1, np.float32))
    below = graph.add("Min", graph.add("Sigmoid", head), most)
    bounded = graph.add("Where", _gets_base_rate(graph, own), below, graph.add("Max", least, below))
    # Where neither the head has weights nor the lines a slope, both are base rates, and that of carts is answered as it is.
    weight = graph.add("ReduceSum", graph.add("Abs", own.head), graph.constant([1], np.int64), keepdims=1)
    known = graph.add("Greater", graph.add("Add", weight, graph.add("Abs", own.slope)), zero)
    whole = graph.add("Where", known, bounded, graph.add("Sigmoid", own.bias))
    return graph.add("Where", some, whole, zero)
