"""Answers of the server, as a person likes to read them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cartwheel.errors import UsageError
from serving.answers import CartPrediction, Recommendations
from serving.endpoint import Endpoint

ENDPOINT = "server.json"


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
    return Endpoint.read(run / ENDPOINT).grpc


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
    completions = Table("completes the cart", "score")
    for item in answer.completions:
        completions.add_row(escape(str(item.item_id)), f"{item.score:.3f}")
    console.print(completions)


def _chance(probability: float | None) -> str:
    return "not known: too few carts in the log to learn from" if probability is None else f"{probability:.1%}"


def _print_json(answer: Recommendations | CartPrediction) -> None:
    print(json.dumps(dataclasses.asdict(answer), ensure_ascii=False))
