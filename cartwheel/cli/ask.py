"""``cartwheel recommend``, ``cartwheel cart`` and ``cartwheel predict``: ask a running server from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from cartwheel.cli.rules_options import InCart, RulesFile, Where, parse_rules

Server = Annotated[Optional[str], typer.Option("--server", metavar="HOST:PORT", help="The server's gRPC address.")]  # noqa: UP045 - typer on 3.10
Served = Annotated[Optional[Path], typer.Option("--run", help="Run directory whose running server is asked.")]  # noqa: UP045
User = Annotated[Optional[str], typer.Option("--user", metavar="ID", help="The shopper's id; left out for an anonymous one.")]  # noqa: UP045
Recent = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--recent", metavar="ITEM", help="An item that the shopper just looked at; repeat it, the latest last."),
]
At = Annotated[
    str,
    typer.Option(
        "--at",
        metavar="INSTANT",
        help="When it is asked: now, snapshot (the instant of the exported state), or an ISO 8601 instant, UTC unless it has an offset.",
    ),
]
K = Annotated[int, typer.Option("-k", help="How many items to answer.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]


def recommend(
    server: Server = None,
    run: Served = None,
    user: User = None,
    recent: Recent = None,
    exclude: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--exclude", metavar="ITEM", help="An item to leave out; repeat it for more."),
    ] = None,
    where: Where = None,
    in_cart: InCart = None,
    rules_file: RulesFile = None,
    at: At = "now",
    k: K = 10,
    as_json: AsJson = False,
) -> None:
    """Ask a running server what to recommend.

    Ids are taken exactly as they are written, blanks and commas included; quote them for the shell where it needs that.

    Example: cartwheel recommend --run runs/shop --user anna --recent "Apples, red" --recent lamp -k 5
    """
    from cartwheel.cli.asking import age_of_state, find_server, parse_at, show_recommendations
    from serving.client.client import Client

    when, rules = parse_at(at), parse_rules(rules_file, where=where, cart_items=in_cart)
    with Client(find_server(server, run)) as client:
        answer = client.recommend(user, recent_items=recent or (), exclude=exclude or (), k=k, timestamp=when, rules=rules)
        note = age_of_state(when, client.metadata())
    show_recommendations(answer, Console(), as_json=as_json)
    _show_note(note)


def cart(
    items: Annotated[list[str], typer.Argument(metavar="ITEM", help="The items in the cart, each an argument of its own.")],
    server: Server = None,
    run: Served = None,
    user: User = None,
    recent: Recent = None,
    at: At = "now",
    k: K = 5,
    as_json: AsJson = False,
) -> None:
    """Ask a running server whether a cart will be bought, and what completes it.

    Ids are taken exactly as they are written, blanks and commas included; quote them for the shell where it needs that.

    Example: cartwheel cart lamp "Apples, red" --run runs/shop --user anna
    """
    from cartwheel.cli.asking import age_of_state, find_server, parse_at, show_cart
    from serving.client.client import Client

    when = parse_at(at)
    with Client(find_server(server, run)) as client:
        answer = client.cart(items, user_id=user, recent_items=recent or (), k=k, timestamp=when)
        note = age_of_state(when, client.metadata())
    show_cart(answer, Console(), as_json=as_json)
    _show_note(note)


def predict(
    task: Annotated[str, typer.Argument(help="The declared task.")],
    entities: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[ENTITY]...", help="Ids of users or items; left out where columns alone are given."),
    ] = None,
    server: Server = None,
    run: Served = None,
    given: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--set", metavar="COLUMN=VALUE", help="A column's value; repeat it for more columns, or more values of a list."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a running server what a declared task predicts, how to decide, and why.

    What --set gives replaces what the server has stored; nothing after the = stands for a value that is not known.

    Example: cartwheel predict churn anna bert --run runs/shop --set user_events=3
    """
    from cartwheel.cli.asking import find_server, parse_columns, show_predictions
    from serving.client.client import Client

    with Client(find_server(server, run)) as client:
        form = client.task(task)
        columns = parse_columns(given or (), form, len(entities or ()) or 1)
        answers = client.predict_many(task, entities or None, columns)
    show_predictions(answers, form, Console(), as_json=as_json)


def _show_note(note: str) -> None:
    if note:
        Console(stderr=True).print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
