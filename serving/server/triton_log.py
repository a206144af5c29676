"""What Triton's log says about why it did not start."""

from __future__ import annotations

import re
from pathlib import Path

_QUOTED = r'"(?P<text>(?:[^"\\]|\\.|"(?!\s*$))*)"\s*$'
_FAILED_MODEL = re.compile(r"failed to load (?:model )?'(?P<model>[^']+)'(?: version \S+)?: (?P<reason>.*)", re.DOTALL)
_FAILED_POLL = re.compile(r"Poll failed for model directory '(?P<model>[^']+)': (?P<reason>.*)", re.DOTALL)
_PROTOBUF = re.compile(r"Error parsing text-format \S+: (?P<where>\d+:\d+): (?P<reason>.*)")
_TAKEN = re.compile(r"failed to start \w+ service: .*[Ss]ocket '(?P<address>[^']+)' already in use")
_LOADING = re.compile(r'"loading: (?P<model>\S+):\d+"')
_LOADED = re.compile(r"\"successfully loaded '(?P<model>[^']+)'\"")
_STUB = re.compile(r"Failed to \w+ Python stub: (?P<reason>.*)")
_SIGNAL = re.compile(r"^Signal \((?P<number>(?!2\)|15\))\d+)\) received\.$", re.MULTILINE)
_ERROR_LINE = re.compile(r"^(?:E\d{4} |error: |\[libprotobuf ERROR )")
_HARMLESS = "CudaDriverHelper has not been initialized"
_STATUS = re.compile(r"^(?:Internal|Invalid argument|Unavailable|Not found|Unsupported|Unknown): ")
_READ_BYTES = 1 << 20


def read_tail(log: Path, since: int = 0) -> str:
    """Return the last mebibyte of a log, but nothing before the byte ``since``; empty if there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(since, log.stat().st_size - _READ_BYTES))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""


def failed_models(text: str) -> dict[str, str]:
    """Return model -> why it did not load, one line each, in the order of the log."""
    reasons: dict[str, str] = {}
    grammar = ""
    for line in text.splitlines():
        if protobuf := _PROTOBUF.search(line):
            grammar = f" (line:column {protobuf['where']}: {protobuf['reason'].strip()})"
            continue
        if not line.startswith("E"):
            continue
        message = _unquoted(line)
        found = _FAILED_MODEL.search(message) or _FAILED_POLL.search(message)
        if found:
            is_poll = "Poll failed" in message
            reasons[found["model"]] = _first_lines(found["reason"]) + (grammar if is_poll else "")
            grammar = ""
    return reasons


def taken_port(text: str) -> int | None:
    """Return the port that Triton found taken, if that is what stopped it."""
    found = _TAKEN.search(text)
    return int(found["address"].rpartition(":")[2]) if found else None


def has_lost_lock(text: str) -> bool:
    """Whether the Python backend failed on a lock in shared memory, which it does now and then on a busy machine."""
    return "boost::interprocess::lock_exception" in text


def fatal_signal(text: str) -> int | None:
    """Return the number of the signal that Triton says it dies of, if any; at SIGINT and SIGTERM it stops in its own way."""
    found = _SIGNAL.search(text)
    return int(found["number"]) if found else None


def still_loading(text: str) -> list[str]:
    """Return the models that were begun and not finished."""
    finished = {found["model"] for found in _LOADED.finditer(text)}
    return sorted({found["model"] for found in _LOADING.finditer(text)} - finished)


def stub_complaint(text: str) -> str:
    """Return the last reason for which a Python model could not begin, empty if there is none."""
    reasons = [found["reason"].strip() for found in _STUB.finditer(text)]
    return reasons[-1] if reasons else ""


def last_lines(text: str, count: int = 5) -> str:
    """Return the last error lines if there are any, else simply the last lines, leaving Triton's tables out."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip() and line[0] not in "|+"]
    errors = [line for line in lines if _ERROR_LINE.match(line) and _HARMLESS not in line]
    return "\n".join((errors or lines)[-count:])


def _unquoted(line: str) -> str:
    found = re.search(_QUOTED, line)
    return found["text"].replace("\\n", "\n").replace('\\"', '"') if found else line


def _first_lines(reason: str) -> str:
    """Shorten a reason that ends in a Python stack to its first line and the innermost place of the stack."""
    message, _, stack = reason.strip().partition("\n\nAt:")
    message = " ".join(_STATUS.sub("", message).split())
    place = stack.strip().splitlines()[0].strip() if stack.strip() else ""
    return f"{message} (at {place})" if place else message
