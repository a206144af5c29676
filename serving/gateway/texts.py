"""Strings of requests and answers as they go over the wire, read without a tensor library."""

from __future__ import annotations

import math
from typing import Any


def texts_of(data: bytes) -> list[bytes]:
    """Return the strings of a tensor, each of which stands after its length in 4 bytes; none where the last is cut off."""
    texts, place = [], 0
    while place + 4 <= len(data):
        length = int.from_bytes(data[place : place + 4], "little")
        texts.append(data[place + 4 : place + 4 + length])
        place += 4 + length
    return texts if place == len(data) else []


def users_of(asked: Any) -> list[str]:
    """Return the user id of each row of a ``ModelInferRequest``; none where it gives none, or they cannot be read."""
    names = [tensor.name for tensor in asked.inputs]
    if "user_id" not in names:
        return []
    place = names.index("user_id")
    contents = asked.inputs[place].contents.bytes_contents
    if asked.raw_input_contents and place < len(asked.raw_input_contents):
        contents = texts_of(asked.raw_input_contents[place])
    try:
        users = [text.decode() for text in contents]
    except UnicodeDecodeError:
        return []
    return users if len(users) == math.prod(asked.inputs[place].shape) else []
