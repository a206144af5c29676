"""Encode: who asks, when, and what the request adds to what is stored of them, as the encoded features of the query.

What is stored of a shopper comes from the snapshot, the shop's own columns among it, and events since then that the request gives are
appended to it (``serving.pieces.live``). What the request tells of besides is added to that as ``workflows.features.requests`` defines:
each recent item and each line of the cart is one more event, a microsecond before the request.
The compiled NVTabular graph (``workflow/query.onnx``) then encodes the raw columns exactly as in training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx

from serving.contract.tensors import BARRED, EVENTS, PRICED, PRICED_NOW, PRICES, PRICES_NOW, StepModel
from serving.pieces.common import (
    barred_places,
    cast,
    count_true,
    counting,
    declare_inputs,
    declare_outputs,
    encode_columns,
    item_index,
    last_distinct,
    last_mentions,
    mean_price,
    size,
    split,
)
from serving.pieces.live import Events, Stored, asked_at, with_events
from serving.pieces.state import SHOPPER_NUMBERS, OwnValues, Snapshot
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.features.columns import COUNTED_KINDS, QUERY_LISTS

HOUR: Final = 3_600_000_000
"""Microseconds."""


@dataclass(frozen=True)
class _Told:
    """What the request itself tells of: R recent items, then N cart lines.

    Attributes:
        ids: item ids [B, R + N], "" pads.
        index: their catalogue indices [B, R + N], -1 pads.
        codes: one number an item [B, R + N], also for items that the catalogue does not know; negative where there is none.
        counts: bool [B, R + N], the last mention of each recent item and of each line; other mentions add nothing.
        looked: how many recent items there are, float32 [B, 1].
        lines: how many lines there are, float32 [B, 1].
        cart: catalogue indices of the lines [B, N].
        line_counts: ``counts`` of the lines, int64 [B, N].
    """

    ids: str
    index: str
    codes: str
    counts: str
    looked: str
    lines: str
    cart: str
    line_counts: str


@dataclass(frozen=True)
class _Recents:
    """The recent items of each query, oldest first, [B, L]: ids, catalogue indices, category and brand codes.

    Also ``mentioned``, the catalogue indices of all that is stored or told of [B, L + R + N]; -1 pads.
    """

    ids: str
    index: str
    categories: str
    brands: str
    mentioned: str


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
        absent = {"string": empty, "int64": np.zeros((1, 1), np.int64), "float32": np.full((1, 1), np.nan, np.float32)}
        absent["int32"] = np.zeros((1, 1), np.int32)
        inputs = declare_inputs(self._graph, step, {tensor.name: absent[tensor.dtype] for tensor in step.inputs})
        self._inputs = self._broadcast(inputs)

    def model(self, workflow: onnx.ModelProto) -> onnx.ModelProto:
        graph = self._graph
        row, known = self._shopper()
        told, events, excluded = self._items()
        now = asked_at(graph, self._inputs["timestamp"], events, self._snapshot.state.as_of_us)
        stored = with_events(graph, self._snapshot, self._stored(row, known), events, self._inputs["user_id"], now)
        known, recents = stored.known, self._recents(stored, told)
        given = graph.add("Greater", told.looked, graph.constant(0, np.float32))
        nobody = graph.constant(np.array("", dtype=object))
        raw = {
            "user_id": graph.add("Where", known, self._inputs["user_id"], nobody),  # an id that is not stored tells nothing
            **self._numbers(stored, told, now),
            **self._own(row, now),
            "recent_items": recents.ids,
            "recent_categories": self._text(self._snapshot.catalogue.categories, recents.categories),
            "recent_brands": self._text(self._snapshot.catalogue.brands, recents.brands),
        }
        encoded, features = encode_columns(graph, workflow, raw), self._snapshot.catalogue.features
        values = {
            "query_categorical": self._packed([encoded[name] for name in features.query_categorical]),
            "query_continuous": self._packed([encoded[name] for name in features.query_continuous]),
            "query_lists": self._packed([encoded[name] for name in QUERY_LISTS]),
            "recents": self._packed([recents.index, recents.categories, recents.brands]),
            "user_mean_price": raw["user_mean_price"],
            "known_user": cast(graph, known, onnx.TensorProto.INT64),
            "shopper": graph.add("Unsqueeze", row, graph.constant([1], np.int64)),
            "form": self._form(known, given),
            "excluded": self._excluded(excluded, stored, recents, told.cart),
            "cart_index": told.cart,
            "cart_counts": told.line_counts,
            PRICED_NOW.name: self._inputs[PRICED.name],
            PRICES_NOW.name: self._inputs[PRICES.name],
        }
        return declare_outputs(graph, self._step, values)

    def _form(self, known: str, given: str) -> str:
        """Return the place in ``columns.FORMS`` of each request, int64 [B, 1]."""
        graph = self._graph
        of_known, of_given = (cast(graph, value, onnx.TensorProto.INT64) for value in (known, given))
        return graph.add("Add", graph.add("Mul", of_known, graph.constant(2, np.int64)), of_given)

    def _packed(self, parts: list[str]) -> str:
        return self._graph.add("Concat", *parts, axis=1)

    def _broadcast(self, inputs: dict[str, str]) -> dict[str, str]:
        """Repeat inputs of one row for every request of the batch: an absent one is a default of one row."""
        graph = self._graph
        events = {tensor.name for tensor in EVENTS[1:]}  # which are widened as the items are, where there are any
        batch = graph.add("Max", *(size(graph, value, 0) for name, value in inputs.items() if name not in events))
        shape = graph.add("Concat", batch, graph.constant([1], np.int64), axis=0)
        return {name: value if name in events else graph.add("Expand", value, shape) for name, value in inputs.items()}

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

    def _items(self) -> tuple[_Told, Events, str]:
        """Return what the request tells of, the events that it gives, and the catalogue indices of what it excludes."""
        graph, catalogue = self._graph, self._snapshot.catalogue
        names = ("events_item", "recent_items", "cart_items", "exclude")
        widths = [size(graph, self._inputs[name], 1) for name in names]

        def parted(values: str, count: int) -> list[str]:
            return graph.add_many("Split", count, values, graph.add("Concat", *widths[:count], axis=0), axis=1)

        index = item_index(graph, catalogue, self._packed([self._inputs[name] for name in names]))
        of_event, given, cart, excluded = parted(index, 4)
        index = self._packed([given, cart])
        ids = self._packed([self._inputs["recent_items"], self._inputs["cart_items"]])
        every = self._codes(self._packed([of_event, index]), self._packed([self._inputs["events_item"], ids]))
        event_codes, *codes = parted(every, 3)
        told = self._told(ids, index, self._packed(codes), cart, widths[1])
        events = Events(
            self._inputs["events_item"],
            of_event,
            event_codes,
            self._inputs["events_type"],
            self._inputs["events_time"],
            self._inputs["events_price"],
        )
        return told, events, excluded

    def _told(self, ids: str, index: str, codes: str, cart: str, width: str) -> _Told:
        graph = self._graph
        places = graph.add("Unsqueeze", counting(graph, size(graph, index, 1)), graph.constant([0], np.int64))
        of_cart = cast(graph, graph.add("GreaterOrEqual", places, width), onnx.TensorProto.INT64)
        counts = last_mentions(graph, codes, of_cart)
        looked = graph.add("Slice", counts, graph.constant([0], np.int64), width, graph.constant([1], np.int64))
        end = graph.constant([np.iinfo(np.int64).max], np.int64)
        lines = graph.add("Slice", counts, width, end, graph.constant([1], np.int64))
        more, sold = count_true(graph, looked), count_true(graph, lines)
        return _Told(ids, index, codes, counts, more, sold, cart, cast(graph, lines, onnx.TensorProto.INT64))

    def _stored(self, row: str, known: str) -> Callable[[GraphBuilder], Stored]:
        """Return what adds to a branch of the graph what the snapshot stores of the shoppers; its tables stand in the graph, once."""
        graph, shoppers, width = self._graph, self._snapshot.shoppers, self._snapshot.state.recent_items
        numbers, times, lists = (graph.constant(table) for table in (shoppers.numbers, shoppers.times, shoppers.recents))
        names = graph.constant(np.array([*self._snapshot.catalogue.ids, ""], dtype=object))
        starts = graph.constant(shoppers.left_out_starts)
        items = graph.constant(np.append(shoppers.left_out, np.int32(-1)))  # something to read where nothing is left out

        def add(branch: GraphBuilder) -> Stored:
            recents = branch.add("Gather", lists, row, axis=0)
            index, categories, brands = split(branch, cast(branch, recents, onnx.TensorProto.INT64), [width] * 3)
            left_out, places = _stored_left_out(branch, row, starts, items)
            return Stored(
                known=known,
                numbers=branch.add("Gather", numbers, row, axis=0),
                times=branch.add("Gather", times, row, axis=0),
                ids=branch.add("Gather", names, index, axis=0),
                index=index,
                codes=index,
                categories=categories,
                brands=brands,
                left_out=left_out,
                left_out_places=places,
            )

        return add

    def _numbers(self, known: Stored, told: _Told, now: str) -> dict[str, str]:
        """Return hour, weekday and the built-in numbers of the query, raw, each [B, 1]."""
        graph = self._graph
        hours = graph.add("Div", now, graph.constant(HOUR, np.int64))
        days = graph.add("Div", hours, graph.constant(24, np.int64))
        # 1 January 1970 was a Thursday, and Monday is 1.
        weekday = graph.add("Mod", graph.add("Add", days, graph.constant(3, np.int64)), graph.constant(7, np.int64))
        stored = dict(zip(SHOPPER_NUMBERS, split(graph, known.numbers, [1] * len(SHOPPER_NUMBERS)), strict=True))
        more = graph.add("Add", told.looked, told.lines)
        prices = graph.add("Gather", graph.constant(self._snapshot.catalogue.prices), told.index, axis=0)
        mean, _ = mean_price(graph, stored["user_mean_price"], stored["priced_events"], prices, told.counts)
        return {
            "user_events": graph.add("Add", stored["user_events"], more),
            **{name: self._counted(name, stored[name], told) for name in COUNTED_KINDS},
            "user_mean_price": mean,
            "hour": graph.add("Mod", hours, graph.constant(24, np.int64)),
            "weekday": graph.add("Add", weekday, graph.constant(1, np.int64)),
            **self._session(known.times, now, stored["session_events"], more),
        }

    def _own(self, row: str, now: str) -> dict[str, str]:
        """Return the shop's own columns of the shopper and of the day, raw, each [B, 1]; what a request tells does not change them."""
        graph, days = self._graph, self._snapshot.days
        columns = {} if self._snapshot.shoppers.own is None else self._own_columns(self._snapshot.shoppers.own, row)
        if days is None:
            return columns
        day = graph.add(
            "LabelEncoder",
            graph.add("Div", now, graph.constant(24 * HOUR, np.int64)),
            domain="ai.onnx.ml",
            keys_int64s=days.days.tolist(),
            values_int64s=list(range(1, len(days.days) + 1)),
            default_int64=0,
        )
        return columns | self._own_columns(days.own, graph.add("Squeeze", day, graph.constant([1], np.int64)))

    def _own_columns(self, own: OwnValues, row: str) -> dict[str, str]:
        graph, columns = self._graph, dict[str, str]()
        for names, table in ((own.ids, own.codes), (own.figures, own.numbers)):
            if names:
                stored = graph.add("Gather", graph.constant(table), row, axis=0)
                columns |= dict(zip(names, split(graph, stored, [1] * len(names)), strict=True))
        return columns | {name: self._text(table, columns[name]) for name, table in zip(own.ids, own.texts, strict=True)}

    def _counted(self, name: str, stored: str, told: _Told) -> str:
        """Add to the stored number of events of one kind those that the request tells of."""
        kinds = self._snapshot.state.request_kinds
        for source, number in (("recent_items", told.looked), ("cart_items", told.lines)):
            if kinds[source] == COUNTED_KINDS[name]:
                stored = self._graph.add("Add", stored, number)
        return stored

    def _session(self, times: str, now: str, stored_events: str, more: str) -> dict[str, str]:
        """Return what depends on the clock: hours since the last event, events and minutes of the running session.

        Args:
            times: when they were last seen and when that session began, microseconds [B, 2]; 0 where never.
            now: instant of the request, microseconds [B, 1].
            stored_events: events of the last stored session, float32 [B, 1].
            more: how many events the request tells of, float32 [B, 1].
        """
        graph = self._graph
        zero, one, none = graph.constant(0, np.int64), graph.constant(1, np.int64), graph.constant(0, np.float32)
        seen_at, session_at = split(graph, times, [1, 1])
        seen, told = graph.add("Greater", seen_at, zero), graph.add("Greater", more, none)
        idle = graph.add("Max", graph.add("Sub", now, seen_at), zero)
        # What the request tells of happened one microsecond before it, and so the pause ends then.
        pause = graph.add("Sub", idle, cast(graph, told, onnx.TensorProto.INT64))
        within = graph.add("LessOrEqual", pause, graph.constant(self._snapshot.state.session_gap_us, np.int64))
        running = graph.add("And", seen, within)
        start = graph.add("Where", running, session_at, graph.add("Sub", now, one))
        length = graph.add("Max", graph.add("Sub", now, start), zero)
        since = graph.add("Where", told, one, idle)
        return {
            "user_recency_hours": graph.add(
                "Where", graph.add("Or", told, seen), self._scaled(since, HOUR), graph.constant(np.nan, np.float32)
            ),
            "session_events": graph.add("Add", graph.add("Where", running, stored_events, none), more),
            "session_minutes": graph.add("Where", graph.add("Or", told, running), self._scaled(length, HOUR // 60), none),
        }

    def _scaled(self, microseconds: str, unit: int) -> str:
        """Return a duration in units as float32, divided in double precision as offline."""
        graph = self._graph
        exact = graph.add("Div", self._double(microseconds), graph.constant(unit, np.float64))
        return cast(graph, exact, onnx.TensorProto.FLOAT)

    def _double(self, value: str) -> str:
        return cast(self._graph, value, onnx.TensorProto.DOUBLE)

    def _recents(self, stored: Stored, told: _Told) -> _Recents:
        """Return the effective recent items: the stored ones, then the given ones, then the lines of the cart."""
        graph, catalogue = self._graph, self._snapshot.catalogue
        index = self._packed([stored.index, told.index])
        codes = self._packed([stored.codes, told.codes])
        positions, valid = last_distinct(graph, codes, self._snapshot.state.recent_items)

        def chosen(values: str, filler: str) -> str:
            return graph.add("Where", valid, graph.add("GatherElements", values, positions, axis=1), filler)

        def facts(known: str, table: npt.NDArray[np.int64]) -> str:
            return self._packed([known, graph.add("Gather", graph.constant(table), told.index, axis=0)])

        zero = graph.constant(0, np.int64)
        return _Recents(
            ids=chosen(self._packed([stored.ids, told.ids]), graph.constant(np.array("", dtype=object))),
            index=chosen(index, graph.constant(-1, np.int64)),
            categories=chosen(facts(stored.categories, catalogue.category_codes), zero),
            brands=chosen(facts(stored.brands, catalogue.brand_codes), zero),
            mentioned=index,
        )

    def _text(self, table: list[str], codes: str) -> str:
        return self._graph.add("Gather", self._graph.constant(np.array(table, dtype=object)), codes, axis=0)

    def _codes(self, index: str, ids: str) -> str:
        """Return one number an item, also for items that the catalogue does not know: those are numbered after it by their text."""
        graph = self._graph
        count = graph.constant(len(self._snapshot.catalogue.ids), np.int64)
        _, _, distinct = graph.add_many("Unique", 3, graph.add("Reshape", ids, graph.constant([-1], np.int64)), sorted=1)
        numbered = graph.add("Add", graph.add("Reshape", distinct, graph.add("Shape", ids)), count)
        return graph.add("Where", graph.add("Equal", index, count), numbered, index)

    def _excluded(self, given: str, stored: Stored, recents: _Recents, cart: str) -> str:
        """Return the catalogue indices that must not be answered; -1 and N stand for none.

        What the request tells of besides a cart was looked at, not bought: it comes back where only what was bought is left out.
        """
        rule = self._snapshot.state.leave_out
        parts = [given, cart, barred_places(self._graph, self._inputs[BARRED.name], len(self._snapshot.catalogue.ids))]
        if rule in ("recent", "interacted"):
            parts.append(recents.mentioned)
        if rule != "recent":
            parts.append(stored.left_out)
        return self._packed(parts)


def _stored_left_out(graph: GraphBuilder, row: str, starts: str, items: str) -> tuple[str, str]:
    """Return what the snapshot leaves out for the shoppers, int64 [B, the longest of their lists], and where it stands in its table.

    -1 stands behind the shorter lists.

    Args:
        graph: where to.
        row: rows of the snapshot tables [B].
        starts: ``Shoppers.left_out_starts``.
        items: ``Shoppers.left_out``, and one more.
    """
    zero, one = graph.constant(0, np.int64), graph.constant([1], np.int64)
    start = graph.add("Gather", starts, row, axis=0)
    length = graph.add("Sub", graph.add("Gather", starts, graph.add("Add", row, graph.constant(1, np.int64)), axis=0), start)
    longest = graph.add("ReduceMax", length, axes=[0], keepdims=1)
    slots = graph.add("Unsqueeze", counting(graph, longest), graph.constant([0], np.int64))
    held = graph.add("Less", slots, graph.add("Unsqueeze", length, one))
    place = graph.add("Where", held, graph.add("Add", slots, graph.add("Unsqueeze", start, one)), zero)
    index = cast(graph, graph.add("Gather", items, place, axis=0), onnx.TensorProto.INT64)
    return graph.add("Where", held, index, graph.constant(-1, np.int64)), place
