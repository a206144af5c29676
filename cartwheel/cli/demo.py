"""``cartwheel demo``: all stages on a simulated shop, from no data to answers over gRPC."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Final

from rich.console import Console

from cartwheel.cli.asking import show_cart, show_predictions, show_recommendations
from cartwheel.config import RunSettings, parse_settings
from cartwheel.core.frames import read_frame, scan_frame
from cartwheel.core.run_layout import RunLayout
from cartwheel.pipeline.stages import COMMANDS, run_stages
from cartwheel.pipeline.work import show_evaluation

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

STRANGER: Final = "nobody-has-seen-me"


def demo_settings(run: Path, shop: Path | None = None) -> RunSettings:
    """Return the settings of the demo, for the run directory ``run``; ``shop`` as ``run_demo`` takes it."""
    file = resources.files("cartwheel").joinpath("demo.toml") if shop is None else shop
    return parse_settings({**tomllib.loads(file.read_text(encoding="utf-8")), "run": str(run)}, "demo.toml", run.parent)


def run_demo(run: Path, console: Console, shop: Path | None = None) -> None:
    """Simulate, prepare, train, evaluate, export, serve and ask.

    Args:
        run: the run directory; what is done in it already is skipped.
        console: where to show it.
        shop: the configuration of another simulated shop, which names no run directory; None is the ``demo.toml`` of the package.

    Raises:
        CartwheelError: whatever goes wrong.
    """
    started = time.monotonic()
    settings = demo_settings(run.resolve(), shop)
    run_stages(settings, COMMANDS, Console(stderr=True))
    console.rule("how good it is, on later events that no model has seen", align="left")
    show_evaluation(settings.run, console, whole=False)
    console.print("All metrics with their protocols: [bold]evaluation/metrics.json[/bold] in the run directory.")
    _serve_and_ask(settings, console)
    console.rule(align="left", title=f"done in {time.monotonic() - started:.0f} s")
    console.print(
        f"To send more requests: `cartwheel serve {run}`, and in another terminal `cartwheel recommend --run {run} --user u00042`"
    )


def _serve_and_ask(settings: RunSettings, console: Console) -> None:
    from serving.client.client import Client
    from serving.server.server import EmbeddedServer

    shopper, recent, cart = _questions(settings.run)
    with EmbeddedServer(RunLayout(settings.run).repository, settings.serve) as server, Client(server.grpc_address) as client:
        console.rule(f"asked over gRPC at {server.grpc_address}", align="left")
        console.print(f"[bold]a known shopper[/bold], {shopper}")
        show_recommendations(client.recommend(shopper, k=5), console)
        console.print(f"[bold]a shopper never seen before[/bold] who looked at {' and '.join(recent)}")
        show_recommendations(client.recommend(STRANGER, recent_items=recent, k=5), console)
        console.print("[bold]an anonymous visitor[/bold] without any history")
        show_recommendations(client.recommend(k=5), console)
        console.print(f"[bold]a cart[/bold] of {shopper} with {', '.join(cart)}")
        show_cart(client.cart(cart, user_id=shopper, k=3), console)
        for task in settings.tasks:
            console.print(f"[bold]the shop's own question[/bold] {task}, of {shopper}")
            show_predictions([client.predict(task, shopper)], client.task(task), console)


def _questions(run: Path) -> tuple[str, Sequence[str], Sequence[str]]:
    """Choose who asks what: the shopper with the latest cart, two items of one category, and that cart."""
    import polars as pl

    events = scan_frame(RunLayout(run).events)
    carts = events.filter(pl.col("event_type") == "cart").sort("timestamp", "item_id").collect()
    shopper = str(carts["user_id"][-1])
    lines = carts.filter(pl.col("session_id") == carts["session_id"][-1])["item_id"].unique(maintain_order=True).to_list()
    items = read_frame(RunLayout(run).snapshot("items"))
    category = items.sort("item_recent_events", "item_id", descending=True)["item_category"][0]
    recent = (
        items.filter(pl.col("item_category") == category).sort("item_events", "item_id", descending=True)["item_id"][:2].to_list()
    )
    return shopper, recent, lines
