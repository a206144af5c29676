"""Progress that suits where it is shown: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

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
def progress(title: str, total: int | None = None) -> Iterator[Advance]:
    """Show the progress of ``total`` units of work on standard error.

    Args:
        title: what is being done, for example ``"train two_tower"``.
        total: the number of units, or None where it is not known beforehand.

    Yields:
        The function to call as work gets done.
    """
    if sys.stderr.isatty():
        with _bar(title, total) as advance:
            yield advance
    else:
        with _lines(title, total) as advance:
            yield advance


@contextlib.contextmanager
def _bar(title: str, total: int | None) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(title, total=total, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            shown.update(task, advance=steps)
            if note:
                shown.update(task, note=note)

        yield advance


@contextlib.contextmanager
def _lines(title: str, total: int | None) -> Iterator[Advance]:
    started = last_line = time.monotonic()
    done = 0

    def advance(steps: int = 1, note: str = "") -> None:
        nonlocal done, last_line
        done += steps
        now = time.monotonic()
        if now - last_line < _PLAIN_LINE_SECONDS:
            return
        last_line = now
        rate = done / (now - started)
        left = f", {(total - done) / rate:.0f} s left" if total and rate else ""
        share = f"{done}/{total}" if total else f"{done}"
        print(f"{title}: {share}, {rate:,.1f}/s{left} {note}".rstrip(), file=sys.stderr)

    yield advance
    print(f"{title}: done, {done} in {time.monotonic() - started:.1f} s", file=sys.stderr)
