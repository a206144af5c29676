"""``cartwheel recommend``, ``cartwheel cart`` and ``cartwheel predict``: ask a running server from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.console import Console

from cartwheel.cli.rules_options import InCart, RulesFile, Where, parse_rules

Server = Annotated[Optional[str], typer.Option("--server", metavar="HOST:PORT", help="The server's gRPC address.")]  # noqa: UP045 - typer on 3.10
Served = Annotated[Optional[Path], typer.Option("--run", help="Run directory of the running server to query.")]  # noqa: UP045
User = Annotated[Optional[str], typer.Option("--user", metavar="ID", help="The shopper's id; omit it for an anonymous one.")]  # noqa: UP045
Recent = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--recent", metavar="ITEM", help="A recently viewed item; repeat the option, latest last."),
]
At = Annotated[
    str,
    typer.Option(
        "--at",
        metavar="INSTANT",
        help="Time of the request: now, snapshot (the time of the exported state), or an ISO 8601 time, UTC unless it has an offset.",
    ),
]
K = Annotated[int, typer.Option("-k", help="Number of items to return.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]


def recommend(
    server: Server = None,
    run: Served = None,
    user: User = None,
    recent: Recent = None,
    exclude: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--exclude", metavar="ITEM", help="An item to leave out; may be repeated."),
    ] = None,
    where: Where = None,
    in_cart: InCart = None,
    rules_file: RulesFile = None,
    at: At = "now",
    k: K = 10,
    as_json: AsJson = False,
) -> None:
    """Request recommendations from a running server.

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
    items: Annotated[list[str], typer.Argument(metavar="ITEM", help="The items in the cart, one argument each.")],
    server: Server = None,
    run: Served = None,
    user: User = None,
    recent: Recent = None,
    at: At = "now",
    k: K = 5,
    as_json: AsJson = False,
) -> None:
    """Request the purchase probability of a cart and its lines, and items that complete it.

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
        typer.Argument(metavar="[ENTITY]...", help="Ids of users or items; omit them if only columns are given."),
    ] = None,
    server: Server = None,
    run: Served = None,
    given: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--set",
            metavar="COLUMN=VALUE",
            help="Value of a column; repeat the option for more columns, or more values of a list.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Request the prediction, decision and reasons of a declared task.

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
