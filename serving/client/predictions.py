"""Requests to the ensemble of a declared task, and their typed answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, Union

import numpy as np

from cartwheel.core.errors import ServerError, UsageError
from serving.client.answers import ShopId
from serving.client.requests import Outputs, Question, check_size, encoded, id_tensor, tensor
from serving.contract.limits import PARAMETER as LIMITS
from serving.contract.limits import Limits
from serving.contract.tasks import ENTITY, LARGEST, PARAMETER, TaskColumn, TaskForm

Value: TypeAlias = Union[ShopId, float, Sequence[ShopId], Sequence[float], None]  # noqa: UP007 - an alias on 3.10
"""A column's value: text, a number, a list of texts, a vector; None where it is not known."""

_UNSEEN = -1


@dataclass(frozen=True)
class ColumnReason:
    """One reason of an answer.

    Attributes:
        column: name.
        title: what it is, in a few words.
        contribution: the score less the score where the column has its typical value: log odds, or units of the quantity.
    """

    column: str
    title: str
    contribution: float


@dataclass(frozen=True)
class Prediction:
    """What is expected of one entity.

    Attributes:
        task: the declared task.
        entity: who or what was asked about; None where columns alone were given.
        probability: 0 to 1; None of other answers, as the next.
        quantity: at least 0.
        score: what the model gave, not calibrated: log odds, or the quantity.
        decision: whether the probability is at least the threshold; None of a quantity.
        threshold: the probability from which on a yes costs less than a no, by the task's costs; None of a quantity.
        base_rate: share of yes, or mean, of the training examples.
        calibrated: whether a calibration was applied.
        known: whether the server has stored the entity; None where the task has no stored entities.
        reasons: at most three columns, the one that moves the score most first.
        low: low end of the interval of a quantity; None where there is none, as the next two.
        high: its high end.
        order: how much to have, by what one too many and one too few cost.
        effect: how much more of the outcome a treatment is expected to bring; None of other answers.
    """

    task: str
    entity: ShopId | None
    probability: float | None
    quantity: float | None
    score: float
    decision: bool | None
    threshold: float | None
    base_rate: float
    calibrated: bool
    known: bool | None
    reasons: tuple[ColumnReason, ...]
    low: float | None = None
    high: float | None = None
    order: float | None = None
    effect: float | None = None


@dataclass(frozen=True)
class ServedTask:
    """What a server tells of a task.

    Attributes:
        form: what may be asked.
        limits: how large a request may be, None if it does not say.
    """

    form: TaskForm
    limits: Limits | None = None


def parse_task(parameters: Mapping[str, str], task: str, address: str) -> ServedTask:
    """Read the parameters of an ensemble's configuration.

    Raises:
        UsageError: if the ensemble is that of no declared task.
        ServerError: if a parameter cannot be read.
    """
    if PARAMETER not in parameters:
        raise UsageError(
            f"{task!r} is not a declared task of the server at {address}.", "Use a task that the run declares under [tasks]."
        )
    try:
        limits = parameters.get(LIMITS)
        return ServedTask(TaskForm.parsed(parameters[PARAMETER]), Limits.parsed(limits) if limits is not None else None)
    except ValueError as error:
        raise ServerError(
            f"The description of the task {task!r} at {address} cannot be read ({error}).",
            "Export the repository again with `cartwheel export`.",
        ) from error


def ask_predict(
    task: ServedTask, entities: Sequence[ShopId] | None, columns: Mapping[str, Sequence[Value]]
) -> Question[tuple[Prediction, ...]]:
    """Ask a task about several entities at once.

    Args:
        task: as the server tells of it.
        entities: ids; None where the columns alone are given.
        columns: column -> a value for each row.

    Raises:
        UsageError: if a value cannot be honoured, naming it.
    """
    form = task.form
    rows = _rows(task, entities, columns)
    inputs, sized = [], []
    if entities is not None:
        ids = [[encoded(ENTITY, entity, place)] for place, entity in enumerate(entities)]
        inputs.append(id_tensor(ENTITY, ids))
        sized.append(ids)
    declared = {column.name: column for column in form.columns}
    for name, values in columns.items():
        column = declared[name]
        if column.dtype == "string":
            texts = [_texts(column, value) for value in values]
            inputs.append(id_tensor(name, texts))
            sized.append(texts)
        else:
            numbers = np.array([_numbers(column, value) for value in values], np.int64 if column.dtype == "int64" else np.float32)
            inputs.append(tensor(name, "INT64" if column.dtype == "int64" else "FP32", numbers))
    check_size(task.limits, *sized)
    asked: Sequence[ShopId | None] = list(entities) if entities is not None else [None] * rows
    return Question(form.name, inputs, lambda outputs: parse_predictions(outputs, form, asked))


