"""What the step graphs share: looking up items, joining columns, and running compiled feature graphs inside them.

Items are numbered by their row in ``snapshot/items.parquet``: 0 .. N-1. N is an item that the snapshot does not know, -1 is
"none". Every item table has N + 1 rows, the last for unknown items; as ONNX reads index -1 from the end, "none" reads it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx

from cartwheel.core.errors import RunError
from serving.contract.tensors import StepModel, Tensor
from serving.pieces.state import Catalogue
from workflows.compiler.onnx_graph import ENCODED_SUFFIX, GraphBuilder
from workflows.features.columns import CROSS

INFINITY = np.float32(np.inf)
_STRIDE = 1 << 40
"""More than any item code, so that a row, a group and a code make one number."""


def declare_inputs(
    graph: GraphBuilder, model: StepModel, defaults: Mapping[str, npt.NDArray[Any]] | None = None
) -> dict[str, str]:
    """Declare the inputs of a step as its contract has them; those with a default are optional."""
    given = defaults or {}
    return {
        tensor.name: graph.input(tensor.name, tensor.dtype, _shape(tensor), given.get(tensor.name)) for tensor in model.inputs
    }


def declare_outputs(graph: GraphBuilder, model: StepModel, values: Mapping[str, str]) -> onnx.ModelProto:
    """Declare the outputs of a step as its contract has them and return the finished model."""
    for tensor in model.outputs:
        graph.output(values[tensor.name], tensor.name, tensor.dtype, _shape(tensor))
    return graph.model()


def _shape(tensor: Tensor) -> Sequence[int | str]:
    return tensor.shape


def item_index(graph: GraphBuilder, catalogue: Catalogue, ids: str) -> str:
    """Return the catalogue indices (int64) of item ids (string): N where unknown, -1 for the empty string."""
    count = len(catalogue.ids)
    return graph.add(
        "LabelEncoder",
        ids,
        domain="ai.onnx.ml",
        keys_strings=["", *catalogue.ids],
        values_int64s=[-1, *range(count)],
        default_int64=count,
    )


def barred_places(graph: GraphBuilder, barred: str, items: int) -> str:
    """Return the catalogue indices that the input ``barred`` names, int64 [B, 8 G]; -1 stands for none.

    Args:
        graph: where to.
        barred: int32 [B, G], each 256 times a group of eight items, plus a bit for each.
        items: N; what lies beyond the catalogue becomes N, an unknown item.
    """
    whole = cast(graph, barred, onnx.TensorProto.INT64)
    byte = graph.constant(256, np.int64)
    group = graph.add("Div", whole, byte)
    bits = graph.add("Sub", whole, graph.add("Mul", group, byte))
    lanes = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(bool)
    held = graph.add("Gather", graph.constant(lanes), bits, axis=0)
    first = graph.add("Unsqueeze", graph.add("Mul", group, graph.constant(8, np.int64)), graph.constant([2], np.int64))
    places = graph.add("Min", graph.add("Add", first, graph.constant(np.arange(8), np.int64)), graph.constant(items, np.int64))
    found = graph.add("Where", held, places, graph.constant(-1, np.int64))
    shape = graph.add("Concat", size(graph, barred, 0), graph.constant([-1], np.int64), axis=0)
    return graph.add("Reshape", found, shape)


def split(graph: GraphBuilder, packed: str, widths: Sequence[int]) -> list[str]:
    """Return the parts of ``packed`` [B, sum(widths)], each [B, width]."""
    if len(widths) == 1:
        return [packed]
    return graph.add_many("Split", len(widths), packed, graph.constant(list(widths), np.int64), axis=1)


def size(graph: GraphBuilder, value: str, axis: int) -> str:
    """Return one size of ``value`` as an int64 tensor [1]."""
    return graph.add("Shape", value, start=axis, end=axis + 1)


def counting(graph: GraphBuilder, stop: str) -> str:
    """Return 0 .. stop - 1 as int64 for ``stop`` of shape [1]."""
    last = graph.add("Squeeze", stop, graph.constant([0], np.int64))
    return graph.add("Range", graph.constant(0, np.int64), last, graph.constant(1, np.int64))


def last_mentions(graph: GraphBuilder, codes: str, groups: str) -> str:
    """Return which places of a row hold the last mention of their item: bool [B, T].

    Args:
        graph: where to.
        codes: item codes below 2**40, int64 [B, T]; negative where there is none.
        groups: int64 0 or 1, broadcast to [B, T]: mentions of different groups are different.
    """
    one = graph.constant([1], np.int64)
    total = size(graph, codes, 1)
    # From the latest to the oldest, so that the first mention is the last: Unique tells first mentions.
    backwards = graph.add("Sub", graph.add("Sub", total, one), counting(graph, total))
    rows = graph.add("Unsqueeze", counting(graph, size(graph, codes, 0)), one)
    apart = graph.add("Add", graph.add("Mul", rows, graph.constant(2, np.int64)), groups)
    keyed = graph.add("Add", codes, graph.add("Mul", apart, graph.constant(_STRIDE, np.int64)))
    flat = graph.add("Reshape", graph.add("Gather", keyed, backwards, axis=1), graph.constant([-1], np.int64))
    _, first = graph.add_many("Unique", 2, flat, sorted=1)
    zeros = graph.add("Mul", flat, graph.constant(0, np.int64))
    ones = graph.add("Expand", one, graph.add("Shape", first))
    latest_first = graph.add("Reshape", graph.add("ScatterElements", zeros, first, ones, axis=0), graph.add("Shape", codes))
    mentioned = graph.add("Greater", graph.add("Gather", latest_first, backwards, axis=1), graph.constant(0, np.int64))
    return graph.add("And", mentioned, graph.add("GreaterOrEqual", codes, graph.constant(0, np.int64)))


def last_distinct(graph: GraphBuilder, codes: str, width: int) -> tuple[str, str]:
    """Keep the last mention of each item, and of those the last L.

    Args:
        graph: where to.
        codes: item codes [B, T], the latest last, negative where there is none; T is at least L.
        width: L.

    Returns:
        Positions in ``codes`` [B, L], oldest first, and whether each holds an item [B, L].
    """
    zero, one = graph.constant(0, np.int64), graph.constant([1], np.int64)
    kept = last_mentions(graph, codes, zero)
    places = graph.add("Add", counting(graph, size(graph, codes, 1)), one)
    latest, _ = graph.add_many("TopK", 2, graph.add("Where", kept, places, zero), graph.constant([width], np.int64), axis=1)
    held = cast(graph, count_true(graph, graph.add("Greater", latest, zero)), onnx.TensorProto.INT64)
    slots = graph.constant(np.arange(width).reshape(1, -1), np.int64)
    oldest_first = graph.add("Max", graph.add("Sub", graph.add("Sub", held, one), slots), zero)
    positions = graph.add("Sub", graph.add("GatherElements", latest, oldest_first, axis=1), one)
    return graph.add("Max", positions, zero), graph.add("Less", slots, held)


def count_true(graph: GraphBuilder, mask: str) -> str:
    """Return how many of a row are true, float32 [B, 1]."""
    return graph.add("ReduceSum", cast(graph, mask, onnx.TensorProto.FLOAT), graph.constant([1], np.int64), keepdims=1)


def mean_price(graph: GraphBuilder, stored: str, priced: str, prices: str, counts: str) -> tuple[str, str]:
    """Return the mean price of stored events and of further ones, float32 [B, 1], NaN where unknown; and of how many it is, likewise.

    Args:
        graph: where to.
        stored: the stored mean, float32 [B, 1]; NaN where unknown.
        priced: how many stored events it is the mean of, float32 [B, 1].
        prices: prices of the others, float32 [B, T]; NaN where unknown.
        counts: which of them count, bool [B, T].
    """

    def double(value: str) -> str:
        return cast(graph, value, onnx.TensorProto.DOUBLE)

    nothing = graph.constant(0, np.float32)
    known = graph.add("And", graph.add("Not", graph.add("IsNaN", prices)), counts)
    summands = double(graph.add("Where", known, prices, nothing))
    total = graph.add("ReduceSum", summands, graph.constant([1], np.int64), keepdims=1)
    count = count_true(graph, known)
    before = graph.add("Where", graph.add("IsNaN", stored), nothing, stored)
    whole = graph.add("Add", graph.add("Mul", double(before), double(priced)), total)
    all_of_them = graph.add("Add", priced, count)
    mean = cast(graph, graph.add("Div", whole, double(all_of_them)), onnx.TensorProto.FLOAT)
    return graph.add("Where", graph.add("Greater", count, nothing), mean, stored), all_of_them


def cast(graph: GraphBuilder, value: str, to: int) -> str:
    """Cast to an ONNX element type such as ``onnx.TensorProto.FLOAT``."""
    return graph.add("Cast", value, to=to)


def encode_columns(graph: GraphBuilder, workflow: onnx.ModelProto, raw: Mapping[str, str]) -> dict[str, str]:
    """Inline a compiled feature graph.

    Args:
        graph: where to.
        workflow: one of the run's ``workflow/*.onnx``.
        raw: raw columns by name, at least those that the workflow reads.

    Returns:
        Encoded columns by name.

    Raises:
        RunError: if the workflow reads a column that serving does not have.
    """
    wanted = [value.name for value in workflow.graph.input]
    missing = [name for name in wanted if name not in raw]
    if missing:
        raise RunError(
            f"The feature graph {workflow.graph.name!r} reads the columns {missing}, which serving does not compute.",
            "Run `cartwheel prepare` again with this version of Cartwheel.",
        )
    outputs = graph.inline(workflow, {name: raw[name] for name in wanted})
    return {name.removesuffix(ENCODED_SUFFIX): value for name, value in outputs.items()}


def run_model(graph: GraphBuilder, model: onnx.ModelProto, encoded: Mapping[str, str], output: str) -> str:
    """Inline a trained model that reads encoded columns by their names, and return one of its outputs.

    Raises:
        RunError: if it reads a column that serving does not have, or has no such output.
    """
    wanted = [value.name for value in model.graph.input]
    missing = [name for name in wanted if name not in encoded]
    if missing:
        raise RunError(f"The model {model.graph.name!r} reads the columns {missing}, which serving lacks.", "Train it again.")
    outputs = graph.inline(model, {name: encoded[name] for name in wanted})
    if output not in outputs:
        raise RunError(f"The model {model.graph.name!r} has the outputs {sorted(outputs)}, not {output!r}.", "Train it again.")
    return outputs[output]


class Prices(Protocol):
    """What items cost, as ``serving.pieces.live_prices`` tells it.

    Attributes:
        raw: prices, float32 [B, W].
        encoded: encoded column -> float32 [B * W, 1].
    """

    raw: str
    encoded: dict[str, str]


class PairColumns:
    """Columns of (query, item) pairs, flattened to [B * W, 1]: W items for each of B queries.

    Args:
        graph: where the columns are built.
        catalogue: item tables.
        inputs: values ``query_categorical``, ``query_continuous``, ``recents`` and ``user_mean_price`` of the graph.
        items: catalogue indices [B, W].
        recents: number of recent items in the packed ``recents``.
        prices: what the items cost now; None means as of the export.
    """

    def __init__(
        self,
        graph: GraphBuilder,
        catalogue: Catalogue,
        inputs: Mapping[str, str],
        items: str,
        recents: int,
        prices: Prices | None = None,
    ) -> None:
        self._now = prices
        self._graph = graph
        self._catalogue = catalogue
        self._items = items
        self._column = graph.constant([-1, 1], np.int64)
        self._inputs = inputs
        self._recents = split(graph, inputs["recents"], [recents] * 3)

    def flat(self, pairs: str) -> str:
        """Reshape [B, W] to [B * W, 1]."""
        return self._graph.add("Reshape", pairs, self._column)

    def repeated(self, value: str) -> str:
        """Repeat a query's value [B, 1] for each of its items: [B * W, 1]."""
        return self.flat(self._graph.add("Expand", value, self._graph.add("Shape", self._items)))

    def query(self) -> dict[str, str]:
        """Return the encoded scalar columns of the query."""
        columns: dict[str, str] = {}
        features = self._catalogue.features
        packings = (("query_categorical", features.query_categorical), ("query_continuous", features.query_continuous))
        for packed, names in packings:
            parts = split(self._graph, self._inputs[packed], [1] * len(names))
            columns.update({name: self.repeated(part) for name, part in zip(names, parts, strict=True)})
        return columns

    def item(self) -> dict[str, str]:
        """Return the encoded columns of the items."""
        rows = self._graph.add("Reshape", self._items, self._graph.constant([-1], np.int64))
        columns: dict[str, str] = {}
        features = self._catalogue.features
        tables = (
            (self._catalogue.categorical, features.item_categorical),
            (self._catalogue.continuous, features.item_continuous),
        )
        for table, names in tables:
            parts = split(self._graph, self._graph.add("Gather", self._graph.constant(table), rows, axis=0), [1] * len(names))
            columns.update(zip(names, parts, strict=True))
        return columns if self._now is None else {**columns, **self._now.encoded}

    def cross(self) -> dict[str, str]:
        """Return the raw columns that compare query and item, as ``workflows.features.pair`` defines them."""
        _, categories, brands = self._recents
        columns = (
            self._affinity(categories, self._catalogue.category_codes),
            self._affinity(brands, self._catalogue.brand_codes),
            self._price_gap(),
        )
        return {name: self.flat(value) for name, value in zip(CROSS, columns, strict=True)}

    def _affinity(self, recent_codes: str, codes: npt.NDArray[np.int64]) -> str:
        """Return the share of recent items that share the item's code: [B, W]."""
        graph = self._graph
        own = graph.add("Gather", graph.constant(codes), self._items, axis=0)
        axis = graph.constant([2], np.int64)
        same = graph.add(
            "Equal", graph.add("Unsqueeze", own, axis), graph.add("Unsqueeze", recent_codes, graph.constant([1], np.int64))
        )
        hits = graph.add("ReduceSum", cast(graph, same, onnx.TensorProto.FLOAT), axis, keepdims=0)
        zero = graph.constant(0, np.int64)
        present = cast(graph, graph.add("GreaterOrEqual", self._recents[0], zero), onnx.TensorProto.FLOAT)
        count = graph.add("ReduceSum", present, graph.constant([1], np.int64), keepdims=1)
        share = graph.add("Div", hits, graph.add("Max", count, graph.constant(1, np.float32)))
        return graph.add("Where", graph.add("Greater", own, zero), share, graph.constant(0, np.float32))

    def prices(self) -> str:
        """Return the raw prices of the items [B, W]; NaN where unknown."""
        if self._now is not None:
            return self._now.raw
        return self._graph.add("Gather", self._graph.constant(self._catalogue.prices), self._items, axis=0)

    def _price_gap(self) -> str:
        graph = self._graph
        return graph.add("Sub", self._log(self.prices()), self._log(self._inputs["user_mean_price"]))

    def _log(self, value: str) -> str:
        """Return the logarithm, NaN where the value is missing or not positive."""
        graph = self._graph
        positive = graph.add("Greater", value, graph.constant(0, np.float32))
        return graph.add("Log", graph.add("Where", positive, value, graph.constant(np.nan, np.float32)))
