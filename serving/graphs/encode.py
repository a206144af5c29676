"""Encode: who asks, when, and after looking at what, as the encoded QUERY features.

What is stored of a shopper comes from the snapshot; what the request says about recent items replaces it. The compiled NVTabular
graph (``workflow/query.onnx``) then encodes the raw columns exactly as in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx

from serving.graphs.common import cast, counting, declare_inputs, declare_outputs, encode_columns, item_index, size, split
from serving.snapshot import SHOPPER_NUMBERS, Snapshot
from serving.tensors import StepModel
from workflows.columns import QUERY_CATEGORICAL, QUERY_CONTINUOUS, QUERY_LISTS
from workflows.onnx_graph import GraphBuilder

HOUR: Final = 3_600_000_000
"""Microseconds."""
_ROW_STRIDE: Final = 1 << 40
"""More than any item code, so that a row and a code make one number."""


@dataclass(frozen=True)
class _Recents:
    """The recent items of each query, oldest first, [B, L]: ids, catalogue indices, category and brand codes.

    And, of the items that the request itself tells of, [B, 1]: whether any is a recent one, how many distinct, their mean price.
    """

    ids: str
    index: str
    categories: str
    brands: str
    given: str
    distinct: str
    mean_price: str


def encode_graph(step: StepModel, snapshot: Snapshot, workflow: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph of ``recommend_encode``.

    Args:
        step: its tensors.
        snapshot: shoppers, items and settings as of the last event.
        workflow: ``workflow/query.onnx``.
    """
    return _Encode(step, snapshot).model(workflow)