def _rows(task: ServedTask, entities: Sequence[ShopId] | None, columns: Mapping[str, Sequence[Value]]) -> int:
    """Return how many rows are asked about, all inputs agreeing in it."""
    form = task.form
    if entities is not None and not form.stored and not form.follows:
        raise UsageError(
            f"{form.name} is about each {form.entity}, and the server stores nothing about it.", "Give only columns."
        )
    known = [column.name for column in form.columns]
    for name in columns:
        if name not in known:
            raise UsageError(f"{form.name} has no column {name!r}.", f"Its columns are {', '.join(known)}.")
    counts = {name: len(values) for name, values in columns.items()} | ({ENTITY: len(entities)} if entities is not None else {})
    if not counts or 0 in counts.values():
        named = form.stored or form.follows
        raise UsageError(f"The request to {form.name} is empty.", "Give an entity or a column." if named else "Give a column.")
    if len(set(counts.values())) > 1:
        raise UsageError(f"The inputs differ in their number of rows: {counts}.", "Give each a value for every row.")
    rows = next(iter(counts.values()))
    if task.limits is not None and rows > task.limits.rows:
        raise UsageError(
            f"{rows:,} rows are requested; this server answers at most {task.limits.rows:,} at once.",
            "Split the request; `max_rows` under [serve] sets how many.",
        )
    return rows


def _texts(column: TaskColumn, value: Value) -> list[bytes]:
    if not column.listed:
        if value is not None and not isinstance(value, (str, int, np.integer)):
            raise UsageError(f"{column.name} is {value!r}; expected a string.", "Pass None for a missing value.")
        return [b"" if value is None else encoded(column.name, value)]
    values: Any = () if value is None else value
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise UsageError(f"{column.name} is {value!r}; expected a list of strings.", f"Pass [{value!r}] for a single one.")
    if len(values) > column.width:
        raise UsageError(f"{column.name} holds {len(values)} values; at most {column.width} are read.", "Give fewer.")
    texts = [encoded(column.name, each, place) for place, each in enumerate(values)]
    return [*texts, *[b""] * (column.width - len(texts))]


def _numbers(column: TaskColumn, value: Value) -> list[float]:
    if not column.listed:
        missing = _UNSEEN if column.dtype == "int64" else math.nan
        return [missing if value is None else _number(column, value)]
    values: Any = value
    if isinstance(values, (str, bytes)) or not isinstance(values, (Sequence, np.ndarray)) or len(values) != column.width:
        found = f"{len(values)} numbers" if isinstance(values, (list, tuple, np.ndarray)) else repr(value)
        raise UsageError(f"{column.name} is {found}; expected {column.width} numbers.", "Pass the whole vector.")
    return [_number(column, each) for each in values]


def _number(column: TaskColumn, value: Any) -> float:
    whole = column.dtype == "int64"
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer) if whole else (int, float, np.number)):
        raise UsageError(
            f"{column.name} is {value!r}; expected a {'whole ' if whole else ''}number.", "Pass None for a missing value."
        )
    if not abs(float(value)) <= (2.0**62 if whole else LARGEST):
        raise UsageError(f"{column.name} is {value!r}; expected a finite number.", "Pass None for a missing value.")
    return int(value) if whole else float(value)


def parse_predictions(outputs: Outputs, form: TaskForm, asked: Sequence[ShopId | None]) -> tuple[Prediction, ...]:
    """Read the outputs of a task's ensemble, [B, 1] each but ``reasons`` and ``contributions`` [B, 3]."""
    titles = {column.name: column.title for column in form.columns}

    def one(name: str, row: int) -> float | None:
        return float(outputs[name][row, 0]) if name in outputs else None

    def yes(name: str, row: int) -> bool | None:
        return bool(outputs[name][row, 0]) if name in outputs else None

    predictions = []
    for row, entity in enumerate(asked):
        pairs = zip(outputs["reasons"][row], outputs["contributions"][row], strict=True)
        reasons = tuple(
            ColumnReason(name.decode(), titles.get(name.decode(), name.decode()), float(by)) for name, by in pairs if name
        )
        predictions.append(
            Prediction(
                task=form.name,
                entity=entity,
                probability=one("probability", row),
                quantity=one("quantity", row),
                score=float(outputs["score"][row, 0]),
                decision=yes("decision", row),
                threshold=one("threshold", row),
                base_rate=float(outputs["base_rate"][row, 0]),
                calibrated=bool(outputs["calibrated"][row, 0]),
                known=yes("known", row),
                reasons=reasons,
                low=one("quantity_low", row),
                high=one("quantity_high", row),
                order=one("quantity_order", row),
                effect=one("effect", row),
            )
        )
    return tuple(predictions)
