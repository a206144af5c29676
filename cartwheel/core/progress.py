"""Progress that suits where it is shown: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

PATIENCE: Final = 2.0
"""Seconds in which work that is mostly short, such as fitting a baseline, shows nothing."""
_PLAIN_LINE_SECONDS = 5.0


class Advance(Protocol):
    """What a long loop calls after each piece of work."""

    def __call__(self, steps: int = 1, note: str = "") -> None:
        """Report ``steps`` more units done, with an optional ``note`` such as the current loss."""


class _RateColumn(ProgressColumn):
    """Shows how many units a second are done."""

    def render(self, task: Task) -> Text:
        """Return the rate, or nothing while it is not known."""
        return Text(f"{task.speed:,.1f}/s" if task.speed else "")


@contextlib.contextmanager
def progress(title: str, total: int | None = None, *, patience: float = 0.0) -> Iterator[Advance]:
    """Show the progress of ``total`` units of work on standard error. One may run within another.

    Args:
        title: what is being done, for example ``"train two_tower"``.
        total: the number of units, or None where it is not known beforehand.
        patience: seconds in which nothing is shown: work that is done by then leaves no trace.

    Yields:
        The function to call as work gets done.
    """
    if sys.stderr.isatty():
        with _bar(title, total, patience) as advance:
            yield advance
    else:
        with _lines(title, total, patience) as advance:
            yield advance


class _Bars:
    """The bars that a terminal shows at a time: a terminal has one place for them, so a bar within another joins it there."""

    shown: Progress | None = None


@contextlib.contextmanager
def _bar(title: str, total: int | None, patience: float) -> Iterator[Advance]:
    started = time.monotonic()
    done, bars, task, own = 0, None, None, False

    def show() -> None:
        nonlocal bars, task, own
        own = _Bars.shown is None
        bars = _Bars.shown or Progress(*_columns(), console=Console(stderr=True))
        if own:
            _Bars.shown = bars
            bars.start()
        task = bars.add_task(title, total=total, completed=done, note="")

    def advance(steps: int = 1, note: str = "") -> None:
        nonlocal done
        done += steps
        if bars is None and time.monotonic() - started >= patience:
            show()
        if bars is not None and task is not None:
            bars.update(task, completed=done)
            if note:
                bars.update(task, note=note)

    if patience <= 0:
        show()
    try:
        yield advance
    finally:
        if bars is not None and task is not None:
            if own:
                bars.stop()
                _Bars.shown = None
            else:
                bars.refresh()
                bars.remove_task(task)


def _columns() -> tuple[ProgressColumn, ...]:
    return (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )


@contextlib.contextmanager
def _lines(title: str, total: int | None, patience: float) -> Iterator[Advance]:
    started = last_line = time.monotonic()
    done = 0

    def advance(steps: int = 1, note: str = "") -> None:
        nonlocal done, last_line
        done += steps
        now = time.monotonic()
        if now - last_line < max(_PLAIN_LINE_SECONDS, patience):
            return
        last_line = now
        rate = done / (now - started)
        left = f", {(total - done) / rate:.0f} s left" if total and rate else ""
        share = f"{done}/{total}" if total else f"{done}"
        print(f"{title}: {share}, {rate:,.1f}/s{left} {note}".rstrip(), file=sys.stderr)

    yield advance
    seconds = time.monotonic() - started
    if seconds >= patience:
        print(f"{title}: done, {done} in {seconds:.1f} s", file=sys.stderr)
