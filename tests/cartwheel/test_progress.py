"""Progress is plain lines where there is no terminal, and a bar where there is one."""

import io
import sys

import pytest

from cartwheel.core import progress as module
from cartwheel.core.progress import progress


def test_plain_lines_say_share_rate_and_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PLAIN_LINE_SECONDS", 0.0)
    with progress("count", total=4) as advance:
        advance(3, note="loss 0.5")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("count: 3/4, ")
    assert lines[0].endswith("s left loss 0.5")
    assert lines[1].startswith("count: done, 3 in ")


def test_an_unknown_total_is_fine(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("count") as advance:
        advance()
    assert "count: done, 1 in" in capsys.readouterr().err


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress("count", total=2) as advance:
        advance(2, note="well")
    assert "count" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()
