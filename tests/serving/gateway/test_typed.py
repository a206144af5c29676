"""The typed service over gRPC: its messages as they are shipped, and its answers as Cartwheel's client reads them."""

import re
from importlib import resources
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from running_gateway import Gateway, refusal

from serving.client.client import Client
from serving.contract.shop import MESSAGES

PROTO = Path(str(resources.files("serving"))) / "contract" / "shop.proto"
TYPES = {
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_STRING: "string",
}
FIELD = re.compile(r"^(?P<label>repeated |optional )?(?P<type>\w+|map<string, \w+>) (?P<name>\w+) = (?P<number>\d+);$")


def call(channel: grpc.Channel, method: str, **fields: Any) -> Any:
    ask = channel.unary_unary(f"/cartwheel.v1.Shop/{method}", response_deserializer=MESSAGES[f"{method}Response"].FromString)
    return ask(MESSAGES[f"{method}Request"](**fields).SerializeToString(), timeout=20)


def kind_of(field: Any) -> str:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return f"map<string, {field.message_type.fields_by_name['value'].message_type.name}>"
    name = field.message_type.name if field.message_type is not None else TYPES[field.type]
    optional = field.containing_oneof is not None and field.containing_oneof.name.startswith("_")
    return f"{'repeated ' if field.is_repeated else 'optional ' if optional else ''}{name}"


def test_the_shipped_file_says_what_is_spoken() -> None:
    text = re.sub(r"//.*", "", PROTO.read_text(encoding="utf-8"))
    declared: dict[str, dict[str, tuple[str, int]]] = {}
    name = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        if begun := re.match(r"message (\w+) \{$", line):
            name = begun[1]
            declared[name] = {}
        elif field := FIELD.match(line):
            declared[name][field["name"]] = (f"{field['label'] or ''}{field['type']}", int(field["number"]))
    spoken = {
        message: {field.name: (kind_of(field), field.number) for field in kind.DESCRIPTOR.fields}
        for message, kind in MESSAGES.items()
    }
    assert spoken == declared
    service = MESSAGES["CartRequest"].DESCRIPTOR.file.services_by_name["Shop"]
    assert {method.name for method in service.methods} == set(re.findall(r"rpc (\w+)\(", text))


def test_it_answers_as_the_client_does(gateway: Gateway, channel: grpc.Channel) -> None:
    with Client(gateway.endpoint.grpc) as client:
        expected = client.recommend("u1", recent_items=[1003], exclude=[1005], k=4, timestamp="snapshot")
        answer = call(channel, "Recommend", user_id="u1", recent_items=["1003"], exclude=["1005"], k=4, timestamp=0)
        assert [item.item_id for item in answer.items] == [str(item) for item in expected.item_ids]
        assert [item.because_of for item in answer.items] == [str(item.because_of or "") for item in expected]
        assert (answer.rung, len(answer.version), len(answer.request_id)) == ("ranked", 12, 16)
        told, cart = (
            client.cart([1003, 1004], timestamp="snapshot"),
            call(channel, "Cart", cart_items=["1003", "1004"], timestamp=0),
        )
        assert cart.probability == pytest.approx(told.probability)
        assert [line.probability for line in cart.lines] == pytest.approx([line.probability for line in told.lines])
        assert [item.item_id for item in cart.completions] == [str(item.item_id) for item in told.completions]
        similar = call(channel, "SimilarItems", item_id="1003", k=3)
        assert [item.item_id for item in similar.items] == [str(item.item_id) for item in client.similar_items(1003, k=3)]


@pytest.mark.parametrize(
    ("method", "fields", "status", "sentence"),
    [
        ("Recommend", {"k": 0}, "INVALID_ARGUMENT", "k is 0; this server answers 1 to 100 items."),
        ("Recommend", {"diversity": -1.0}, "INVALID_ARGUMENT", "diversity is -1.0;"),
        ("Recommend", {"timestamp": -5}, "INVALID_ARGUMENT", "timestamp is -5;"),
        ("Recommend", {"timestamp": 2**62}, "INVALID_ARGUMENT", "timestamp is 4611686018427387904;"),
        ("Recommend", {"timestamp": 1_700_000_000}, "INVALID_ARGUMENT", "The input 'timestamp' holds 1700000000; give Unix microseconds"),
        ("Cart", {"cart_items": [""]}, "INVALID_ARGUMENT", "cart_items[0] is empty."),
        ("SimilarItems", {}, "INVALID_ARGUMENT", "item_id is empty."),
        ("Predict", {"task": "x"}, "NOT_FOUND", "There is no declared task 'x'; there is none."),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(channel: grpc.Channel, method: str, fields: Any, status: str, sentence: str) -> None:
    found = refusal(lambda: call(channel, method, **fields))
    assert (found[0], found[1].startswith(sentence)) == (status, True), found


def test_bytes_that_are_no_message_are_the_caller_s_mistake(channel: grpc.Channel) -> None:
    raw = channel.unary_unary("/cartwheel.v1.Shop/Cart")
    assert refusal(lambda: raw(b"\xff\xff", timeout=20)) == ("INVALID_ARGUMENT", "The bytes of the request are no CartRequest.")
    assert refusal(lambda: channel.unary_unary("/cartwheel.v1.Shop/Nothing")(b"", timeout=20))[0] == "UNIMPLEMENTED"


def test_reflection_tells_both_services(channel: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="cartwheel.v1.Shop"),
    ]
    listed, described = stub.ServerReflectionInfo(iter(asked), timeout=20)
    assert {service.name for service in listed.list_services_response.service} >= {
        "cartwheel.v1.Shop",
        "inference.GRPCInferenceService",
    }
    [file] = map(FileDescriptorProto.FromString, described.file_descriptor_response.file_descriptor_proto)
    assert [method.name for method in file.service[0].method] == [
        "Recommend",
        "Cart",
        "SimilarItems",
        "Predict",
        "Track",
        "Page",
        "Explain",
        "SetItems",
        "Link",
    ]
