"""Formats answers of the server for the terminal."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cartwheel.core.errors import UsageError
from serving.client.answers import CartPrediction, Metadata, Recommendations
from serving.client.predictions import Prediction, Value
from serving.client.requests import When
from serving.contract.tasks import TaskColumn, TaskForm
from serving.server.endpoint import ENDPOINT, Endpoint
from serving.server.state_folder import state_folder

SNAPSHOT: Final = "snapshot"
_NOW: Final = "now"
_FRESH: Final = timedelta(days=1)
"""How old the exported state may be before an answer mentions it."""


def find_server(server: str | None, run: Path | None) -> str:
    """Return the address to ask.

    Args:
        server: ``host:port``, where the user gave one.
        run: a run directory whose server is running, where the user gave one.

    Raises:
        UsageError: if neither is given.
        ServerError: if the run has no running server.
    """
    if server is not None:
        return server
    if run is None:
        raise UsageError("No server is given.", "Give --server host:port, or --run with the folder of a served run.")
    return Endpoint.read(state_folder(run) / ENDPOINT, run).grpc


def parse_at(text: str) -> When:
    """Return the instant that ``--at`` names, as the client takes it: a datetime in UTC, None for now, or ``"snapshot"``.

    Raises:
        UsageError: if it is none of these.
    """
    if text == _NOW:
        return None
    if text == SNAPSHOT:
        return SNAPSHOT
    try:
        instant = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)  # Python 3.10 reads no Z
        return (instant if instant.tzinfo else instant.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise UsageError(
            f"--at is {text!r}; expected {_NOW!r}, {SNAPSHOT!r} or an ISO 8601 instant.",
            "Write for example --at 2025-03-07T18:00:00, in UTC, or --at 2025-03-07T18:00:00+01:00.",
        ) from None


def microseconds_of(text: str) -> int | None:
    """Return the instant that ``--at`` names as the typed service takes it: Unix microseconds, 0 for the snapshot, None for now.

    Raises:
        UsageError: as :func:`parse_at`.
    """
    when = parse_at(text)
    return round(when.timestamp() * 1e6) if isinstance(when, datetime) else 0 if when else None


def age_of_state(when: When, metadata: Metadata) -> str:
    """Return a sentence where the question was asked for an instant far from the end of the log; empty where it was not.

    Args:
        when: as :func:`parse_at` returns it.
        metadata: of the server that was asked.
    """
    if when == SNAPSHOT or metadata.as_of is None:
        return ""
    asked = when or datetime.now(timezone.utc)
    apart = asked - metadata.as_of
    if abs(apart) <= _FRESH:
        return ""
    named = '"now"' if when is None else asked.isoformat()
    side = "after" if apart > timedelta(0) else "before"
    days = round(abs(apart) / timedelta(days=1))
    return (
        f"Note: {named} is {days:,} {'day' if days == 1 else 'days'} {side} the end of the log ({metadata.as_of.date()}), and the state of "
        f"shoppers is from then. Use --at {SNAPSHOT} for the end of the log, or export again to update the state."
    )


def show_recommendations(answer: Recommendations, console: Console, *, as_json: bool = False) -> None:
    """Print recommendations as a table, or as JSON."""
    if as_json:
        _print_json(answer)
        return
    table = Table("item", "score", "why")
    for item in answer.items:
        table.add_row(escape(str(item.item_id)), f"{item.score:.3f}", escape(item.sentence))
    console.print(table if answer.items else "No recommendations: every candidate is excluded.")
    if answer.fewer:
        console.print(answer.fewer, markup=False, highlight=False, soft_wrap=True)


def show_cart(answer: CartPrediction, console: Console, *, as_json: bool = False) -> None:
    """Print a cart prediction as tables, or as JSON."""
    if as_json:
        _print_json(answer)
        return
    table = Table("cart line", "purchase probability")
    for line in answer.lines:
        table.add_row(escape(str(line.item_id)), _probability(line.probability))
    table.add_section()
    table.add_row("the cart (any line)", _probability(answer.probability))
    console.print(table)
    if answer.unavailable:
        console.print(answer.unavailable, markup=False, highlight=False)
    completions = Table("completes the cart", "score")
    for item in answer.completions:
        completions.add_row(escape(str(item.item_id)), f"{item.score:.3f}")
    console.print(completions)


def _probability(probability: float | None) -> str:
    return "not known" if probability is None else f"{probability:.1%}"


def parse_columns(given: Sequence[str], form: TaskForm, rows: int) -> dict[str, list[Value]]:
    """Return the columns that ``--set`` gives, the same for every row.

    Args:
        given: ``column=value`` each; a list's column stands several times.
        form: of the task.
        rows: how many entities are asked about.

    Raises:
        UsageError: if a text is no such pair, the task has no such column, or a number cannot be read.
    """
    declared = {column.name: column for column in form.columns}
    values: dict[str, list[str]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set is {text!r}; expected column=value.", "Write for example --set user_events=3.")
        if name not in declared:
            raise UsageError(f"{form.name} has no column {name!r}.", f"Its columns are {', '.join(declared)}.")
        values.setdefault(name, []).append(value)
    return {name: [_column_value(declared[name], texts)] * rows for name, texts in values.items()}


def _column_value(column: TaskColumn, texts: Sequence[str]) -> Value:
    if not column.listed and len(texts) > 1:
        raise UsageError(f"--set gives {column.name} {len(texts)} times, which has one value.", "Give it once.")
    if column.dtype == "string":
        return [text for text in texts if text] if column.listed else texts[0]
    numbers = [_number(column, text) for text in texts]
    return numbers if column.listed else numbers[0]  # type: ignore[return-value]


def _number(column: TaskColumn, text: str) -> float | int | None:
    if not text:
        return None
    try:
        return int(text) if column.dtype == "int64" else float(text)
    except ValueError:
        raise UsageError(
            f"--set {column.name}={text}: expected a {'whole ' if column.dtype == 'int64' else ''}number.",
            "Write nothing after the = for a missing value.",
        ) from None


def show_predictions(answers: Sequence[Prediction], form: TaskForm, console: Console, *, as_json: bool = False) -> None:
    """Print predictions as a table, or as JSON: one object for one answer, else a list."""
    if as_json:
        contents = [dataclasses.asdict(answer) for answer in answers]
        print(json.dumps(contents[0] if len(contents) == 1 else contents, ensure_ascii=False))
        return
    of_probability, decides = form.answer == "probability", form.threshold is not None
    ranged = form.coverage is not None
    table = Table(form.entity, form.answer, *(["decision"] if decides else ["interval", "order"] if ranged else []), "reasons")
    for answer in answers:
        name = "the given columns" if answer.entity is None else str(answer.entity)
        name += " (not known)" if answer.known is False and answer.entity is not None else ""
        decision = [("yes" if answer.decision else "no")] if decides else []
        if ranged:
            decision = [f"{answer.low:.3g} to {answer.high:.3g}", f"{answer.order:.3g}"]
        reasons = "\n".join(f"{reason.contribution:+.2f} {reason.title}" for reason in answer.reasons)
        table.add_row(escape(name), _value(answer), *decision, escape(reasons))
    console.print(table)
    base = f"{form.base_rate:.1%} of the training examples" if of_probability else f"{form.base_rate:.3g} on average in training"
    unit = "log odds" if of_probability else f"units of the {form.answer}"
    notes = [f"Base rate: {base}.", f"Reasons in {unit}, compared with a typical value of the column."]
    if form.coverage is not None:
        notes.append(
            f"The interval has a target coverage of {form.coverage:.0%}; order is the order quantity at the task's costs."
        )
    if form.answer == "effect":
        notes.insert(1, f"Treating pays if the effect is above {form.threshold:.3g}.")
    if of_probability:
        notes.insert(1, f"Positive from {form.threshold:.1%} on, at the task's costs.")
        notes.append("The probability is calibrated." if form.calibrated else "Calibration was not needed or not possible.")
    console.print(" ".join(notes), markup=False, highlight=False)


def _value(answer: Prediction) -> str:
    if answer.probability is not None:
        return f"{answer.probability:.1%}"
    return f"{answer.effect:+.3g}" if answer.effect is not None else f"{answer.quantity:.3g}"


def _print_json(answer: Recommendations | CartPrediction) -> None:
    print(json.dumps(dataclasses.asdict(answer), ensure_ascii=False))
