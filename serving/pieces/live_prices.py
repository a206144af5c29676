"""What items cost now, where a request says so: prices that the shop has set since the export, as the models that order items read them.

A price that is set counts as the item's last price, in the columns that compare it with the shopper and the cart and in those of the item:
the price itself, and beside the mean of its category, which stays that of the export. Vectors of items, and so what is retrieved, are those
of the export too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx

from serving.contract.tensors import PRICED_NOW, PRICES_NOW
from serving.pieces.common import cast, size
from serving.pieces.state import Catalogue
from workflows.compiler.onnx_graph import ENCODED_SUFFIX, GraphBuilder

PRICE: Final = "item_price"
RATIO: Final = "item_price_ratio"


class ItemPrices:
    """Prices of the items of each query, and the encoded columns that are made of them.

    Args:
        graph: where to.
        catalogue: item tables.
        inputs: values ``PRICED_NOW`` and ``PRICES_NOW`` of the graph.
        items: catalogue indices, int64 [B, W]; N or -1 for none.
        encode: ``workflow/item.onnx``.
    """

    def __init__(
        self, graph: GraphBuilder, catalogue: Catalogue, inputs: Mapping[str, str], items: str, encode: onnx.ModelProto
    ) -> None:
        self._catalogue, self._items = catalogue, items
        self._encode = _of_prices(encode)
        self.names: tuple[str, ...] = tuple(
            name for name in catalogue.features.item_continuous if f"{name}{ENCODED_SUFFIX}" in _outputs(self._encode)
        )
        """The encoded columns that are made of prices."""
        self._priced, self._now = inputs[PRICED_NOW.name], inputs[PRICES_NOW.name]
        given = graph.add("Greater", graph.add("ReduceMax", self._priced, keepdims=0), graph.constant(0, np.int32))
        kinds = ("float32",) * (1 + len(self.names))
        self.raw, *encoded = graph.choose(given, self._set, self._stored, kinds)
        """The prices, float32 [B, W], NaN where unknown."""
        self.encoded: dict[str, str] = dict(zip(self.names, encoded, strict=True))
        """Encoded column -> float32 [B * W, 1]."""

    def _stored(self, graph: GraphBuilder) -> Sequence[str]:
        flat = graph.constant([-1, 1], np.int64)
        prices = graph.add("Gather", graph.constant(self._catalogue.prices), self._items, axis=0)
        columns = [self._catalogue.continuous[:, self._catalogue.features.item_continuous.index(name)] for name in self.names]
        tables = [graph.add("Gather", graph.constant(np.ascontiguousarray(each)), self._items, axis=0) for each in columns]
        return [prices, *(graph.add("Reshape", table, flat) for table in tables)]

    def _set(self, graph: GraphBuilder) -> Sequence[str]:
        before, *encoded = self._stored(graph)
        price = graph.add("GatherElements", self._table(graph), self._items, axis=1)
        usual = graph.add("Gather", graph.constant(self._catalogue.usual_prices), self._items, axis=0)
        flat = graph.constant([-1, 1], np.int64)
        raw = {PRICE: price, RATIO: graph.add("Div", price, usual)}
        read = {value.name: graph.add("Reshape", raw[value.name], flat) for value in self._encode.graph.input}
        made = graph.inline(self._encode, read)
        # What has not changed stays as it was encoded, to the last bit.
        changed = graph.add("Not", graph.add("Equal", price, before))
        known = graph.add("Reshape", graph.add("And", changed, graph.add("Not", graph.add("IsNaN", price))), flat)
        now = [
            graph.add("Where", known, made[f"{name}{ENCODED_SUFFIX}"], stored)
            for name, stored in zip(self.names, encoded, strict=True)
        ]
        return [price, *now]

    def _table(self, graph: GraphBuilder) -> str:
        """Return the prices of all items as each query has them, float32 [B, N + 1]."""
        count = len(self._catalogue.ids)
        zero, one = graph.constant([0], np.int64), graph.constant([1], np.int64)
        width = graph.add("Min", size(graph, self._priced, 1), size(graph, self._now, 1))
        places = cast(graph, graph.add("Slice", self._priced, zero, width, one), onnx.TensorProto.INT64)
        prices = graph.add("Slice", self._now, zero, width, one)
        none, nothing = graph.constant(count, np.int64), graph.constant(0, np.int64)
        there = graph.add("And", graph.add("Greater", places, nothing), graph.add("LessOrEqual", places, none))
        where = graph.add("Where", there, graph.add("Sub", places, graph.constant(1, np.int64)), none)
        value = graph.add("Where", there, prices, graph.constant(np.float32(np.nan)))
        shape = graph.add("Concat", size(graph, self._items, 0), graph.constant([count + 1], np.int64), axis=0)
        stored = graph.add("Expand", graph.constant(self._catalogue.prices.reshape(1, -1)), shape)
        return graph.add("ScatterElements", stored, where, value, axis=1)


def _of_prices(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the part of a compiled feature graph that is computed from prices alone."""
    made: set[str] = {PRICE, RATIO, *(tensor.name for tensor in model.graph.initializer)}
    nodes = []
    for node in model.graph.node:
        if all(name in made for name in node.input if name):
            nodes.append(node)
            made.update(node.output)
    outputs = [value for value in model.graph.output if value.name in made]
    inputs = [value for value in model.graph.input if value.name in (PRICE, RATIO)]
    graph = onnx.helper.make_graph(nodes, "item_prices", inputs, outputs, model.graph.initializer)
    found: onnx.ModelProto = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return found


def _outputs(model: onnx.ModelProto) -> set[str]:
    return {value.name for value in model.graph.output}
