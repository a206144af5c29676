"""Progress is plain lines where there is no terminal, and a bar where there is one."""

import io
import sys
import time

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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    result = Terminal()
    monkeypatch.setattr(sys, "stderr", result)
    return result


def test_work_that_is_done_before_patience_ends_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("fit", total=2, patience=60.0) as advance:
        advance(2)
    assert not capsys.readouterr().err


def test_work_that_outlasts_patience_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PLAIN_LINE_SECONDS", 0.0)
    with progress("fit", total=2, patience=0.02) as advance:
        time.sleep(0.03)
        advance(1)
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == ["fit: 1/2", "fit: done"]


@pytest.mark.parametrize("patience", [0.0, 1e-9])
def test_a_bar_within_another_joins_it_and_leaves_it_going(patience: float, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with progress("choose", total=2) as advance:
        advance()
        with progress("fit", total=5, patience=patience) as within:
            within(5)
        advance()
    shown = terminal.getvalue()
    assert "5/5" in shown
    assert "2/2" in shown
    with progress("again", total=1) as advance:  # the place is free
        advance()
    assert "1/1" in terminal.getvalue()


def test_a_terminal_is_left_alone_by_work_that_is_done_before_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with progress("fit", total=2, patience=60.0) as advance:
        advance(2)
    assert not terminal.getvalue()


def test_a_failure_ends_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with pytest.raises(ValueError, match="no"), progress("fit", total=2):
        raise ValueError("no")
    with progress("again", total=1) as advance:
        advance()
    assert "1/1" in terminal.getvalue()


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with progress("count", total=2) as advance:
        advance(2, note="well")
    assert "count" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()
