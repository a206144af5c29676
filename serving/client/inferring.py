"""Requests to a model of ``cartwheel serve-model``: raw columns in, its outputs out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, Union

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferInput

from cartwheel.core.errors import ServerError, UsageError
from serving.client.requests import Outputs, Question, encoded, id_tensor, tensor
from serving.contract.limits import PARAMETER as LIMITS
from serving.contract.limits import Limits
from serving.contract.model_form import LENGTHS, MISSING, PARAMETER, ModelForm, RawColumn
from serving.contract.tensors import NUMPY_TYPES, REQUEST_TYPES

RawValue: TypeAlias = Union[str, bool, int, float, None]  # noqa: UP007 - an alias on 3.10
Given: TypeAlias = Union[RawValue, Sequence[RawValue]]  # noqa: UP007
"""A raw value, a list of them for a column of lists, or None for what is missing."""

_WORDS: Final = {"string": "a text", "bool": "a truth value", "float32": "a number", "float64": "a number"}


@dataclass(frozen=True)
class ServedModelForm:
    """What a server tells of a model.

    Attributes:
        form: what may be asked.
        limits: how large a request may be, None if it does not say.
    """

    form: ModelForm
    limits: Limits | None = None


@dataclass(frozen=True)
class Inferred:
    """A model's answers.

    Attributes:
        model: who answered.
        answers: output -> its values, [rows, width]; texts where ids were turned back to the texts that they stand for.
    """

    model: str
    answers: Mapping[str, npt.NDArray[Any]]

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """Return one answer, [rows, width].

        Raises:
            UsageError: if the model gives none of that name.
        """
        if name not in self.answers:
            raise UsageError(f"{self.model} gives no {name!r}.", f"It gives {', '.join(self.answers)}.")
        return self.answers[name]


def parse_model(parameters: Mapping[str, str], model: str, address: str) -> ServedModelForm:
    """Read the parameters of an ensemble's configuration.

    Raises:
        UsageError: if the ensemble is no model of `cartwheel serve-model`.
        ServerError: if a parameter cannot be read.
    """
    if PARAMETER not in parameters:
        raise UsageError(f"{model!r} is not a model of `cartwheel serve-model` at {address}.", "Use the client's method for it.")
    try:
        limits = parameters.get(LIMITS)
        return ServedModelForm(ModelForm.parsed(parameters[PARAMETER]), Limits.parsed(limits) if limits is not None else None)
    except ValueError as error:
        raise ServerError(
            f"The description of the model {model!r} at {address} cannot be read ({error}).",
            "Write the repository again with `cartwheel serve-model`.",
        ) from error


def ask_infer(served: ServedModelForm, columns: Mapping[str, Sequence[Given]]) -> Question[Inferred]:
    """Ask a model about several rows at once.

    Args:
        served: as the server tells of it.
        columns: raw column -> a value for each row.

    Raises:
        UsageError: if a column is missing or not known, or a value does not fit its column; names both.
    """
    form = served.form
    known = {column.name: column for column in form.columns}
    for name in columns:
        if name not in known:
            raise UsageError(f"{form.name} has no column {name!r}.", f"Its columns are {_listed(form)}.")
    if lacking := [name for name in known if name not in columns]:
        raise UsageError(
            f"{form.name} needs the columns {', '.join(f'{name}: {known[name]}' for name in lacking)} too.",
            "Give each a value for every row, None for a missing one.",
        )
    counts = {name: len(values) for name, values in columns.items()}
    if len(set(counts.values())) != 1 or 0 in counts.values():
        raise UsageError(
            f"The columns differ in their number of rows, or have none: {counts}.", "Give each a value for every row."
        )
    rows = next(iter(counts.values()))
    if served.limits is not None and rows > served.limits.rows:
        raise UsageError(
            f"{rows:,} rows are requested; this server answers at most {served.limits.rows:,} at once.",
            "Split the request; `max_rows` under [serve] sets how many.",
        )
    inputs = [tensor for column in form.columns for tensor in _tensors(column, columns[column.name], served.limits)]
    return Question(form.name, inputs, lambda outputs: _parsed(form, outputs))


def _listed(form: ModelForm) -> str:
    return ", ".join(f"{column.name}: {column}" for column in form.columns)


def _tensors(column: RawColumn, values: Sequence[Given], limits: Limits | None) -> list[InferInput]:
    rows = [_row(column, value, place) for place, value in enumerate(values)]
    lengths = np.array([len(row) for row in rows], np.int64)
    _check_lengths(column, lengths, limits)
    held = np.full((len(rows), max(1, int(lengths.max()))), "" if column.dtype == "string" else 0, NUMPY_TYPES[column.dtype])
    missing = np.zeros(held.shape, dtype=np.bool_)
    for place, row in enumerate(rows):
        for slot, value in enumerate(row):
            if value is not None:
                held[place, slot] = _value(column, value, place)
            elif column.is_float:
                held[place, slot] = np.nan
            elif column.nullable:
                missing[place, slot] = True
            else:
                raise UsageError(
                    f"{column.name} of row {place} is None, and the model does not accept missing values.", "Give one."
                )
    tensors = [_tensor(column.name, column.dtype, held)]
    if missing.any():
        tensors.append(_tensor(column.name + MISSING, "bool", missing))
    if column.ragged:
        tensors.append(_tensor(column.name + LENGTHS, "int64", lengths.reshape(-1, 1)))
    return tensors


def _check_lengths(column: RawColumn, lengths: npt.NDArray[np.int64], limits: Limits | None) -> None:
    if not column.ragged and len(set(lengths.tolist())) > 1:
        raise UsageError(f"{column.name} has lists of different lengths.", "Give lists of one length.")
    most = limits.widths.get(column.name) if limits is not None and column.listed else None
    if most is not None and lengths.max() > most:
        raise UsageError(f"{column.name} holds {lengths.max():,} values; this server reads at most {most:,}.", "Give fewer.")


def _row(column: RawColumn, value: Given, place: int) -> Sequence[Any]:
    if not column.listed:
        return [value]
    if value is None:
        return []
    if isinstance(value, (str, bytes)) or not isinstance(value, (Sequence, np.ndarray)):
        raise UsageError(f"{column.name} of row {place} is {value!r}; expected a list.", f"Pass [{value!r}] for a single value.")
    return list(value)


def _value(column: RawColumn, value: Any, place: int) -> Any:
    kind = column.dtype
    if kind == "string":
        fits = isinstance(value, (str, np.str_))
    elif kind == "bool":
        fits = isinstance(value, (bool, np.bool_))
    elif isinstance(value, (bool, np.bool_)):
        fits = False
    elif column.is_float:
        fits = isinstance(value, (int, float, np.number))
    else:
        fits = isinstance(value, (int, np.integer))
        bounds = np.iinfo(kind)
        if fits and not bounds.min <= int(value) <= bounds.max:
            raise UsageError(
                f"{column.name} of row {place} is {value!r}; {kind} holds {bounds.min} to {bounds.max}.", "Give a number within."
            )
    if not fits:
        raise UsageError(
            f"{column.name} of row {place} is {value!r}; expected {_WORDS.get(kind, f'a whole number ({kind})')}.",
            "Pass None for a missing value." if column.nullable else "Give it in the type that the workflow was fitted on.",
        )
    return value


def _tensor(name: str, dtype: str, values: npt.NDArray[Any]) -> InferInput:
    if dtype == "string":
        return id_tensor(name, [[encoded(name, value) for value in row] for row in values.tolist()])
    return tensor(name, REQUEST_TYPES[dtype], values)


def _parsed(form: ModelForm, outputs: Outputs) -> Inferred:
    answers = {}
    for answer in form.answers:
        values = outputs[answer.name]
        if answer.dtype == "string":
            texts = [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values.ravel()]
            values = np.array([*texts, None], dtype=object)[:-1].reshape(values.shape)
        answers[answer.name] = values
    return Inferred(form.name, answers)
