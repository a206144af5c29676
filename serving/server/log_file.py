"""The file of one server's log: rotated at each start, and locked while a server writes it."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
from pathlib import Path

from cartwheel.core.errors import UsageError
from serving.server import triton_log


class LogFile:
    """A log that is locked from :meth:`begin` to :meth:`release`.

    Args:
        path: where it should lie; a name beside it is taken while another server writes that one.
    """

    def __init__(self, path: Path) -> None:
        self.wanted = path
        """Where it should lie."""
        self._descriptor: int | None = None
        self._since = 0
        self.path = path
        """Where it lies."""

    def begin(self) -> None:
        """Empty the log, keeping what was in it as ``<name>.previous``: a new start must not erase why the last server ended.

        Raises:
            UsageError: if it cannot be written.
        """
        try:
            if self._descriptor is None:
                self._descriptor = self._locked()
                if self.path.stat().st_size:
                    shutil.copyfile(self.path, self.path.with_name(f"{self.path.name}.previous"))
            os.truncate(self.path, 0)
        except OSError as error:
            self.release()
            raise UsageError(
                f"Triton's log cannot be written to {self.path} ({error.strerror}).", "Name a file in a writable folder."
            ) from error
        self._since = 0

    def go_on(self) -> None:
        """Begin a new part of the log, which :meth:`read_tail` then reads alone."""
        self._since = self.path.stat().st_size

    def read_tail(self) -> str:
        """Return the end of what has been written since :meth:`begin` or :meth:`go_on`."""
        return triton_log.read_tail(self.path, self._since)

    def release(self) -> None:
        """Leave the log to whoever begins it next."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None

    def _locked(self) -> int:
        """Open and lock the first free one of ``triton.log``, ``triton.2.log`` and so on; the lock ends with this process."""
        self.wanted.parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            name = self.wanted.name if number == 1 else f"{self.wanted.stem}.{number}{self.wanted.suffix}"
            self.path = self.wanted.with_name(name)
            descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            os.fchmod(descriptor, 0o600)  # what is logged of requests is nobody else's business
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            return descriptor
        raise AssertionError
