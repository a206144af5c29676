"""``cartwheel replay``: sends recorded requests again and compares the answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from cartwheel.core.errors import ParityError, UsageError

_TOLERANCE = 1e-6


def replay(
    recorded: Annotated[
        Path,
        typer.Argument(metavar="LOG", help="A file written by the gateway (serve.record_share), or its run."),
    ],
    server: Annotated[Optional[str], typer.Option("--server", metavar="HOST:PORT", help="The server's gRPC address.")] = None,  # noqa: UP045
    run: Annotated[Optional[Path], typer.Option("--run", help="Run directory of the running server to query.")] = None,  # noqa: UP045
    tolerance: Annotated[
        float, typer.Option(help="Tolerance for a number x, relative to max(1, |x|); ids must be equal.", min=0.0)
    ] = _TOLERANCE,
    key: Annotated[
        str, typer.Option(envvar="CARTWHEEL_KEY", help="API key with the role operate, if the gateway requires keys.")
    ] = "",
    any_version: Annotated[bool, typer.Option(help="Compare even if another version answers now.")] = False,
) -> None:
    """Send recorded requests again and compare ids and scores, after a restart or on another machine."""
    from cartwheel.cli.asking import find_server
    from serving.gateway.recorder import FILE
    from serving.replay.replay import replay as ask_again
    from serving.server.state_folder import state_folder

    if recorded.is_dir():
        recorded, run = state_folder(recorded) / "live" / FILE, run or recorded
    done = ask_again(recorded, find_server(server, run if server is None else None), tolerance, any_version=any_version, key=key)
    others = ", ".join(f"{count:,} by {version}" for version, count in done.others.items())
    if others:
        print(f"Skipped, because another version answers now: {others}; --any-version compares them.", file=sys.stderr)
    if not done.asked:
        raise UsageError(f"{recorded} has no request whose version is served.", "Deploy that version, or give --any-version.")
    if done.differ:
        raise ParityError(
            f"{done.differ:,} of {done.asked:,} requests are answered differently now; the first: {'; '.join(done.first)}.",
            "Check whether the machine, its libraries or the exported files differ.",
        )
    print(f"{done.asked:,} requests sent again: equal ids, largest difference of a number {done.largest:.1e}.")
