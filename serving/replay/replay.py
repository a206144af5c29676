"""Sends recorded requests again, one by one, and compares the answers with the recorded ones."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from cartwheel.core.errors import DataError, ServerError
from serving.gateway.kserve import AS_RECORDED
from serving.versions.answers import Table, difference, tables_of

_METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
_OPTIONS: Final = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
_SHOWN: Final = 5
_ASK_SECONDS: Final = 30.0
_CONTENT: Final = ("request_id", "version", "request", "answer")


@dataclass(frozen=True)
class Recorded:
    """A request and its answer.

    Attributes:
        request_id: what it was named.
        version: that answered it.
        request: ``ModelInferRequest``, as Triton got it.
        answer: the answer's tensors by name.
    """

    request_id: str
    version: str
    request: Any
    answer: Table


@dataclass
class Replayed:
    """What came of a replay.

    Attributes:
        asked: requests that were asked again and answered by the version of their record.
        differ: those of them whose answer differs.
        largest: the largest difference of a number x, as a part of ``max(1, |x|)``.
        others: requests that another version answered now; version -> how many.
        first: what differs first, a sentence each.
    """

    asked: int = 0
    differ: int = 0
    largest: float = 0.0
    others: dict[str, int] = field(default_factory=dict)
    first: list[str] = field(default_factory=list)


def read_recorded(path: Path) -> Iterator[Recorded]:
    """Yield the requests of a file that the gateway wrote.

    Raises:
        DataError: if it is not there, or a line is not as it was written.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                yield _read(line, f"{path}, line {number:,}")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise DataError(f"The recorded requests {path} cannot be read: {why}.", "Give a file that the gateway wrote.") from None


def replay(path: Path, address: str, tolerance: float, *, any_version: bool = False, key: str = "") -> Replayed:
    """Ask the requests of a file again.

    Args:
        path: the file.
        address: ``host:port`` of the gateway, or of a Triton of one's own.
        tolerance: allowed of a number x, as a part of ``max(1, |x|)``; ids must be equal.
        any_version: whether to compare with answers of another version, too.
        key: an API key of an operator, where the gateway wants keys.

    Raises:
        DataError: if the file cannot be read.
        ServerError: if a request is not answered.
    """
    done = Replayed()
    with grpc.insecure_channel(address, _OPTIONS) as channel:
        ask = channel.unary_unary(_METHOD)
        for recorded in read_recorded(path):
            answer = service_pb2.ModelInferResponse.FromString(_asked(ask, recorded, address, key))
            version = answer.parameters["version"].string_param if "version" in answer.parameters else recorded.version
            if version != recorded.version and not any_version:
                done.others[version] = done.others.get(version, 0) + 1
                continue
            _compare(recorded, tables_of(answer.outputs, answer.raw_output_contents), tolerance, done)
    return done


def _compare(recorded: Recorded, found: Table, tolerance: float, done: Replayed) -> None:
    largest, wrong = difference(recorded.answer, found, tolerance)
    done.asked += 1
    done.largest = max(done.largest, largest)
    if wrong:
        done.differ += 1
        if len(done.first) < _SHOWN:
            done.first.append(f"{recorded.request_id}: {wrong}")


def _asked(ask: Any, recorded: Recorded, address: str, key: str) -> bytes:
    recorded.request.parameters[AS_RECORDED].bool_param = True
    try:
        metadata = [("x-api-key", key)] if key else []
        answer: bytes = ask(recorded.request.SerializeToString(), timeout=_ASK_SECONDS, metadata=metadata)
    except grpc.RpcError as error:
        failed: Any = error
        raise ServerError(
            f"The request {recorded.request_id} is not answered by {address}: {failed.code().name}, {failed.details()}.",
            "Check that the server runs and serves the version that answered it (`cartwheel versions`).",
        ) from None
    return answer


def _read(line: str, where: str) -> Recorded:
    try:
        return _recorded(json.loads(line))
    except (ValueError, KeyError, TypeError, DecodeError) as error:
        raise DataError(
            f"{where} is not a recorded request ({type(error).__name__}: {error}).",
            "Give a file that the gateway wrote (serve.record_share), or delete that line.",
        ) from None


def _recorded(content: dict[str, Any]) -> Recorded:
    request_id, version, request, answer = (str(content[name]) for name in _CONTENT)
    given = service_pb2.ModelInferResponse.FromString(base64.b64decode(answer, validate=True))
    return Recorded(
        request_id,
        version,
        service_pb2.ModelInferRequest.FromString(base64.b64decode(request, validate=True)),
        tables_of(given.outputs, given.raw_output_contents),
    )
