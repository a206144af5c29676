"""Answers of the server, as a person likes to read them."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cartwheel.core.errors import UsageError
from serving.client.answers import CartPrediction, Metadata, Recommendations
from serving.client.requests import When
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
        raise UsageError(
            "It is not said which server to ask.", "Give --server host:port, or --run with the folder of a served run."
        )
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
        f"Note: {named} lies {days:,} {'day' if days == 1 else 'days'} {side} the end of the log ({metadata.as_of.date()}), and shoppers "
        f"are as they were then. --at {SNAPSHOT} asks as of the end of the log; a new export brings the state up to date."
    )


def show_recommendations(answer: Recommendations, console: Console, *, as_json: bool = False) -> None:
    """Print recommendations as a table, or as JSON."""
    if as_json:
        _print_json(answer)
        return
    table = Table("item", "score", "why")
    for item in answer.items:
        table.add_row(escape(str(item.item_id)), f"{item.score:.3f}", escape(item.sentence))
    console.print(table if answer.items else "Nothing is left to recommend: every candidate is excluded.")


def show_cart(answer: CartPrediction, console: Console, *, as_json: bool = False) -> None:
    """Print a cart prediction as tables, or as JSON."""
    if as_json:
        _print_json(answer)
        return
    table = Table("cart line", "chance of purchase")
    for line in answer.lines:
        table.add_row(escape(str(line.item_id)), _chance(line.probability))
    table.add_section()
    table.add_row("the cart (any line)", _chance(answer.probability))
    console.print(table)
    if answer.unavailable:
        console.print(answer.unavailable, markup=False, highlight=False)
    completions = Table("completes the cart", "score")
    for item in answer.completions:
        completions.add_row(escape(str(item.item_id)), f"{item.score:.3f}")
    console.print(completions)


def _chance(probability: float | None) -> str:
    return "not known" if probability is None else f"{probability:.1%}"


def _print_json(answer: Recommendations | CartPrediction) -> None:
    print(json.dumps(dataclasses.asdict(answer), ensure_ascii=False))
