"""Readiness probes: a real inference on every ensemble, through every process involved.

Triton calls itself ready as long as its models are loaded, whether or not the processes that compute them are alive. The questions
go the way of a client's, over gRPC. They carry a name by which the runner lets them pass when it refuses new requests.
"""

from __future__ import annotations

import contextlib
import enum
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from serving.contract.questions import Given, written_question
from serving.server.ports import split
from serving.settings import ServeSettings

if TYPE_CHECKING:
    import grpc

_METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
_FULL: Final = ("maximum queue size", "timeout expired")
_HANDSHAKE_SECONDS: Final = 5.0


class Answer(enum.Enum):
    """What came of the questions."""

    GOOD = "good"
    """All were answered."""
    BUSY = "busy"
    """A queue was full or slow: the server works, at its limit."""
    BROKEN = "broken"
    """One was answered with an error, or the connection was refused."""
    LATE = "late"
    """One was not answered in time."""


@dataclass(frozen=True)
class Found:
    """An answer and, unless it is good, what is wrong, as a clause."""

    answer: Answer
    detail: str = ""


class Questions:
    """Asks one running server.

    Where gRPC wants certificates of clients and the settings give none for these questions, there is nothing to ask.

    Args:
        address: ``host:port`` of Triton's gRPC.
        settings: how it speaks TLS.
        name: id that the questions carry.
        repository: what it serves; the ensembles whose configuration holds a question are asked it.
    """

    def __init__(self, address: str, settings: ServeSettings, name: str, repository: Path) -> None:
        self._address, self._settings, self._name = address, settings, name
        self._questions = {config.parent.name: written_question(config) for config in sorted(repository.glob("*/config.pbtxt"))}
        self._ensembles = [ensemble for ensemble, question in self._questions.items() if question]
        if settings.tls_client_roots is not None and settings.tls_probe_certificate is None:
            self._ensembles = []
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to ask."""
        return bool(self._ensembles)

    def ask(
        self, timeout_seconds: float, noted_seconds: float = math.inf, note: Callable[[str], None] = lambda _detail: None
    ) -> Found:
        """Ask every ensemble in turn, within one deadline for all.

        Args:
            timeout_seconds: the deadline.
            noted_seconds: after how long without an answer ``note`` is called with a clause about the question.
            note: called at most once a question.
        """
        begun = time.monotonic()
        for ensemble in self._ensembles:
            found = self._ask_one(ensemble, timeout_seconds - (time.monotonic() - begun), noted_seconds, note)
            if found.answer is not Answer.GOOD:
                return found
        return Found(Answer.GOOD)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _ask_one(self, ensemble: str, seconds: float, noted_seconds: float, note: Callable[[str], None]) -> Found:
        import grpc

        late = f"{ensemble} did not answer in time"
        if seconds <= 0:
            return Found(Answer.LATE, late)
        try:
            call = (
                self._connected()
                .unary_unary(_METHOD)
                .future(_request(ensemble, self._questions[ensemble], self._name), timeout=seconds)
            )
            if 0 < noted_seconds < seconds:
                with contextlib.suppress(grpc.FutureTimeoutError, grpc.RpcError):
                    call.exception(timeout=noted_seconds)
                if not call.done():
                    note(late)
            call.result()
        except grpc.RpcError as error:
            failed: Any = error
            message = str(failed.details()).partition("\n")[0]
            if failed.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return Found(Answer.LATE, late)
            return Found(Answer.BUSY if any(text in message for text in _FULL) else Answer.BROKEN, f"{ensemble}: {message}")
        except (OSError, ValueError, grpc.FutureCancelledError) as error:  # no connection for TLS, or it was closed meanwhile
            return Found(Answer.BROKEN, f"{ensemble} cannot be asked: {error}")
        return Found(Answer.GOOD)

    def _connected(self) -> grpc.Channel:
        with self._lock:
            if self._channel is None:
                self._channel = _channel(self._address, self._settings)
            return self._channel


def _request(ensemble: str, question: Mapping[str, Given], name: str) -> bytes:
    from tritonclient.grpc import service_pb2

    request = service_pb2.ModelInferRequest(model_name=ensemble, id=name)
    for tensor, given in question.items():
        request.inputs.add(name=tensor, datatype=given.datatype, shape=given.shape)
        request.raw_input_contents.append(given.content)
    content: bytes = request.SerializeToString()
    return content


def _channel(address: str, settings: ServeSettings) -> grpc.Channel:
    import grpc

    options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 100)]
    if settings.tls_certificate is None:
        return grpc.insecure_channel(address, options)
    pair = (settings.tls_probe_key, settings.tls_probe_certificate)
    credentials = grpc.ssl_channel_credentials(
        settings.tls_certificate.read_bytes(), *(None if path is None else path.read_bytes() for path in pair)
    )
    return grpc.secure_channel(
        address, credentials, [*options, ("grpc.ssl_target_name_override", _certified_name(address, settings.tls_certificate))]
    )


def _certified_name(address: str, certificate: Path) -> str:
    """Return a name that the server's certificate is made out to, as the server shows it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(certificate)
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(split(address), _HANDSHAKE_SECONDS) as plain, context.wrap_socket(plain) as connection:
        shown: dict[str, Any] = dict(connection.getpeercert() or {})
    names = [str(name) for kind, name in shown.get("subjectAltName", ()) if kind in {"DNS", "IP Address"}]
    names += [str(name) for part in shown.get("subject", ()) for kind, name in part if kind == "commonName"]
    if not names:
        raise ValueError(f"{certificate} is made out to no name")
    return names[0].replace("*", "any")
