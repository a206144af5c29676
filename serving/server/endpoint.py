"""The addresses of a running server: written by the server, read by the command line."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from cartwheel.core.errors import ServerError
from cartwheel.core.files import write_json

ENDPOINT: Final = "server.json"
"""Where a server tells its addresses, in the folder that it keeps its state in."""


@dataclass(frozen=True)
class Endpoint:
    """The addresses of one running server.

    Attributes:
        grpc: ``host:port`` that clients ask.
        http: ``host:port`` of health and metadata.
        metrics: ``host:port`` of Prometheus metrics, at ``/metrics``.
        pid: process that runs the server.
        tls: whether gRPC speaks TLS.
        health: ``host:port`` that answers ``/health/ready`` and ``/health/live``; empty where nobody watches over the server.
        control: what :func:`serving.server.control.order` reaches it by; empty where it takes no orders.
    """

    grpc: str
    http: str
    metrics: str
    pid: int
    tls: bool = False
    health: str = ""
    control: str = ""

    def write(self, path: Path) -> None:
        """Write the addresses as JSON, atomically."""
        write_json(path, asdict(self))

    def is_told_in(self, path: Path) -> bool:
        """Whether ``path`` holds these addresses, and not those of a server started beside this one."""
        try:
            return bool(json.loads(path.read_text(encoding="utf-8")) == asdict(self))
        except (OSError, ValueError):
            return False

    @classmethod
    def read(cls, path: Path, run: Path | None = None) -> Endpoint:
        """Read the addresses of the server that wrote ``path`` and is still running.

        Args:
            path: the file.
            run: the run that it serves, where that is not the file's folder.

        Raises:
            ServerError: if there is no such file, it is not what :meth:`write` wrote, or its server is gone.
        """
        fix = f"Start the server with `cartwheel serve {run or path.parent}`."
        try:
            found = cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise ServerError(f"No server is running here: there is no {path}.", fix) from None
        except (OSError, ValueError, TypeError) as error:
            raise ServerError(f"{path} does not hold the addresses of a server ({error}).", fix) from error
        if not _is_alive(found.pid):
            raise ServerError(f"The server that wrote {path} (process {found.pid}) is no longer running.", fix)
        return found


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
