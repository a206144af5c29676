"""A client's connection: address, TLS, deadlines, retries and errors.

Nothing here does input or output, so that the synchronous and the asyncio client follow the same rules.

Every request only reads, so asking twice is harmless. Retried is yet only what a second try can fix: a connection that was refused, lost or
not there, a server that is stopping or at its limit (all ``UNAVAILABLE``), and one that is being started again because a part of it is
dead. An answer, even a bad one, and a passed deadline are final.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import InferResult
from tritonclient.utils import InferenceServerException

from cartwheel.core.errors import CartwheelError, ServerError, UsageError
from serving.client.answers import FEWER

DEFAULT_TIMEOUT_SECONDS: Final = 5.0
DEFAULT_RETRIES: Final = 8
"""Enough for the pauses between them to outlast a server that is started again."""
CHANNEL_OPTIONS: Final = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # gRPC's own pause after a refused connection starts at a second, during which every call fails unasked.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
_FIRST_PAUSE_SECONDS = 0.05
_FIRST_PAUSE_OF_A_FULL_SERVER_SECONDS = 0.4
_LONGEST_PAUSE_SECONDS = 1.0
_ADDRESS = re.compile(r"(?:[^\s:/\[\]]+|\[[0-9a-fA-F:.]+\]):\d{1,5}")
_PREFIXES = re.compile(r"^(?:\[request id: [^\]]*\] |in ensemble '[^']*', )+")


@dataclass(frozen=True)
class Tls:
    """What TLS needs; all PEM files.

    Attributes:
        root_certificates: authorities that the server's certificate is checked against; None means the system's.
        client_certificate: this client's certificate, if the server wants one.
        client_key: its private key.
    """

    root_certificates: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None

    def __post_init__(self) -> None:
        """Check that the files are there.

        Raises:
            UsageError: if one is not, or the certificate and the key are not given together.
        """
        if (self.client_certificate is None) != (self.client_key is None):
            raise UsageError(
                "Only one of client_certificate and client_key is given.", "Give both, or neither if the server requires none."
            )
        for name, path in vars(self).items():
            if path is not None and not Path(path).is_file():
                raise UsageError(f"{name} is {path}, which is not a file.", "Name a PEM file.")


def channel_arguments(address: str, tls: Tls | None) -> dict[str, Any]:
    """Return the arguments of Triton's client, synchronous or asyncio.

    Raises:
        UsageError: if ``address`` is not ``host:port``.
    """
    if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
        raise UsageError(f"The address is {address!r}; expected host:port.", "Pass for example '127.0.0.1:8001', the gRPC port.")
    arguments: dict[str, Any] = {"url": address, "channel_args": CHANNEL_OPTIONS}
    if tls is not None:
        arguments |= {
            "ssl": True,
            "root_certificates": _text(tls.root_certificates),
            "private_key": _text(tls.client_key),
            "certificate_chain": _text(tls.client_certificate),
        }
    return arguments


class Attempts:
    """The time and the tries of one call.

    Args:
        address: the server, for errors.
        timeout_seconds: time for everything together, retries and pauses included.
        retries: how often a lost connection is tried again.

    Raises:
        UsageError: if ``timeout_seconds`` is not positive or ``retries`` is negative.
    """

    def __init__(self, address: str, timeout_seconds: float, retries: int) -> None:
        if not timeout_seconds > 0:
            raise UsageError(f"timeout_seconds is {timeout_seconds!r}.", "Pass a number of seconds above 0.")
        if retries < 0:
            raise UsageError(f"retries is {retries!r}.", "Pass 0 for a single try, or more.")
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._deadline = time.monotonic() + timeout_seconds
        self._retries = retries
        self._failures = 0

    def seconds_left(self) -> float:
        """Return the time that is left.

        Raises:
            ServerError: if none is.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._late()
        return left

    def pause_after(self, error: InferenceServerException) -> float:
        """Return how many seconds to wait before the next try, doubling with each and spread at random.

        Raises:
            CartwheelError: if another try would not help or there is no time or try left, telling what went wrong.
        """
        self._failures += 1
        first = _FIRST_PAUSE_OF_A_FULL_SERVER_SECONDS if _is_full(error) else _FIRST_PAUSE_SECONDS
        pause = min(_LONGEST_PAUSE_SECONDS, first * 2.0 ** (self._failures - 1)) * random.uniform(0.5, 1.0)  # noqa: S311  spread, not secrecy
        is_last = self._failures > self._retries or time.monotonic() + pause >= self._deadline
        if is_last or not _may_pass(error):
            raise self._explained(error) from error
        return pause

    def _explained(self, error: InferenceServerException) -> CartwheelError:
        status = _status(error)
        message = without_prefix(error.message() or "").rstrip(". ")
        if status == "DEADLINE_EXCEEDED":
            return self._late()
        if status == "INVALID_ARGUMENT":
            return UsageError(f"The server at {self._address} refused the request: {message}.")
        if _is_full(error):
            return ServerError(
                f"The server at {self._address} is at its limit and refused the request after {self._tries()}: {message}.",
                "Retry later or less often; the operator can allow longer queues with serve.queue_size and serve.queue_seconds.",
            )
        if _is_ending(error):
            return ServerError(
                f"The server at {self._address} is stopping or starting again; after {self._tries()} it still said: {message}.",
                "Retry in a few seconds, or use another server.",
            )
        if status == "UNAVAILABLE":
            return self._unreachable(message)
        if status == "NOT_FOUND":
            return ServerError(
                f"The server at {self._address} does not have the requested model: {message}.",
                "It serves another repository; start `cartwheel serve` on one that `cartwheel export` wrote.",
            )
        if status == "UNIMPLEMENTED":
            return ServerError(f"The server at {self._address} is not Triton ({message}).", "Check the address.")
        return ServerError(
            f"The server at {self._address} broke while answering ({status}): {message}.",
            "See its log, logs/triton.log in the run.",
        )

    def _unreachable(self, message: str) -> ServerError:
        reason = message.rpartition("last error: ")[2]
        if "handshake" in reason.lower():
            return ServerError(
                f"No TLS connection to {self._address}: {reason}.",
                "Check that the server uses TLS, and that tls.root_certificates has the authority of its certificate.",
            )
        return ServerError(
            f"No server answers at {self._address} after {self._tries()}: {reason}.",
            "Check the address (the gRPC port, and TLS if the server speaks it), or start the server with `cartwheel serve`.",
        )

    def _tries(self) -> str:
        return "1 try" if self._failures == 1 else f"{self._failures} tries"

    def _late(self) -> ServerError:
        return ServerError(
            f"The server at {self._address} did not answer within {self._timeout_seconds:g} s.",
            "Increase timeout_seconds, or use a less busy server.",
        )


