"""What ``cartwheel serve`` hands to the gateway that it starts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cartwheel.core.files import write_json
from serving.settings import ServeSettings

TRITON_SOCKET = "grpc:1"
"""Name of Triton's socket in its folder; Triton appends a colon and the number of its port."""

_PATHS = ("lanes", "control", "triton_metrics", "live")


@dataclass(frozen=True)
class Lane:
    """One version as ``cartwheel serve`` wants it served.

    Attributes:
        repository: its files.
        triton: gRPC target of the Triton that answers for it, ``unix:`` and a path that leads to it however often it is started again.
        share: of the shoppers, 0 to 1.
    """

    repository: Path
    triton: str
    share: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"repository": str(self.repository), "triton": self.triton, "share": self.share}

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Lane:
        """Return what :meth:`to_json` gave."""
        return cls(Path(content["repository"]), content["triton"], float(content["share"]))


@dataclass(frozen=True)
class Options:
    """Where the gateway listens, and what stands behind it.

    Attributes:
        lanes: JSON file of the versions to serve and their Tritons, a list of :class:`Lane`.
        control: Unix socket at which ``cartwheel serve`` says what else is to be served; see :mod:`serving.gateway.control`.
        triton_metrics: file that holds ``host:port`` of the metrics of the Triton that most requests get, which changes with each start.
        live: folder of what shoppers did since the export.
        health: ``host:port`` at which ``cartwheel serve`` tells whether Triton answers.
        address: numeric address to listen on.
        grpc_port: gRPC port.
        http_port: port of JSON over HTTP.
        metrics_port: port of metrics alone.
        settings: the section ``[serve]``.
        health_path: what is asked there; an empty answer with status 200 is one, as Triton gives it.
    """

    lanes: Path
    control: Path
    triton_metrics: Path
    live: Path
    health: str
    address: str
    grpc_port: int
    http_port: int
    metrics_port: int
    settings: ServeSettings
    health_path: str = "/health/ready"

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
