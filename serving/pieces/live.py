"""What a request gives of the shopper's events since the snapshot, appended to what is stored of them.

What comes of it is what a snapshot with these events in its log would store: counts, mean price, the last session, the recent items and
what is left out. So whatever a request adds besides (``serving.pieces.encode``) adds to that. An event counts if it is later than the
last one that the snapshot knows, and earlier than the request; the order is that of their instants, and of the request where those are
equal. Of an item, category and brand are what the snapshot knows, and so is the price of an event that has none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from serving.pieces.common import cast, count_true, counting, last_distinct, mean_price, size, split
from serving.pieces.state import SHOPPER_NUMBERS, Snapshot
from workflows.compiler.onnx_graph import GraphBuilder
from workflows.events.kinds import PURCHASE, REFUND
from workflows.features.columns import COUNTED_KINDS

_LATER: Final = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Stored:
    """What is stored of each shopper.

    Attributes:
        known: whether they are known by their id, bool [B, 1].
        numbers: ``SHOPPER_NUMBERS``, float32 [B, 8].
        times: last seen and start of the last session, microseconds, int64 [B, 2]; 0 where never.
        ids: recent items, oldest first, string [B, L], "" pads.
        index: their catalogue indices, int64 [B, L]; N of one that the catalogue does not know, -1 pads.
        codes: one number an item, also of those, int64 [B, L], -1 pads.
        categories: their category codes, int64 [B, L].
        brands: their brand codes, int64 [B, L].
        left_out: catalogue indices of what is left out beside the recent items, int64 [B, P]; -1 and N stand for none.
        left_out_places: where each stands in ``Shoppers.left_out``, int64 [B, P]; once events are appended there is none.
    """

    known: str
    numbers: str
    times: str
    ids: str
    index: str
    codes: str
    categories: str
    brands: str
    left_out: str
    left_out_places: str = ""

    def values(self) -> list[str]:
        """Return the values in their order."""
        return [getattr(self, field.name) for field in fields(self)][:-1]


_DTYPES: Final = ("bool", "float32", "int64", "string", "int64", "int64", "int64", "int64", "int64")


@dataclass(frozen=True)
class Events:
    """Events as a request gives them, [B, E]; an input that is left out may be narrower.

    Attributes:
        ids: item ids.
        index: their catalogue indices.
        codes: one number an item, negative where there is none.
        types: event types.
        times: microseconds, 0 or less for the microsecond before the request.
        prices: float32, NaN where there is none.
    """

    ids: str
    index: str
    codes: str
    types: str
    times: str
    prices: str


def asked_at(graph: GraphBuilder, asked: str, events: Events, as_of_us: int) -> str:
    """Return when it is asked, microseconds [B, 1]: just after the last event, or at the snapshot, where a request does not say."""
    zero, one = graph.constant(0, np.int64), graph.constant(1, np.int64)
    last = graph.add("ReduceMax", graph.add("Add", events.times, one), axes=[1], keepdims=1)
    unsaid = graph.add("Max", last, graph.constant(as_of_us, np.int64))
    return graph.add("Where", graph.add("Greater", asked, zero), asked, unsaid)


def with_events(
    graph: GraphBuilder, snapshot: Snapshot, stored: Callable[[GraphBuilder], Stored], events: Events, user: str, now: str
) -> Stored:
    """Return what is stored with the events appended; where no request of the batch gives any, nothing is computed.

    Args:
        graph: where to.
        snapshot: the state that the repository keeps.
        stored: adds what it stores of the shoppers to a branch of the graph.
        events: what the requests give.
        user: user ids [B, 1], "" for strangers.
        now: when it is asked, microseconds [B, 1].
    """
    some = graph.add("ReduceMax", events.codes, keepdims=0)
    given = graph.add("GreaterOrEqual", some, graph.constant(0, np.int64))
    values = graph.choose(
        given,
        lambda branch: _Append(branch, snapshot, stored(branch), events, now).stored(user).values(),
        lambda branch: stored(branch).values(),
        _DTYPES,
    )
    return Stored(*values)


class _Append:
    """The branch of the graph that appends."""

    def __init__(self, graph: GraphBuilder, snapshot: Snapshot, stored: Stored, events: Events, now: str) -> None:
        self._graph, self._snapshot, self._stored = graph, snapshot, stored
        self._kinds = sorted({*snapshot.state.interaction_types, *COUNTED_KINDS.values(), PURCHASE, REFUND})
        shape = graph.add("Shape", events.codes)
        self._column = graph.add("Concat", size(graph, events.codes, 0), graph.constant([1], np.int64), axis=0)
        kind = self._kind(self._wide(events.types, shape, np.array([[""]], dtype=object)))
        time, counts = self._when(events.codes, self._wide(events.times, shape, np.zeros((1, 1), np.int64)), now)
        price = self._wide(events.prices, shape, np.full((1, 1), np.nan, np.float32))
        order = self._ascending(time)
        self._time, self._kind_of, self._ids, self._index, self._codes, self._price = (
            graph.add("GatherElements", value, order, axis=1)
            for value in (time, kind, events.ids, events.index, events.codes, price)
        )
        self._held = graph.add("GatherElements", counts, order, axis=1)
        known = snapshot.state.interaction_types
        table = graph.constant([*(name in known for name in self._kinds), False], np.bool_)
        self._counts = graph.add("And", self._held, graph.add("Gather", table, self._kind_of, axis=0))
        self._number = self._count(self._counts)

    def stored(self, user: str) -> Stored:
        """Return what is stored then."""
        graph, stored = self._graph, self._stored
        named = graph.add(
            "LabelEncoder", user, domain="ai.onnx.ml", keys_strings=[""], values_int64s=[0], default_int64=1
        )  # ONNX Runtime's Equal reads no strings in this opset
        some = graph.add("Greater", self._number, graph.constant(0, np.float32))
        new = graph.add("And", cast(graph, named, onnx.TensorProto.BOOL), some)
        times, events = self._session()
        ids, index, codes, categories, brands = self._recents()
        return Stored(
            known=graph.add("Or", stored.known, new),
            numbers=self._numbers(events),
            times=times,
            ids=ids,
            index=index,
            codes=codes,
            categories=categories,
            brands=brands,
            left_out=self._left_out(),
        )

    def _kind(self, types: str) -> str:
        """Return the place of each type in ``self._kinds``, int64; one past the last for any other."""
        usual = self._kinds.index(self._snapshot.state.request_kinds["recent_items"])
        return self._graph.add(
            "LabelEncoder",
            types,
            domain="ai.onnx.ml",
            keys_strings=["", *self._kinds],
            values_int64s=[usual, *range(len(self._kinds))],
            default_int64=len(self._kinds),
        )

    def _wide(self, value: str, shape: str, filler: npt.NDArray[Any]) -> str:
        """Widen an input to the shape of the items: one that is left out is one wide, and a batch pads each by itself."""
        graph, one = self._graph, self._graph.constant([1], np.int64)
        more, width = (
            graph.add("Expand", graph.constant(filler), shape),
            graph.add("Slice", shape, one, graph.constant([2], np.int64)),
        )
        both = graph.add("Concat", graph.add("Expand", value, self._column), more, axis=1)
        return graph.add("Slice", both, graph.constant([0], np.int64), width, one)

    def _when(self, codes: str, given: str, now: str) -> tuple[str, str]:
        """Return the instant of each event [B, E], the latest there is where it does not count, and whether it counts."""
        graph, zero = self._graph, self._graph.constant(0, np.int64)
        said = graph.add("Greater", given, zero)
        new = graph.add("Greater", given, graph.constant(self._snapshot.state.last_event_us, np.int64))
        counts = graph.add("Or", graph.add("Not", said), graph.add("And", new, graph.add("Less", given, now)))
        counts = graph.add("And", counts, graph.add("GreaterOrEqual", codes, zero))
        time = graph.add("Where", said, given, graph.add("Sub", now, graph.constant(1, np.int64)))
        return graph.add("Where", counts, time, graph.constant(_LATER, np.int64)), counts

    def _ascending(self, time: str) -> str:
        """Return the order of instants [B, E], equal ones as they stand."""
        graph = self._graph
        return graph.add_many("TopK", 2, time, size(graph, time, 1), axis=1, largest=0, sorted=1)[1]

    def _count(self, mask: str) -> str:
        """Return how many of a row are true, float32 [B, 1]."""
        return count_true(self._graph, mask)

    def _session(self) -> tuple[str, str]:
        """Return ``Stored.times``, and the events of the last session, float32 [B, 1]."""
        graph, none = self._graph, self._graph.constant(-1, np.int64)
        seen, began = split(graph, self._stored.times, [1, 1])
        # Events that are no interactions end no pause: they go behind the others.
        time = graph.add("Where", self._counts, self._time, graph.constant(_LATER, np.int64))
        time = graph.add("GatherElements", time, self._ascending(time), axis=1)
        places = counting(graph, size(graph, time, 1))
        number = cast(graph, self._number, onnx.TensorProto.INT64)
        there = graph.add("Less", places, number)
        earlier = graph.add("Concat", seen, graph.add("Slice", time, *self._but_last()), axis=1)
        pause = graph.add("Sub", time, earlier)
        apart = graph.add("Greater", pause, graph.constant(self._snapshot.state.session_gap_us, np.int64))
        first = graph.add("Where", graph.add("And", there, apart), places, none)
        start = graph.add("ReduceMax", first, axes=[1], keepdims=1)
        anew, some = graph.add("Greater", start, none), graph.add("Greater", number, graph.constant(0, np.int64))
        last = self._at(time, graph.add("Sub", number, graph.constant(1, np.int64)))
        times = graph.add(
            "Concat",
            graph.add("Where", some, last, seen),
            graph.add("Where", anew, self._at(time, start), began),
            axis=1,
        )
        stored = self._stored_number("session_events")
        longer = graph.add("Add", stored, self._number)
        own = cast(graph, graph.add("Sub", number, start), onnx.TensorProto.FLOAT)
        return times, graph.add("Where", anew, own, longer)

    def _but_last(self) -> tuple[str, ...]:
        graph = self._graph
        return graph.constant([0], np.int64), graph.constant([-1], np.int64), graph.constant([1], np.int64)

    def _at(self, values: str, place: str) -> str:
        """Return the value at a place [B, 1]; the first where there is none."""
        graph = self._graph
        return graph.add("GatherElements", values, graph.add("Max", place, graph.constant(0, np.int64)), axis=1)

    def _stored_number(self, name: str) -> str:
        return split(self._graph, self._stored.numbers, [1] * len(SHOPPER_NUMBERS))[SHOPPER_NUMBERS.index(name)]

    def _numbers(self, session_events: str) -> str:
        graph = self._graph
        stored = dict(zip(SHOPPER_NUMBERS, split(graph, self._stored.numbers, [1] * len(SHOPPER_NUMBERS)), strict=True))
        numbers = {
            **stored,
            "user_events": graph.add("Add", stored["user_events"], self._number),
            "session_events": session_events,
        }
        for name, kind in COUNTED_KINDS.items():
            of_kind = graph.add("Equal", self._kind_of, graph.constant(self._kinds.index(kind), np.int64))
            numbers[name] = graph.add("Add", stored[name], self._count(graph.add("And", of_kind, self._counts)))
        known = graph.add("Gather", graph.constant(self._snapshot.catalogue.prices), self._index, axis=0)
        price = graph.add("Where", graph.add("IsNaN", self._price), known, self._price)
        mean, priced = mean_price(graph, stored["user_mean_price"], stored["priced_events"], price, self._counts)
        numbers |= {"user_mean_price": mean, "priced_events": priced}
        return graph.add("Concat", *(numbers[name] for name in SHOPPER_NUMBERS), axis=1)

    def _recents(self) -> tuple[str, str, str, str, str]:
        """Return ids, indices, codes, categories and brands of the recent items then."""
        graph, stored, catalogue = self._graph, self._stored, self._snapshot.catalogue
        none, zero = graph.constant(-1, np.int64), graph.constant(0, np.int64)
        codes = graph.add("Concat", stored.codes, graph.add("Where", self._counts, self._codes, none), axis=1)
        positions, valid = last_distinct(graph, codes, self._snapshot.state.recent_items)

        def chosen(before: str, since: str, filler: str) -> str:
            both = graph.add("Concat", before, since, axis=1)
            return graph.add("Where", valid, graph.add("GatherElements", both, positions, axis=1), filler)

        def facts(table: npt.NDArray[np.int64]) -> str:
            return graph.add("Gather", graph.constant(table), self._index, axis=0)

        return (
            chosen(stored.ids, self._ids, graph.constant(np.array("", dtype=object))),
            chosen(stored.index, self._index, none),
            chosen(stored.codes, self._codes, none),
            chosen(stored.categories, facts(catalogue.category_codes), zero),
            chosen(stored.brands, facts(catalogue.brand_codes), zero),
        )

    def _left_out(self) -> str:
        """Return what is left out then, as the rule of ``workflows.tasks.leave_out`` has it."""
        graph, none = self._graph, self._graph.constant(-1, np.int64)
        rule = self._snapshot.state.leave_out
        if rule == "interacted":
            since = graph.add("Where", self._counts, self._index, none)
            return graph.add("Concat", self._stored.left_out, since, axis=1)
        return self._bought() if rule == "purchased" else graph.add("Identity", self._stored.left_out)

    def _stored_times(self) -> str:
        """Return how many purchases of what is left out are stored, int64 [B, P]; one each where a snapshot did not count them."""
        graph, times = self._graph, self._snapshot.shoppers.left_out_times
        if times is None:
            return graph.add("Expand", graph.constant([[1]], np.int64), graph.add("Shape", self._stored.left_out))
        stored = graph.add("Gather", graph.constant(np.append(times, 0)), self._stored.left_out_places, axis=0)
        return cast(graph, stored, onnx.TensorProto.INT64)

    def _bought(self) -> str:
        """Return what was bought and not returned.

        A purchase adds one to the balance of its item, and a refund takes one off, but never below 0. So the balance at the end is the
        greatest of: what was stored and all steps; and the steps after each event, of which the last has none after it.
        """
        graph, none = self._graph, self._graph.constant(-1, np.int64)
        bought, returned = (
            cast(
                graph,
                graph.add(
                    "And", self._held, graph.add("Equal", self._kind_of, graph.constant(self._kinds.index(kind), np.int64))
                ),
                onnx.TensorProto.INT64,
            )
            for kind in (PURCHASE, REFUND)
        )
        step, axis = graph.add("Sub", bought, returned), graph.constant([1], np.int64)
        steps, last = graph.add("Unsqueeze", step, axis), graph.constant([2], np.int64)  # [B, 1, E]

        def of(items: str) -> str:
            """Return the steps of each item, [B, X, E]."""
            same = graph.add("Equal", graph.add("Unsqueeze", items, last), graph.add("Unsqueeze", self._index, axis))
            return graph.add("Mul", cast(graph, same, onnx.TensorProto.INT64), steps)

        def balance(items: str, before: str) -> str:
            own = of(items)
            total = graph.add("ReduceSum", own, last, keepdims=1)
            after = graph.add("Sub", total, graph.add("CumSum", own, graph.constant(2, np.int64)))
            whole = graph.add("Add", graph.add("Unsqueeze", before, last), total)
            best = graph.add("Max", graph.add("ReduceMax", after, axes=[2], keepdims=1), whole)
            return graph.add("Greater", graph.add("Squeeze", best, last), graph.constant(0, np.int64))

        before, zero = self._stored.left_out, graph.constant(0, np.int64)
        kept = graph.add("Where", balance(before, self._stored_times()), before, none)
        new = graph.add("And", balance(self._index, graph.add("Mul", self._index, zero)), self._held)
        return graph.add("Concat", kept, graph.add("Where", new, self._index, none), axis=1)