def read_outputs(result: InferResult) -> Mapping[str, npt.NDArray[Any]]:
    """Return the output tensors of an answer by name."""
    answer = result.get_response()
    said = {FEWER: np.array([answer.parameters[FEWER].string_param], object)} if FEWER in answer.parameters else {}
    return {**{output.name: result.as_numpy(output.name) for output in answer.outputs}, **said}


def without_prefix(message: str) -> str:
    """Return a message of Triton's without the request, the ensemble and the Python stack around it."""
    return _PREFIXES.sub("", message.partition("\n\nAt:")[0].strip())


def _may_pass(error: InferenceServerException) -> bool:
    message = (error.message() or "").lower()
    if _is_ending(error):
        return True
    return _status(error) == "UNAVAILABLE" and "handshake" not in message and "protocol is restricted" not in message


def _is_full(error: InferenceServerException) -> bool:
    """Whether a queue of the server took no more, in Triton's words or in the gateway's."""
    message = error.message() or ""
    return _status(error) == "UNAVAILABLE" and any(
        text in message for text in ("maximum queue size", "Request timeout expired", "The server is at its limit")
    )


def _is_ending(error: InferenceServerException) -> bool:
    """Whether the server refuses because it is being stopped, or because a process of it is dead and it is started again."""
    message = error.message() or ""
    words = {
        "UNAVAILABLE": ("The server is stopping", "Server is stopping", "Triton does not answer"),
        "NOT_FOUND": ("has no available versions",),
        "INTERNAL": ("Stub process",),
    }
    return any(text in message for text in words.get(_status(error), ()))


def _status(error: InferenceServerException) -> str:
    return str(error.status() or "UNKNOWN").rpartition(".")[2]


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
