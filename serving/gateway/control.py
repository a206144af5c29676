"""How ``cartwheel serve`` speaks with its gateway: a JSON object a line over a Unix socket in the gateway's own folder, one answer each.

``{"do": "route", "lanes": [...]}`` is answered when the versions are served so, and what is no longer served has nothing left to do;
``{"do": "tell"}`` with what is counted of each version; ``{"do": "recent", "most": N}`` with the latest requests that Triton got, as
Base64. An answer with ``error`` holds the sentence of what was not done.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from cartwheel.core.errors import CartwheelError
from serving.gateway.gate import Gate
from serving.gateway.options import Lane

Ask = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]
_LONGEST_LINE: Final = 1 << 20


async def open_control(path: Path, gate: Gate) -> asyncio.Server:
    """Listen at ``path``."""
    order = asyncio.Lock()
    return await asyncio.start_unix_server(
        lambda reader, writer: _converse(reader, writer, gate, order), path, limit=_LONGEST_LINE
    )


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: Gate, order: asyncio.Lock) -> None:
    with contextlib.suppress(OSError, ValueError, asyncio.CancelledError):
        while line := await reader.readline():
            try:
                answer = await _answer(json.loads(line), gate, order)
            except CartwheelError as error:
                answer = {"error": str(error)}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
    writer.close()


async def _answer(asked: Mapping[str, Any], gate: Gate, order: asyncio.Lock) -> dict[str, Any]:
    if asked["do"] == "route":
        async with order:
            await gate.routes.apply([Lane.of_json(lane) for lane in asked["lanes"]])
        return {}
    if asked["do"] == "recent":
        latest = [*gate.recent][-int(asked["most"]) :]
        return {"requests": [base64.b64encode(request).decode() for _, request in latest]}
    told = {route.served.version: {"share": route.share, **route.tally.told()} for route in gate.routes.all}
    return {"versions": told}
