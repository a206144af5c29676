"""Becomes another program that can give nothing it writes to other users: ``python -I -S private_exec.py NAME PROGRAM ARGUMENTS``.

``NAME`` is what ``ps`` shows in the place of the program's path. What the program creates is for its user alone: the umask sees to
files, and to POSIX shared memory a filter of system calls. Boost, with which Triton's Python backend makes its regions, sets their mode
to 0644 with ``fchmod`` after they were created, whatever the umask; under the filter that call does nothing and reports success.
Where no such filter can be set (another processor, a kernel without it), the regions are closed to others once the server is ready.

Like :mod:`serving.server.watch` it runs by itself with the standard library alone.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from typing import Final

_FCHMOD: Final = {"x86_64": (0xC000003E, 91), "aarch64": (0xC00000B7, 52)}
"""Processor -> its number in the audit system (``linux/audit.h``) and that of the call."""
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # linux/bpf_common.h
_ALLOW, _DO_NOTHING = 0x7FFF0000, 0x00050000  # linux/seccomp.h: allow, and fail with error 0
_CALL_AT, _PROCESSOR_AT = 0, 4


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def main() -> None:
    """Become the program that the command line names."""
    name, program, *arguments = sys.argv[1:]
    os.umask(0o077)
    ignore_fchmod()
    os.execv(program, [name, *arguments])  # noqa: S606 - the caller names the program, and no shell is involved


def ignore_fchmod() -> bool:
    """Have ``fchmod`` do nothing in this process and in all that it starts; return whether that could be arranged."""
    if platform.machine() not in _FCHMOD:
        return False
    processor, call = _FCHMOD[platform.machine()]
    steps = (
        (_LOAD, 0, 0, _PROCESSOR_AT),
        (_JUMP_IF_EQUAL, 0, 3, processor),
        (_LOAD, 0, 0, _CALL_AT),
        (_JUMP_IF_EQUAL, 0, 1, call),
        (_RETURN, 0, 0, _DO_NOTHING),
        (_RETURN, 0, 0, _ALLOW),
    )
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    filter_ = _Program(len(steps), ctypes.addressof(instructions))
    prctl = ctypes.CDLL(None).prctl
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    return not prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filter_), 0, 0)


if __name__ == "__main__":
    main()
