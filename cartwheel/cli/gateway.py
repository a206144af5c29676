"""``cartwheel gateway``: only the gateway, in front of a separately managed Triton."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer

from cartwheel.core.errors import UsageError
from cartwheel.core.files import write_text

_HEALTH: Final = "/v2/health/ready"


def gateway(
    path: Annotated[Path, typer.Argument(help="The repository that Triton serves, or a configuration file with [serve].")],
    triton: Annotated[str, typer.Option(help="host:port of Triton's gRPC.")] = "127.0.0.1:8001",
    triton_http: Annotated[str, typer.Option(help="host:port of Triton's HTTP, for readiness.")] = "127.0.0.1:8000",
    triton_metrics: Annotated[str, typer.Option(help="host:port of Triton's metrics.")] = "127.0.0.1:8002",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    grpc_port: Annotated[int, typer.Option(help="gRPC port.", min=1, max=65535)] = 8101,
    http_port: Annotated[int, typer.Option(help="Port for JSON requests, health and metrics.", min=1, max=65535)] = 8100,
    metrics_port: Annotated[int, typer.Option(help="Port of Prometheus metrics.", min=1, max=65535)] = 8102,
) -> None:
    """Run only the gateway, in front of a separately managed Triton, until SIGTERM: for containers and Kubernetes.

    One version is served, that of the repository; `cartwheel deploy` needs `cartwheel serve`. Nothing but the gateway may reach Triton.
    """
    from cartwheel.cli.serve import repository_of
    from serving.gateway.options import Lane, Options
    from serving.gateway.process import run
    from serving.server.front import check_callers
    from serving.server.state_folder import live_folder
    from serving.settings import ServeSettings

    settings, served = ServeSettings(), path
    if path.suffix == ".toml":
        from cartwheel.config import load_settings

        configured = load_settings(path)
        settings, served = configured.serve, configured.run
    address = _address(host)
    check_callers(settings, address)
    repository = repository_of(served).resolve()
    with tempfile.TemporaryDirectory(prefix="cartwheel-gateway-") as name:
        folder = Path(name)
        write_text(folder / "lanes.json", json.dumps([Lane(repository, f"dns:///{triton}", 1.0).to_json()]))
        write_text(folder / "metrics", triton_metrics)
        options = Options(
            lanes=folder / "lanes.json",
            control=folder / "control",
            triton_metrics=folder / "metrics",
            live=live_folder(repository, settings),
            health=triton_http,
            address=address,
            grpc_port=grpc_port,
            http_port=http_port,
            metrics_port=metrics_port,
            settings=settings,
            health_path=_HEALTH,
        )
        asyncio.run(run(options))


def _address(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        try:
            return socket.gethostbyname(host)
        except OSError as error:
            raise UsageError(
                f"--host {host} is not an address ({error}).", "Give 0.0.0.0, or an address of this machine."
            ) from None
