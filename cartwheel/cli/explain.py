"""``cartwheel explain``: why an item is or is not recommended to a shopper."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from cartwheel.cli.ask import AsJson, At, K, Recent, Served, Server
from cartwheel.cli.rules_options import InCart, RulesFile, Where, parse_rules


def explain(
    user: Annotated[str, typer.Argument(metavar="USER", help='The shopper; "" for an anonymous one.')],
    item: Annotated[str, typer.Argument(metavar="ITEM", help="The item.")],
    server: Server = None,
    run: Served = None,
    recent: Recent = None,
    where: Where = None,
    in_cart: InCart = None,
    rules_file: RulesFile = None,
    at: At = "now",
    k: K = 10,
    as_json: AsJson = False,
) -> None:
    """Show which step or rule drops an item, and the smallest change that would include it.

    Example: cartwheel explain anna lamp --run runs/shop --where 'price < 20'
    """
    from google.protobuf.json_format import MessageToDict

    from cartwheel.cli.asking import find_server, microseconds_of
    from serving.client.shop import call

    rules = parse_rules(rules_file, where=where, cart_items=in_cart)
    told = call(
        find_server(server, run),
        "Explain",
        item_id=item,
        user_id=user,
        recent_items=recent or [],
        timestamp=microseconds_of(at),
        k=k,
        rules=None if rules is None else rules.model_dump(exclude_defaults=True),
    )
    if as_json:
        print(json.dumps(MessageToDict(told, preserving_proto_field_name=True), ensure_ascii=False))
        return
    console = Console()
    for line in (f"{told.outcome}: {told.why}", told.change):
        if line:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
