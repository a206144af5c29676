"""The protocol as it is shipped: wire-compatible with Triton's own, and enough for a client in another language."""

import json
import os
import re
import shutil
import subprocess
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from tritonclient.grpc import model_config_pb2, service_pb2

from serving.client.client import Client
from serving.server.server import EmbeddedServer

PROTO = Path(str(resources.files("serving"))) / "contract" / "inference.proto"
EXAMPLE = Path(str(resources.files("serving"))) / "examples" / "node"
TYPES = {
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_STRING: "string",
}
FIELD = re.compile(r"^(?P<repeated>repeated )?(?P<type>[\w.]+|map<string, \w+>) (?P<name>\w+) = (?P<number>\d+);$")


def declared() -> tuple[dict[str, dict[str, tuple[str, int]]], dict[str, tuple[str, str]]]:
    """Message -> field -> (type, number), and method -> (request, response), of the shipped file."""
    messages: dict[str, dict[str, tuple[str, int]]] = {}
    open_blocks: list[str] = []
    text = re.sub(r"//.*", "", PROTO.read_text(encoding="utf-8"))
    for line in filter(None, map(str.strip, text.splitlines())):
        if begun := re.match(r"(message|service|oneof) (\w+) \{(\})?$", line):
            if begun[1] == "message":
                messages[".".join([*(name for name in open_blocks if name), begun[2]])] = {}
            if not begun[3]:
                open_blocks.append(begun[2] if begun[1] == "message" else "")
        elif line == "}":
            open_blocks.pop()
        elif field := FIELD.match(line):
            kind = f"{'repeated ' if field['repeated'] else ''}{field['type']}"
            messages[".".join(name for name in open_blocks if name)][field["name"]] = (kind, int(field["number"]))
    methods = {name: (asked, told) for name, asked, told in re.findall(r"rpc (\w+)\((\w+)\) returns \((\w+)\) \{\}", text)}
    return messages, methods


def kind_of(field: Any) -> str:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return f"map<string, {field.message_type.fields_by_name['value'].message_type.name}>"
    name = field.message_type.name if field.message_type is not None else TYPES[field.type]
    return f"{'repeated ' if field.label == FieldDescriptor.LABEL_REPEATED else ''}{name}"


def descriptor(message: str) -> Any:
    outer, *inner = message.split(".")
    module = service_pb2 if outer in service_pb2.DESCRIPTOR.message_types_by_name else model_config_pb2
    found = module.DESCRIPTOR.message_types_by_name[outer]
    for name in inner:
        found = found.nested_types_by_name[name]
    return found


def test_every_field_is_on_the_wire_as_tritons_own() -> None:
    messages, _ = declared()
    assert len(messages) >= 20
    for message, fields in messages.items():
        theirs = descriptor(message).fields_by_name
        for name, (kind, number) in fields.items():
            assert (kind, number) == (kind_of(theirs[name]), theirs[name].number), f"{message}.{name}"
    assert messages["ModelInferRequest"]["raw_input_contents"] == ("repeated bytes", 7)


def test_every_method_is_tritons_own() -> None:
    _, methods = declared()
    service = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    assert {"ModelInfer", "ModelConfig", "ServerReady"} <= set(methods)
    for name, (asked, told) in methods.items():
        assert (asked, told) == (service[name].input_type.name, service[name].output_type.name)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its packages, in a folder of its own."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("NODE IS NOT INSTALLED: the example client in another language is not run here")
    folder = Path(shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("node") / "example"))
    install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--prefer-offline"]
    try:
        done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=90, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("THE PACKAGES OF THE NODE EXAMPLE COULD NOT BE INSTALLED WITHIN 90 S: it is not run here")
    if done.returncode:
        pytest.skip(f"THE PACKAGES OF THE NODE EXAMPLE COULD NOT BE INSTALLED: it is not run here ({done.stderr[-200:]})")
    return folder


def ask(node: Path, server: EmbeddedServer, question: str, given: dict[str, Any], code: int = 0) -> Any:
    done = subprocess.run(
        ["node", "shop.js", server.endpoint.grpc, question, json.dumps(given)],
        cwd=node,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PROTO": str(PROTO)},
    )
    assert done.returncode == code, done.stderr
    return done.stderr if code else json.loads(done.stdout)


INSTANT = "2023-11-16T10:00:00Z"


def test_node_is_answered_as_python_is(node: Path, server: EmbeddedServer) -> None:
    from datetime import datetime, timezone

    at = datetime(2023, 11, 16, 10, tzinfo=timezone.utc)
    with Client(server.endpoint.grpc) as client:
        expected = client.recommend("u1", recent_items=[1003, 1007], exclude=[1010], k=4, timestamp=at)
        answer = ask(node, server, "recommend",
                     {"user": "u1", "recentItems": ["1003", "1007"], "exclude": ["1010"], "k": 4, "at": INSTANT})  # fmt: skip
        assert [int(line["item"]) for line in answer] == list(expected.item_ids)
        assert [line["score"] for line in answer] == pytest.approx([item.score for item in expected])
        assert [line["becauseOf"] for line in answer] == [item.because_of and str(item.because_of) for item in expected]
        cart = client.cart([1003, 1004, 1003], user_id="u2", k=3, timestamp=at)
        told = ask(node, server, "cart", {"user": "u2", "cartItems": ["1003", "1004", "1003"], "k": 3, "at": INSTANT})
        assert told["probability"] == pytest.approx(cart.probability)
        assert [line["probability"] for line in told["lines"]] == pytest.approx([line.probability for line in cart.lines])
        assert [int(line["item"]) for line in told["completions"]] == [item.item_id for item in cart.completions]
        similar = ask(node, server, "similarItems", {"item": "1003", "k": 5})
        assert [int(line["item"]) for line in similar] == [item.item_id for item in client.similar_items(1003, k=5)]


def test_node_is_told_what_is_wrong(node: Path, server: EmbeddedServer) -> None:
    assert re.match(r"INVALID_ARGUMENT: .*'k' holds 0; ask for 1 to 100 items", ask(node, server, "recommend", {"k": 0}, code=1))
    assert ask(node, server, "steal", {}, code=2).startswith("Usage: ")