class _Encode:
    def __init__(self, step: StepModel, snapshot: Snapshot) -> None:
        self._step = step
        self._snapshot = snapshot
        self._graph = GraphBuilder(step.name)
        empty = np.array([[""]], dtype=object)
        defaults = {tensor.name: empty for tensor in step.inputs if tensor.dtype == "string"}
        inputs = declare_inputs(self._graph, step, {**defaults, "timestamp": np.zeros((1, 1), np.int64)})
        self._inputs = self._broadcast(inputs)

    def model(self, workflow: onnx.ModelProto) -> onnx.ModelProto:
        graph = self._graph
        row, known = self._shopper()
        cart = item_index(graph, self._snapshot.catalogue, self._inputs["cart_items"])
        recents = self._recents(row, cart)
        raw = {
            "user_id": self._inputs["user_id"],
            **self._time_features(row, recents),
            "recent_items": recents.ids,
            "recent_categories": self._text(self._snapshot.catalogue.categories, recents.categories),
            "recent_brands": self._text(self._snapshot.catalogue.brands, recents.brands),
        }
        encoded = encode_columns(graph, workflow, raw)
        values = {
            "query_categorical": self._packed([encoded[name] for name in QUERY_CATEGORICAL]),
            "query_continuous": self._packed([encoded[name] for name in QUERY_CONTINUOUS]),
            "query_lists": self._packed([encoded[name] for name in QUERY_LISTS]),
            "recents": self._packed([recents.index, recents.categories, recents.brands]),
            "user_mean_price": raw["user_mean_price"],
            "known_user": cast(graph, known, onnx.TensorProto.INT64),
            "excluded": self._excluded(recents, cart),
            "cart_index": cart,
        }
        return declare_outputs(graph, self._step, values)

    def _packed(self, parts: list[str]) -> str:
        return self._graph.add("Concat", *parts, axis=1)

    def _broadcast(self, inputs: dict[str, str]) -> dict[str, str]:
        """Repeat inputs of one row for every request of the batch: an absent one is a default of one row."""
        graph = self._graph
        batch = graph.add("Max", *(size(graph, value, 0) for value in inputs.values()))
        shape = graph.add("Concat", batch, graph.constant([1], np.int64), axis=0)
        return {name: graph.add("Expand", value, shape) for name, value in inputs.items()}

    def _shopper(self) -> tuple[str, str]:
        """Return the row of the shopper in the snapshot tables [B] (0 is a stranger) and whether it is known [B, 1]."""
        graph = self._graph
        ids = self._snapshot.shoppers.ids
        row = graph.add(
            "LabelEncoder",
            self._inputs["user_id"],
            domain="ai.onnx.ml",
            keys_strings=["", *ids],
            values_int64s=list(range(len(ids) + 1)),
            default_int64=0,
        )
        known = graph.add("Greater", row, graph.constant(0, np.int64))
        return graph.add("Squeeze", row, graph.constant([1], np.int64)), known

    def _time_features(self, row: str, recents: _Recents) -> dict[str, str]:
        """Return hour, weekday and the continuous QUERY columns, raw, each [B, 1]."""
        graph = self._graph
        shoppers = self._snapshot.shoppers
        zero = graph.constant(0, np.int64)
        asked = self._inputs["timestamp"]
        now = graph.add(
            "Where", graph.add("Greater", asked, zero), asked, graph.constant(self._snapshot.state.as_of_us, np.int64)
        )
        hours = graph.add("Div", now, graph.constant(HOUR, np.int64))
        days = graph.add("Div", hours, graph.constant(24, np.int64))
        # 1 January 1970 was a Thursday, and Monday is 1.
        weekday = graph.add("Mod", graph.add("Add", days, graph.constant(3, np.int64)), graph.constant(7, np.int64))
        numbers = graph.add("Gather", graph.constant(shoppers.numbers), row, axis=0)
        stored = dict(zip(SHOPPER_NUMBERS, split(graph, numbers, [1] * len(SHOPPER_NUMBERS)), strict=True))
        seen_at, session_at = split(graph, graph.add("Gather", graph.constant(shoppers.times), row, axis=0), [1, 1])
        seen = graph.add("Greater", seen_at, zero)
        idle = graph.add("Max", graph.add("Sub", now, seen_at), zero)
        recency = graph.add("Where", seen, self._scaled(idle, HOUR), graph.constant(np.nan, np.float32))
        within = graph.add("LessOrEqual", idle, graph.constant(self._snapshot.state.session_gap_us, np.int64))
        running = graph.add("And", seen, within)
        none = graph.constant(0, np.float32)
        events = graph.add("Where", running, stored["session_events"], none)
        length = graph.add("Max", graph.add("Sub", now, session_at), zero)
        minutes = graph.add("Where", running, self._scaled(length, HOUR // 60), none)
        # Whoever tells what was just looked at, or put into a cart, is here now, whenever the snapshot last saw them.
        here = graph.add("Greater", recents.distinct, none)
        recency = graph.add("Where", here, none, recency)
        running_events = graph.add("Where", recents.given, recents.distinct, graph.add("Max", events, recents.distinct))
        # Who is newer than the snapshot has done at least what the request tells, and looks at prices like those.
        unpriced = graph.add("IsNaN", stored["user_mean_price"])
        return {
            **stored,
            "user_events": graph.add("Max", stored["user_events"], running_events),
            "user_mean_price": graph.add("Where", unpriced, recents.mean_price, stored["user_mean_price"]),
            "hour": graph.add("Mod", hours, graph.constant(24, np.int64)),
            "weekday": graph.add("Add", weekday, graph.constant(1, np.int64)),
            "user_recency_hours": recency,
            "session_events": running_events,
            "session_minutes": graph.add("Where", recents.given, none, minutes),
        }

    def _scaled(self, microseconds: str, unit: int) -> str:
        """Return a duration in units as float32, divided in double precision as offline."""
        graph = self._graph
        exact = graph.add("Div", cast(graph, microseconds, onnx.TensorProto.DOUBLE), graph.constant(unit, np.float64))
        return cast(graph, exact, onnx.TensorProto.FLOAT)

    def _recents(self, row: str, cart: str) -> _Recents:
        """Return the effective recent items: the given ones, else the stored ones, followed by the lines of the cart."""
        graph = self._graph
        catalogue, width = self._snapshot.catalogue, self._snapshot.state.recent_items
        given = item_index(graph, catalogue, self._inputs["recent_items"])
        some = graph.add("GreaterOrEqual", given, graph.constant(0, np.int64))
        any_given = graph.add("Greater", self._count(some), graph.constant(0, np.float32))
        stored_row = graph.add("Gather", graph.constant(self._snapshot.shoppers.recents), row, axis=0)
        stored_index, stored_categories, stored_brands = split(
            graph, cast(graph, stored_row, onnx.TensorProto.INT64), [width] * 3
        )
        stored_index = graph.add("Where", any_given, graph.constant(-1, np.int64), stored_index)
        asked = self._packed([given, cart])
        asked_ids = self._packed([self._inputs["recent_items"], self._inputs["cart_items"]])
        index = self._packed([stored_index, asked])
        positions, valid, distinct = self._last_distinct(self._packed([stored_index, self._codes(asked, asked_ids)]), asked)

        def chosen(values: str, filler: str) -> str:
            return graph.add("Where", valid, graph.add("GatherElements", values, positions, axis=1), filler)

        def codes(stored: str, table: np.ndarray[tuple[int], np.dtype[np.int64]]) -> str:
            return self._packed([stored, graph.add("Gather", graph.constant(table), asked, axis=0)])

        zero = graph.constant(0, np.int64)
        return _Recents(
            ids=chosen(
                self._packed([self._text([*catalogue.ids, ""], stored_index), asked_ids]),
                graph.constant(np.array("", dtype=object)),
            ),
            index=chosen(index, graph.constant(-1, np.int64)),
            categories=chosen(codes(stored_categories, catalogue.category_codes), zero),
            brands=chosen(codes(stored_brands, catalogue.brand_codes), zero),
            given=any_given,
            distinct=distinct,
            mean_price=self._mean_price(asked),
        )

    def _mean_price(self, asked: str) -> str:
        """Return the mean known price of the items that the request tells of, float32 [B, 1]; NaN where none is known."""
        graph = self._graph
        prices = graph.add("Gather", graph.constant(self._snapshot.catalogue.prices), asked, axis=0)
        known = graph.add("And", graph.add("Not", graph.add("IsNaN", prices)), self._held(asked))
        summands = graph.add("Where", known, prices, graph.constant(0, np.float32))
        total = graph.add("ReduceSum", summands, graph.constant([1], np.int64), keepdims=1)
        return graph.add("Div", total, self._count(known))  # 0 / 0 is NaN: not known

    def _held(self, index: str) -> str:
        return self._graph.add("GreaterOrEqual", index, self._graph.constant(0, np.int64))

    def _text(self, table: list[str], codes: str) -> str:
        return self._graph.add("Gather", self._graph.constant(np.array(table, dtype=object)), codes, axis=0)

    def _count(self, mask: str) -> str:
        """Return how many of a row are true, float32 [B, 1]."""
        graph = self._graph
        return graph.add("ReduceSum", cast(graph, mask, onnx.TensorProto.FLOAT), graph.constant([1], np.int64), keepdims=1)

    def _codes(self, index: str, ids: str) -> str:
        """Return one number an item, also for items that the catalogue does not know: those are numbered after it by their text."""
        graph = self._graph
        count = graph.constant(len(self._snapshot.catalogue.ids), np.int64)
        _, _, distinct = graph.add_many("Unique", 3, graph.add("Reshape", ids, graph.constant([-1], np.int64)), sorted=1)
        numbered = graph.add("Add", graph.add("Reshape", distinct, graph.add("Shape", ids)), count)
        return graph.add("Where", graph.add("Equal", index, count), numbered, index)

    def _last_distinct(self, codes: str, asked: str) -> tuple[str, str, str]:
        """Keep the last mention of each item, and of those the last L.

        Args:
            codes: item codes [B, T], the latest last, negative where there is none; the first L are the stored ones.
            asked: any value of the shape of the others.

        Returns:
            Positions in ``codes`` [B, L], oldest first; whether each holds an item [B, L]; and how many distinct items were
            asked about, float32 [B, 1].
        """
        graph = self._graph
        width = self._snapshot.state.recent_items
        total = size(graph, codes, 1)
        # From the latest to the oldest, so that the first mention is the last: Unique tells first mentions.
        backwards = graph.add("Sub", graph.add("Sub", total, graph.constant([1], np.int64)), counting(graph, total))
        latest_first = graph.add("Gather", codes, backwards, axis=1)
        rows = graph.add("Unsqueeze", counting(graph, size(graph, codes, 0)), graph.constant([1], np.int64))
        keyed = graph.add("Add", latest_first, graph.add("Mul", rows, graph.constant(_ROW_STRIDE, np.int64)))
        flat = graph.add("Reshape", keyed, graph.constant([-1], np.int64))
        _, first = graph.add_many("Unique", 2, flat, sorted=1)
        zeros = graph.add("Mul", flat, graph.constant(0, np.int64))
        ones = graph.add("Expand", graph.constant([1], np.int64), graph.add("Shape", first))
        mentioned = graph.add("Reshape", graph.add("ScatterElements", zeros, first, ones, axis=0), graph.add("Shape", codes))
        zero = graph.constant(0, np.int64)
        kept = graph.add("And", graph.add("Greater", mentioned, zero), graph.add("GreaterOrEqual", latest_first, zero))
        own = graph.add("Slice", kept, graph.constant([0], np.int64), size(graph, asked, 1), graph.constant([1], np.int64))
        priority = graph.add("Where", kept, graph.add("Add", backwards, graph.constant([1], np.int64)), zero)
        best, taken = graph.add_many("TopK", 2, priority, graph.constant([width], np.int64), axis=1)
        held = cast(graph, self._count(graph.add("Greater", best, zero)), onnx.TensorProto.INT64)
        return *self._oldest_first(taken, held, total), self._count(own)

    def _oldest_first(self, taken: str, held: str, total: str) -> tuple[str, str]:
        """Turn positions counted from the end, latest first, into positions from the start, oldest first, empty ones last."""
        graph = self._graph
        one = graph.constant([1], np.int64)
        slots = graph.constant(np.arange(self._snapshot.state.recent_items).reshape(1, -1), np.int64)
        turned = graph.add("Max", graph.add("Sub", graph.add("Sub", held, one), slots), graph.constant(0, np.int64))
        from_end = graph.add("GatherElements", taken, turned, axis=1)
        return graph.add("Sub", graph.add("Sub", total, one), from_end), graph.add("Less", slots, held)

    def _excluded(self, recents: _Recents, cart: str) -> str:
        """Return the catalogue indices that must not be answered; -1 and N stand for none."""
        parts = [item_index(self._graph, self._snapshot.catalogue, self._inputs["exclude"]), cart]
        if self._snapshot.state.exclude_recent:
            parts.append(recents.index)
        return self._packed(parts)
