"""``cartwheel serve``: needs the extra ``serve`` alone, and no configuration where it is given a run or a repository."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from rich.console import Console

from cartwheel.core.errors import ConfigError, RunError
from cartwheel.core.run_layout import RunLayout
from serving.contract.version import METADATA
from serving.server.endpoint import ENDPOINT, Endpoint
from serving.server.server import EmbeddedServer
from serving.server.state_folder import home_of, log_file, state_folder
from serving.settings import ServeSettings
from serving.versions.store import VersionStore

_DEFAULT_GRPC_PORT: Final = 8001


def repository_of(path: Path) -> Path:
    """Return the model repository that ``path`` is or holds.

    Raises:
        RunError: if there is none.
    """
    for candidate in (RunLayout(path).repository, path):
        if (candidate / METADATA).is_file():
            return candidate
    raise RunError(
        f"There is no exported repository in {path}.", "Give a run directory after `cartwheel export`, or the repository itself."
    )


def _to_serve(path: Path) -> tuple[Path, list[str]]:
    """Return the repository to serve, and what a person should know of it: a run's active version, or the repository that is named."""
    repository = repository_of(path) if (path / METADATA).is_file() or not RunLayout(path).versions.is_dir() else None
    return (repository, []) if repository is not None else VersionStore(path).to_serve()


def serve_run(path: Path, options: Mapping[str, str | int], console: Console) -> None:
    """Serve until the process is told to stop; the address is written to ``server.json`` beside the repository.

    Where that folder is read-only, the address and the log lie in the folder that :func:`serving.server.state_folder.state_folder` names.

    Args:
        path: a run directory, a repository, or a configuration file, whose section ``serve`` then counts.
        options: values that override the section's.
        console: where to say that the server is ready.

    Raises:
        ConfigError: if an option is not accepted.
        RunError: if there is no repository.
        ServerError: if the server cannot be started, or breaks.
    """
    configured = None
    if path.suffix == ".toml":
        from cartwheel.config import load_settings

        configured = load_settings(path)
    section = configured.serve if configured else ServeSettings(grpc_port=_DEFAULT_GRPC_PORT)
    try:
        settings = ServeSettings.model_validate({**section.model_dump(), **options})
    except ValidationError as error:
        detail = error.errors()[0]
        option = str(detail["loc"][0]).replace("_", "-")
        raise ConfigError(f"--{option} {detail['input']}: {detail['msg']}.", "See `cartwheel serve --help`.") from None
    repository, notes = _to_serve(configured.run if configured else path)
    for note in notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    folder = state_folder(home_of(repository))
    endpoint = folder / ENDPOINT
    told: list[Endpoint] = []

    def say_ready(address: Endpoint) -> None:
        address.write(endpoint)
        told.append(address)
        console.print(
            f"ready: gRPC {address.grpc}, HTTP {address.http}, health http://{address.health}/health/ready;"
            " stop with Ctrl-C or SIGTERM",
            highlight=False,
            soft_wrap=True,
        )

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    try:
        logs = {"log": log_file(folder), "gateway_log": log_file(folder, "gateway")}
        EmbeddedServer(repository, settings, **logs, say=say).serve_forever(say_ready)
    finally:
        if told and told[0].is_told_in(endpoint):
            endpoint.unlink()
