"""``cartwheel serve`` with its gateway, and requests to it, as the tests of the gateway use them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2

from serving.server.endpoint import Endpoint

ROOT = Path(__file__).resolve().parents[2]


class Gateway:
    """One ``cartwheel serve`` of a run, with a section ``[serve]`` of its own."""

    def __init__(self, run: Path, folder: Path, **settings: Any) -> None:
        self.run, self.output = run, folder / "output.txt"
        config = folder / "serve.toml"
        lines = [f"run = {json.dumps(str(run))}", "[serve]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())]
        config.write_text("\n".join(lines))
        command = [sys.executable, "-m", "cartwheel.cli.main", "serve", str(config)]
        with self.output.open("wb") as stream:
            self.process = subprocess.Popen(
                command, stdout=stream, stderr=stream, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
            )
        until(lambda: (run / "server.json").is_file() or self.process.poll() is not None, 60)
        assert self.process.poll() is None, self.output.read_text()
        self.endpoint = Endpoint.read(run / "server.json")

    @property
    def log(self) -> list[dict[str, Any]]:
        """The lines of the gateway's log that are JSON."""
        lines = (self.run / "logs" / "gateway.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def end(self) -> None:
        for _ in range(2):
            self.process.send_signal(signal.SIGINT)
        self.process.wait(30)


def until(condition: Any, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def texts(values: Sequence[str]) -> bytes:
    return b"".join(len(text.encode()).to_bytes(4, "little") + text.encode() for text in values)


def infer(model: str, parameters: Mapping[str, Any] | None = None, **tensors: Sequence[str]) -> Any:
    """Return a ModelInferRequest of one row of strings each."""
    made = service_pb2.ModelInferRequest(model_name=model)
    for name, values in tensors.items():
        made.inputs.add(name=name, datatype="BYTES", shape=[1, len(values)])
        made.raw_input_contents.append(texts(values))
    for name, value in (parameters or {}).items():
        kind = "bool_param" if isinstance(value, bool) else "int64_param" if isinstance(value, int) else "string_param"
        setattr(made.parameters[name], kind, value)
    return made


def rpc(channel: grpc.Channel, method: str, request: Any, answer: Any = None, **how: Any) -> Any:
    """Call a method of KServe; ``answer`` reads what comes."""
    call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}", response_deserializer=answer and answer.FromString)
    return call(request if isinstance(request, bytes) else request.SerializeToString(), timeout=20, **how)


def refusal(call: Any) -> tuple[str, str]:
    """Return the status and the sentence with which a call is refused."""
    with pytest.raises(grpc.RpcError) as refused:
        call()
    return refused.value.code().name, refused.value.details()
