"""Ports to listen on: checked or chosen, and held until the server itself has bound them."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from types import TracebackType

from cartwheel.core.errors import ServerError, UsageError


class HeldPorts:
    """Ports kept from other programs while the server that will listen on them is loading.

    Each port is bound, but not listened on, with ``SO_REUSEADDR``. Linux then never hands it out as a free one, yet lets the
    server, which sets the same flag, bind and listen on it beside us. What is left of the race is a program that asks for exactly
    that port; the caller sees that from the server's log.

    Args:
        host: address that the server will listen on.
        wanted: option name -> port, where 0 asks for a free one.

    Raises:
        UsageError: if ``host`` is not an address of this machine.
        ServerError: if a wanted port is taken or not allowed, naming it and its option.
    """

    def __init__(self, host: str, wanted: dict[str, int]) -> None:
        self._sockets: dict[str, socket.socket] = {}
        try:
            for option, port in wanted.items():
                self._sockets[option] = _bind(host, port, option)
        except BaseException:
            self.release()
            raise

    def __getitem__(self, option: str) -> int:
        """Return the port that is held for an option."""
        port: int = self._sockets[option].getsockname()[1]
        return port

    @property
    def address(self) -> str:
        """The host as a number, IPv4 or IPv6."""
        found: str = next(iter(self._sockets.values())).getsockname()[0]
        return found

    def release(self) -> None:
        """Let go of all ports; the server keeps those that it has bound."""
        for held in self._sockets.values():
            held.close()

    def __enter__(self) -> HeldPorts:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def join(address: str, port: int) -> str:
    """Return ``host:port``, at which this machine's clients reach a server that listens on ``address``."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104  compared, not bound
    return f"[{reachable}]:{port}" if ":" in reachable else f"{reachable}:{port}"


def split(endpoint: str) -> tuple[str, int]:
    """Return the host and the port of what :func:`join` wrote."""
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def accepts(endpoint: str) -> bool:
    """Return whether something listens at ``host:port``, within a quarter of a second."""
    with contextlib.suppress(OSError), socket.create_connection(split(endpoint), timeout=0.25):
        return True
    return False


def _bind(host: str, port: int, option: str) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise UsageError(
            f"serve.host is {host!r}, which is not an address ({error.strerror}).",
            "Set it to an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all.",
        ) from error
    held = socket.socket(family, kind, protocol)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind(address)
    except OSError as error:
        held.close()
        raise refusal(error, host, port, option) from error
    return held


def refusal(error: OSError, host: str, port: int, option: str) -> UsageError | ServerError:
    """Return the error for a port that could not be bound."""
    if error.errno == errno.EADDRNOTAVAIL:
        return UsageError(
            f"serve.host is {host!r}, which is not an address of this machine.",
            "Set it to one that is, such as 127.0.0.1, or 0.0.0.0 for all.",
        )
    if error.errno == errno.EADDRINUSE:
        return taken(port, host, option)
    reason = os.strerror(error.errno or 0)
    return ServerError(
        f"serve.{option} = {port} cannot be opened at {host} ({reason}).",
        f"Set serve.{option} to a port above 1023, or to 0 for a free one.",
    )


def taken(port: int, host: str, option: str) -> ServerError:
    """Return the error for a port that another program has."""
    return ServerError(
        f"serve.{option} = {port} is taken: another program listens on it at {host}.",
        f"Stop that program, or set serve.{option} to another port, or to 0 for a free one.",
    )
