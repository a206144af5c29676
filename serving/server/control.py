"""The control channel of a running ``cartwheel serve``: JSON lines over an abstract socket.

The caller writes one line; every line that comes back tells how far it is, the last one what came of it. Only processes of the same user
are heard, by what the kernel says of them. https://man7.org/linux/man-pages/man7/unix.7.html
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final

from cartwheel.core import errors
from cartwheel.core.errors import CartwheelError, ServerError

Say = Callable[[str], None]
Act = Callable[[Mapping[str, Any], Say], Mapping[str, Any]]
_LINE_SECONDS: Final = 5.0
_CREDENTIALS: Final = struct.Struct("3i")
_ANOTHER: Final = "Start the server again with `cartwheel serve`."


class Control:
    """Listens while it is open; a context manager.

    Args:
        act: does what a line asks, each in a thread of its own, whether or not its caller waits.
    """

    def __init__(self, act: Act) -> None:
        self._act = act
        self.name = f"cartwheel-{os.getpid()}-{secrets.token_hex(8)}"
        """What it is reached by."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(f"\0{self.name}")
        self._socket.listen()
        threading.Thread(target=self._listen, name="control", daemon=True).start()

    def __enter__(self) -> Control:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                line, _ = self._socket.accept()
                threading.Thread(target=self._hear, args=(line,), name="control order", daemon=True).start()

    def _hear(self, line: socket.socket) -> None:
        with line, contextlib.suppress(OSError, ValueError):
            _, user, _ = _CREDENTIALS.unpack(line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
            if user not in (os.getuid(), 0):
                return
            line.settimeout(_LINE_SECONDS)
            with line.makefile("rb") as orders:
                order = json.loads(orders.readline())

            def tell(content: Mapping[str, Any]) -> None:
                with contextlib.suppress(OSError):  # who asked is gone; what is done goes on
                    line.sendall(json.dumps(content).encode() + b"\n")

            try:
                tell({"done": self._act(order, lambda sentence: tell({"say": sentence}))})
            except CartwheelError as error:
                tell({"error": type(error).__name__, "found": error.found, "fix": error.fix})
            except Exception as error:  # noqa: BLE001 - whoever waits is told; the server goes on
                tell({"error": "ServerError", "found": f"The server broke while doing it: {error!r}.", "fix": _ANOTHER})


def order(name: str, content: Mapping[str, Any], say: Say = lambda _sentence: None) -> dict[str, Any]:
    """Have a server do something, and return what came of it.

    Args:
        name: what its control is reached by.
        content: the order.
        say: called with each sentence that tells how far it is.

    Raises:
        ServerError: if it does not answer.
        CartwheelError: what it refuses.
    """
    for told in _lines(name, content):
        if "say" in told:
            say(told["say"])
        elif "error" in told:
            kind: type[CartwheelError] = getattr(errors, told["error"])
            raise kind(told["found"], told["fix"])
        else:
            found: dict[str, Any] = told["done"]
            return found
    raise ServerError("The server exited before it was done.", _ANOTHER)


def _lines(name: str, content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        try:
            line.connect(f"\0{name}")
            line.sendall(json.dumps(content).encode() + b"\n")
            with line.makefile("rb") as answers:
                for answer in answers:
                    yield json.loads(answer)
        except (OSError, ValueError) as error:
            raise ServerError(f"The server does not answer ({error}).", _ANOTHER) from error
