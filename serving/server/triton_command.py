"""How Triton is started: its command line.

Start-up is kept short: model configurations are complete, so Triton's auto-completion, which starts every Python model a second
time, is off; so are the memory pools and metrics of GPUs, which the embedded binary does not use.

HTTP and metrics answer without TLS and so give health, metadata and metrics alone; inference is gRPC's. Triton's shared-memory,
model-repository, trace and log protocols, which let a caller reach into the server, are closed on both.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

from cartwheel.core.errors import UsageError
from serving.gateway.options import TRITON_SOCKET
from serving.server import private_exec
from serving.server.model_folders import staged_repository
from serving.server.ports import HeldPorts
from serving.server.triton_binary import TritonBinary
from serving.settings import ServeSettings

_CLOSED_GRPC = "shared-memory,model-repository,trace,logging"
_CLOSED_HTTP = f"inference,statistics,{_CLOSED_GRPC}"
# Triton opens these protocols to requests that bear a header of this name and value. No request can: a name with a line break in it
# cannot be sent, and Triton's gRPC refuses any name but one of small letters, digits, '-', '_' and '.'.
_CLOSED_TO_ALL = "closed\nto all=0"


def check_tls_files(settings: ServeSettings) -> None:
    """Check that the TLS files of the settings are there.

    Raises:
        UsageError: if one is missing.
    """
    for option in ("tls_certificate", "tls_key", "tls_client_roots", "tls_probe_certificate", "tls_probe_key"):
        path: Path | None = getattr(settings, option)
        if path is not None and not path.is_file():
            raise UsageError(f"serve.{option} is {path}, which is not a file.", "Name a PEM file.")


def triton_command(
    binary: TritonBinary,
    repository: Path,
    settings: ServeSettings,
    identity: str,
    ports: HeldPorts,
    folder: Path,
    shared_memory: str,
    *,
    private: bool = False,
) -> list[str]:
    """Return the command that serves ``repository``.

    Args:
        binary: which Triton.
        repository: the models.
        settings: limits and TLS.
        identity: the name that the server goes by.
        ports: where it listens.
        folder: folder of this server, to be removed with it.
        shared_memory: prefix of the names of its regions.
        private: whether gRPC listens at a Unix socket in ``folder`` rather than at its port.
    """
    is_ipv6 = ":" in ports.address
    options = {
        "id": identity,
        "model-repository": str(staged_repository(repository, folder, settings)),
        "backend-directory": str(binary.lay_out(folder)),
        "model-load-thread-count": str(max(4, os.cpu_count() or 1)),
        "pinned-memory-pool-byte-size": "0",
        "allow-gpu-metrics": "false",
        "exit-timeout-secs": str(math.ceil(settings.drain_seconds)),
        "grpc-address": f"[{ports.address}]" if is_ipv6 else ports.address,
        "http-address": f"ipv6:{ports.address}" if is_ipv6 else ports.address,
        "grpc-port": str(ports["grpc_port"]),
        "http-port": str(ports["http_port"]),
        "metrics-port": str(ports["metrics_port"]),
        "grpc-restricted-protocol": f"{_CLOSED_GRPC}:{_CLOSED_TO_ALL}",
        "http-restricted-api": f"{_CLOSED_HTTP}:{_CLOSED_TO_ALL}",
        "backend-config": f"python,shm-region-prefix-name={shared_memory}",
    }
    if private:  # Triton puts a colon and the port behind the address, and gRPC takes the whole for the path of a socket
        socket, _, port = TRITON_SOCKET.partition(":")
        options |= {"grpc-address": f"unix:{folder / socket}", "grpc-port": port}
    elif settings.tls_certificate is not None:
        kind = "grpc-use-ssl" if settings.tls_client_roots is None else "grpc-use-ssl-mutual"
        options |= {kind: "true", "grpc-server-cert": str(settings.tls_certificate), "grpc-server-key": str(settings.tls_key)}
    if settings.tls_client_roots is not None and not private:
        options["grpc-root-cert"] = str(settings.tls_client_roots)
    shown = f"tritonserver of {repository}"  # so that `ps` tells which repository is served
    become = [sys.executable, "-I", "-S", private_exec.__file__, shown, str(binary.executable)]
    return [*become, "--disable-auto-complete-config", *(f"--{name}={value}" for name, value in options.items())]
