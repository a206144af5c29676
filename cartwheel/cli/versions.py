"""``cartwheel versions``, ``cartwheel deploy`` and ``cartwheel rollback``: the exported versions and the one that serves."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from rich.console import Console
from rich.table import Table

from cartwheel.core.errors import ServerError, UsageError
from cartwheel.core.run_layout import RunLayout

_DAY = len("2025-03-07")
Served = Annotated[Path, typer.Argument(help="A run directory, a repository, or a configuration file, as for `cartwheel serve`.")]
Named = Annotated[Optional[str], typer.Argument(help="The version, or a prefix of its name.")]  # noqa: UP045 - typer on 3.10


def versions(run: Served) -> None:
    """List the versions of a run, latest first, with their shares of the shoppers."""
    store, _ = _opened(run)
    shares = _shares(run)
    table = Table("version", "filed", "events until", "answers")
    active = store.history[-1:]
    for version in store.all:
        share = shares.get(version.name)
        told = f"{share:.0%} of the shoppers" if share is not None else "at the next start" if [version.name] == active else ""
        table.add_row(version.name, f"{version.filed:%Y-%m-%d %H:%M:%S}", version.as_of[:_DAY], told)
    Console().print(table if store.all else "There are no versions yet; `cartwheel export` creates one.")


def deploy(
    run: Served,
    version: Named = None,
    share: Annotated[
        Optional[list[float]],  # noqa: UP045
        typer.Option(
            help="Share of the shoppers that gets the version first; repeat with growing shares [default: deploy.shares]."
        ),
    ] = None,
    step_seconds: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Duration of each share [default: deploy.step_seconds]."),
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="Another run, whose export is added to this run's versions and deployed.")
    ] = None,
    at_once: Annotated[bool, typer.Option("--at-once", help="Switch all shoppers as soon as the version is checked.")] = False,
) -> None:
    """Deploy a version, by default the newest, while the old one serves; it is rolled back automatically if it is worse."""
    from cartwheel.cli.serve import repository_of

    store, settings = _opened(run)
    if source is not None:
        if version is not None:
            raise UsageError("Both a version and --from were given.", "Give one of them.")
        version = store.add(repository_of(source)).name
    given = {"shares": [] if at_once else share or None, "step_seconds": step_seconds}
    wanted = {**settings, **{name: value for name, value in given.items() if value is not None}}
    done = _order(run, {"do": "deploy", "version": version, "settings": wanted})
    print(f"The version {done['version']} is served; `cartwheel rollback {run}` goes back to {done['before']}.")


def rollback(run: Served, version: Named = None) -> None:
    """Roll back to the previous version, or to a named one, immediately; this cancels a running deployment."""
    done = _order(run, {"do": "rollback", "version": version})
    if done.get("called_off"):
        print(f"The deployment of {done['version']} is cancelled; the previous version serves all shoppers again.")
    else:
        print(f"The version {done['version']} is served again, in the place of {done['before']}.")


def _opened(run: Path) -> tuple[Any, dict[str, Any]]:
    """Return the version store of a run, and the section ``[deploy]`` of its configuration."""
    from serving.settings import DeploySettings
    from serving.versions.store import VersionStore

    settings = DeploySettings()
    if run.suffix == ".toml":
        from cartwheel.config import load_settings

        settings = load_settings(run).deploy
    return VersionStore(_home(run)), settings.model_dump(mode="json")


def _home(run: Path) -> Path:
    from cartwheel.cli.serve import repository_of
    from serving.server.state_folder import home_of

    if run.suffix == ".toml":
        from cartwheel.config import load_settings

        run = load_settings(run).run
    return run if RunLayout(run).versions.is_dir() else home_of(repository_of(run))


def _control(run: Path) -> str:
    from serving.server.endpoint import ENDPOINT, Endpoint
    from serving.server.state_folder import state_folder

    return Endpoint.read(state_folder(_home(run)) / ENDPOINT, run).control


def _order(run: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    from serving.server.control import order

    name = _control(run)
    if not name:
        raise UsageError(f"The server of {run} does not accept deployments.", "Restart it with this version of Cartwheel.")
    return order(name, content, lambda sentence: print(sentence, file=sys.stderr, flush=True))


def _shares(run: Path) -> dict[str, float]:
    """Return version -> its share of the shoppers; none where no server of the run takes orders."""
    from serving.server.control import order

    try:
        told = order(_control(run), {"do": "tell"})["versions"]
    except (ServerError, UsageError):
        return {}
    return {name: float(counts["share"]) for name, counts in told.items()}
