"""What ``cartwheel serve`` hands to the gateway that it starts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cartwheel.core.files import write_json
from serving.settings import ServeSettings

TRITON_SOCKET = "grpc:1"
"""Name of Triton's socket in its folder; Triton appends a colon and the number of its port."""

_PATHS = ("repository", "triton_metrics", "live")


@dataclass(frozen=True)
class Options:
    """Where the gateway listens, and what stands behind it.

    Attributes:
        repository: the exported repository that Triton serves.
        triton: gRPC target of Triton, ``unix:`` and a path that leads to it however often Triton is started again.
        triton_metrics: file that holds ``host:port`` of Triton's own metrics, which changes with each start.
        live: folder of what shoppers did since the export.
        health: ``host:port`` at which ``cartwheel serve`` tells whether Triton answers.
        address: numeric address to listen on.
        grpc_port: gRPC port.
        http_port: port of JSON over HTTP.
        metrics_port: port of metrics alone.
        settings: the section ``[serve]``.
    """

    repository: Path
    triton: str
    triton_metrics: Path
    live: Path
    health: str
    address: str
    grpc_port: int
    http_port: int
    metrics_port: int
    settings: ServeSettings

    def write(self, path: Path) -> None:
        """Write the options as JSON."""
        paths = {name: str(getattr(self, name)) for name in _PATHS}
        write_json(path, {**self.__dict__, **paths, "settings": self.settings.model_dump(mode="json")})

    @classmethod
    def read(cls, path: Path) -> Options:
        """Read what :meth:`write` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        paths = {name: Path(content[name]) for name in _PATHS}
        return cls(**{**content, **paths, "settings": ServeSettings.model_validate(content["settings"])})
