"""The messages of ``shop.proto``.

The classes are made of the description that protoc wrote beside the file (``scripts/shop_descriptor.py``), so that no generated code
has to fit the installed protobuf.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE: Final = "cartwheel.v1.Shop"


def _messages() -> Mapping[str, Any]:
    """Return the classes of the messages by their names."""
    written = resources.files("serving").joinpath("contract", "shop.desc").read_bytes()
    [file] = descriptor_pb2.FileDescriptorSet.FromString(written).file
    pool = descriptor_pool.Default()
    pool.Add(file)
    package = file.package
    return {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{message.name}"))
        for message in file.message_type
    }


MESSAGES: Final[Mapping[str, Any]] = _messages()
