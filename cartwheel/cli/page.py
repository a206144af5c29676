"""``cartwheel page``: ready-made lists for the pages of a shop."""

from __future__ import annotations

import json
from typing import Annotated, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cartwheel.cli.ask import AsJson, At, K, Recent, Served, Server, User
from cartwheel.cli.rules_options import InCart, RulesFile, Where, parse_rules


def page(
    placements: Annotated[
        list[str],
        typer.Argument(
            metavar="PLACEMENT...",
            help="for_you, similar, completes_the_cart, bought_together, buy_again, trending, on_sale or recently_viewed.",
        ),
    ],
    server: Server = None,
    run: Served = None,
    user: User = None,
    item: Annotated[
        Optional[str],  # noqa: UP045 - typer on 3.10
        typer.Option("--item", metavar="ITEM", help="The item for similar and bought_together."),
    ] = None,
    recent: Recent = None,
    where: Where = None,
    in_cart: InCart = None,
    rules_file: RulesFile = None,
    at: At = "now",
    k: K = 5,
    as_json: AsJson = False,
) -> None:
    """Request placements from a running server, without repeated items.

    Example: cartwheel page for_you trending bought_together --item lamp --run runs/shop --user anna
    """
    from google.protobuf.json_format import MessageToDict

    from cartwheel.cli.asking import find_server, microseconds_of
    from serving.client.shop import call

    rules = parse_rules(rules_file, where=where)
    told = call(
        find_server(server, run),
        "Page",
        sections=[{"placement": name, "item_id": item or "", "k": k} for name in placements],
        user_id=user or "",
        recent_items=recent or [],
        cart_items=in_cart or [],
        timestamp=microseconds_of(at),
        rules=None if rules is None else rules.model_dump(exclude_defaults=True),
    )
    if as_json:
        print(json.dumps(MessageToDict(told, preserving_proto_field_name=True), ensure_ascii=False))
        return
    console = Console()
    for section in told.sections:
        table = Table(section.placement, "why")
        for each in section.items:
            table.add_row(escape(each.item_id), escape(each.why))
        console.print(table)
        if section.fewer:
            console.print(section.fewer, markup=False, highlight=False, soft_wrap=True)
