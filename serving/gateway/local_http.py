"""Questions to the processes beside the gateway: short HTTP GETs on this machine."""

from __future__ import annotations

import asyncio
import contextlib


async def fetch(address: str, path: str, seconds: float = 1.0) -> tuple[int, bytes]:
    """Return the status and the body of ``http://address path``; 0 and nothing where it is not answered in time."""
    try:
        return await asyncio.wait_for(_fetched(address, path), seconds)
    except (OSError, ValueError, IndexError, EOFError, asyncio.TimeoutError):
        return 0, b""


async def _fetched(address: str, path: str) -> tuple[int, bytes]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        return int(head.split(None, 2)[1]), body
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
