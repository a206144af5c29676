"""Columns of declared tasks as of the question: what the export knew and what happened since, put where a request leaves them out.

The ensemble of a task takes each of its columns in place of what is stored. So where something has happened since the export the gateway
computes the columns of the built-in families anew and gives them; the shop's own columns stay those of the export.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from tritonclient.grpc import service_pb2

from serving.contract.behaviour import EVENTS, Behaviour
from serving.contract.tasks import ENTITY, PARAMETER, TaskForm
from serving.gateway.refusal import invalid
from serving.gateway.served import Served
from serving.gateway.tensor_values import add_tensor
from serving.store.event import OfItem, Recent, shopper_key
from serving.store.item_state import ItemState
from workflows.features.live.past import Events, LivePast, Value, appended, before, events_of, key_of, kind_code
from workflows.features.live.registry import LIVE

_MISSING: Final = {"int64": -1, "float32": np.nan}
_KINDS: Final = {"int64": ("INT64", np.int64), "float32": ("FP32", np.float32)}


@dataclass(frozen=True)
class _Row:
    """One entity of a question.

    Attributes:
        name: whose history it is: of the shopper, or the item.
        events: what happened since the export.
        price: what the item costs, where the shop has set it since.
    """

    name: str
    events: Events
    price: float | None = None


class TaskColumns:
    """The events of one export, and which columns of its tasks follow from them.

    Args:
        behaviour: the events.
        forms: the tasks.
    """

    def __init__(self, behaviour: Behaviour, forms: Iterable[TaskForm]) -> None:
        self._behaviour = behaviour
        self._forms = {form.name: form for form in forms if any(name in LIVE for name in form.families)}
        self._prices: dict[str, float] = {}

    @classmethod
    def of(cls, repository: Path, served: Served) -> TaskColumns | None:
        """Return those of an export; None of one that has no events for tasks."""
        if not (repository / EVENTS).is_file():
            return None
        tasks = (TaskForm.parsed(one.parameters[PARAMETER]) for one in served.ensembles.values() if one.is_task)
        return cls(Behaviour.read(repository), tasks)

    @property
    def last_event_us(self) -> int:
        """Instant of the last event that the export knows."""
        return self._behaviour.last_us

    def about(self, task: str) -> str:
        """Return what a task is about: ``user``, ``item`` or ``session``; empty where no column of it follows from events."""
        return self._forms[task].entity if task in self._forms else ""

    def set_items(self, states: Iterable[ItemState]) -> None:
        """Note what items cost."""
        self._prices |= {state.item_id: state.price for state in states if state.price is not None}

    def of_shoppers(
        self, task: str, users: Sequence[str], recent: Sequence[Sequence[Recent]], items: Mapping[str, Sequence[OfItem]], now: int
    ) -> dict[str, list[Value]]:
        """Return the columns of users, or of the running session of each; none where nothing has happened.

        Args:
            task: asks about users or sessions.
            users: their ids.
            recent: what each did since the export, oldest first.
            items: what was done since with each item of :meth:`items_of`.
            now: when it is asked, Unix microseconds.

        Raises:
            RefusedError: if the session of a shopper does not tell all that the task wants.
        """
        form = self._forms[task]
        rows = [
            _Row(shopper, events_of([_of_shopper(shopper, event) for event in row]))
            for shopper, row in zip(map(shopper_key, users), recent, strict=True)
        ]
        if form.entity == "session":
            self._check_whole(form)
        elif not any(len(row.events) for row in rows):
            return {}
        others = {key_of(item): events_of([_of_item(item, event) for event in found]) for item, found in items.items()}
        return self._values(form, rows, others, now)

    def of_items(self, task: str, items: Sequence[str], since: Sequence[Sequence[OfItem]], now: int) -> dict[str, list[Value]]:
        """Return the columns of items; none where nothing has happened and no price is set.

        Args:
            task: asks about items.
            items: their ids.
            since: what was done with each since the export, oldest first.
            now: when it is asked, Unix microseconds.
        """
        rows = [
            _Row(item, events_of([_of_item(item, event) for event in found]), self._prices.get(item))
            for item, found in zip(items, since, strict=True)
        ]
        if not any(len(row.events) or row.price is not None for row in rows):
            return {}
        return self._values(self._forms[task], rows, {}, now)

    def items_of(self, task: str, recent: Sequence[Sequence[Recent]]) -> list[str]:
        """Return the items of which a task of sessions must know what everybody did; items of sessions since the export."""
        if "session_items" not in self._forms[task].families:
            return []
        return list(dict.fromkeys(event.item_id for row in recent for event in row))

    def added(self, task: str, request: bytes, asked: Any, columns: Mapping[str, list[Value]]) -> bytes:
        """Return a request with the columns that it does not give itself.

        Args:
            task: what it asks.
            request: serialised.
            asked: the same; of a task of sessions the shopper is taken out of it.
            columns: column -> a value a row.
        """
        form, more = self._forms[task], service_pb2.ModelInferRequest()
        raw = bool(asked.raw_input_contents) or not asked.inputs
        given = {tensor.name for tensor in asked.inputs}
        for column in form.columns:
            if column.name in columns and column.name not in given and column.dtype in _KINDS:
                kind, dtype = _KINDS[column.dtype]
                missing = _MISSING[column.dtype]
                values = [missing if value is None else value for value in columns[column.name]]
                add_tensor(more, column.name, kind, np.array(values, dtype).reshape(-1, 1), raw=raw)
        if form.entity == "session":
            _without(asked, ENTITY)
            request = asked.SerializeToString()
        content: bytes = request + more.SerializeToString()
        return content

    def _check_whole(self, form: TaskForm) -> None:
        strange = [name for name in form.families if name not in LIVE]
        if strange:
            raise invalid(
                f"{form.name} reads the feature families {', '.join(strange)}, which the events of a shopper do not tell; "
                "leave out entity and give the columns."
            )

    def _values(self, form: TaskForm, rows: Sequence[_Row], others: Mapping[int, Events], now: int) -> dict[str, list[Value]]:
        wanted = {column.name for column in form.columns}
        columns: dict[str, list[Value]] = {}
        for row in rows:
            past = self._past(form, row, others, now)
            found = {
                name: value for family in form.families if family in LIVE for name, value in LIVE[family].values(past).items()
            }
            for name, value in found.items():
                if name in wanted:
                    columns.setdefault(name, []).append(value)
        return columns

    def _past(self, form: TaskForm, row: _Row, others: Mapping[int, Events], now: int) -> LivePast:
        behaviour = self._behaviour
        has_news = len(row.events) or row.price is not None or form.entity == "session"
        latest = int(row.events["time"][-1]) + 1 if len(row.events) else now
        anchor = max(now, latest) if has_news else behaviour.last_us + 1

        def of_item(key: int) -> Events:
            return before(appended(behaviour.of_item(key), others.get(key, events_of([]))), anchor)

        stored = behaviour.of_item(key_of(row.name)) if form.entity == "item" else behaviour.of_user(key_of(row.name))
        return LivePast(anchor, before(appended(stored, row.events), anchor), of_item, behaviour.gap_us, row.price)


def _of_shopper(shopper: str, event: Recent) -> tuple[int, int, int, int, int, float | None, float | None]:
    session = key_of(event.session_id or "")
    return (
        event.time_us, key_of(shopper), key_of(event.item_id), session, kind_code(event.event_type), event.price, event.quantity,
    )  # fmt: skip


def _of_item(item: str, event: OfItem) -> tuple[int, int, int, int, int, float | None, float | None]:
    return event.time_us, key_of(event.shopper), key_of(item), 0, kind_code(event.event_type), event.price, event.quantity


def _without(asked: Any, name: str) -> None:
    for place, tensor in enumerate(asked.inputs):
        if tensor.name == name:
            del asked.inputs[place]
            if asked.raw_input_contents:
                del asked.raw_input_contents[place]
            return
