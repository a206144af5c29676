"""``python -m serving.versions.check``: compares a Triton's answers with its files, and its latency with another one's.

A process of its own, so that what it loads is given back when it has ended. It reads a JSON object from standard input and writes one to
standard output: ``{"compared": N, "largest": X, "wrong": "...", "old": {...}, "new": {...}}``, the last two with ``answered``, ``p50`` and
``p95`` in milliseconds.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
from tritonclient.grpc import service_pb2

from cartwheel.core.errors import CartwheelError
from serving.contract.questions import written_question
from serving.contract.version import CONFIG
from serving.local import LocalRepository
from serving.versions.answers import difference, tables_of

_METHOD: Final = "/inference.GRPCInferenceService/ModelInfer"
_TOLERANCE: Final = 1e-5
"""Triton answers requests together, which may round otherwise than one alone."""
_ASK_SECONDS: Final = 10.0
_BUSY: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
_BUSY_SECONDS, _PAUSE_SECONDS = 30.0, 0.1
_TIMED: Final = 100
_OPTIONS: Final = [("grpc.default_authority", "localhost"), ("grpc.max_receive_message_length", -1)]


def main() -> None:
    """Check as standard input wants it."""
    asked = json.loads(sys.stdin.read())
    recorded = [base64.b64decode(text) for text in asked["requests"]]
    print(json.dumps(check(Path(asked["repository"]), asked["new"], asked["old"], recorded)))


def check(repository: Path, new: str, old: str, recorded: Sequence[bytes]) -> dict[str, Any]:
    """Ask a new version recorded requests, compare its answers with its files', and time it beside the old version.

    Args:
        repository: the files of the new version.
        new: gRPC target of its Triton.
        old: gRPC target of the old version's.
        recorded: serialised requests that the old version answered; the questions of the ensembles' own are asked with them.
    """
    local = LocalRepository(repository)
    with grpc.insecure_channel(new, _OPTIONS) as new_channel, grpc.insecure_channel(old, _OPTIONS) as old_channel:
        ask_new, ask_old = new_channel.unary_unary(_METHOD), old_channel.unary_unary(_METHOD)
        told: dict[str, Any] = {"compared": 0, "largest": 0.0, "wrong": ""}
        both = []
        for request in [*_questions(repository), *recorded]:
            answer, refusal = _answer(ask_new, request)
            _, old_refusal = _answer(ask_old, request)
            if not refusal and not old_refusal:
                both.append(request)
            if refusal and ((request in recorded and not old_refusal) or request not in recorded):
                return {**told, "wrong": f"it does not answer a request that is to be answered: {refusal}"}
            if refusal:
                continue
            largest, wrong = _compared(local, request, answer)
            told["compared"] += 1
            told["largest"] = max(told["largest"], largest)
            if wrong:
                return {**told, "wrong": f"it answers otherwise than its files: {wrong}"}
        told["old"], told["new"] = _timed(both, ask_old, ask_new)
    return told


def _questions(repository: Path) -> Iterable[bytes]:
    for config in sorted(repository.glob(f"*/{CONFIG}")):
        if question := written_question(config):
            request = service_pb2.ModelInferRequest(model_name=config.parent.name)
            for name, given in question.items():
                request.inputs.add(name=name, datatype=given.datatype, shape=given.shape)
                request.raw_input_contents.append(given.content)
            yield request.SerializeToString()


def _answer(ask: Any, request: bytes) -> tuple[Any, str]:
    """Return an answer, or why there is none; a server that has no time now is asked again."""
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            return service_pb2.ModelInferResponse.FromString(ask(request, timeout=_ASK_SECONDS)), ""
        except grpc.RpcError as error:
            failed: Any = error
            if failed.code() not in _BUSY or time.monotonic() > until:
                return None, f"{failed.code().name}: {failed.details()}"
        time.sleep(_PAUSE_SECONDS)


def _compared(local: LocalRepository, request: bytes, answer: Any) -> tuple[float, str]:
    asked = service_pb2.ModelInferRequest.FromString(request)
    found = tables_of(answer.outputs, answer.raw_output_contents)
    try:
        expected = local.ask(asked.model_name, **tables_of(asked.inputs, asked.raw_input_contents))
    except CartwheelError as error:
        return 0.0, f"{asked.model_name} is answered, but its files refuse it: {error}"
    return difference({name: np.asarray(value) for name, value in expected.items() if name in found}, found, _TOLERANCE)


def _timed(requests: Sequence[bytes], *asks: Any) -> list[Mapping[str, float]]:
    """Ask all in turn, one request after the other, and return the latencies of each."""
    taken: list[list[float]] = [[] for _ in asks]
    for number in range(_TIMED if requests else 0):
        for place, ask in enumerate(asks):
            begun = time.perf_counter()
            with contextlib.suppress(grpc.RpcError):  # it has no time now
                ask(requests[number % len(requests)], timeout=_ASK_SECONDS)
                taken[place].append((time.perf_counter() - begun) * 1e3)
    return [
        {"answered": len(times), "p50": float(np.median(times)), "p95": float(np.percentile(times, 95))}
        if times
        else {"answered": 0}
        for times in taken
    ]


if __name__ == "__main__":
    main()
