"""Where a declared task is split in time, so that every label is known before the next split begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cartwheel.core.errors import DataError
from workflows.events.event_log import DAY_US
from workflows.settings import PrepareSettings
from workflows.tasks.split import Split, SplitName, iso, told_split
from workflows.tasks.task import Task

_LATER: Final = "Give a longer log, or lower predict.within_days"


@dataclass(frozen=True)
class Asked:
    """When a task is asked in each split.

    Attributes:
        split: where validation and test begin, and the log ends.
        spans: split -> ``(start, stop)``: anchors lie from ``start`` on and before ``stop``, microseconds.
        words: how the task is split, for a reader of the report.
        warning: why it is split otherwise than ``[prepare]`` splits the log; empty where it is not.
    """

    split: Split
    spans: dict[SplitName, tuple[int, int]]
    words: str
    warning: str = ""


def ask(task: Task, first: int, log_split: Split, prepare: PrepareSettings) -> Asked:
    """Choose the instants of a task's splits.

    The windows of the labels of training end before validation begins, those of validation before test begins, and those of test
    before the log ends. Where they do not fit into the split of ``[prepare]``, and the task sets none of its own, the log is shared
    anew: what remains of it beside three windows goes to training, validation and test by the shares of ``[prepare]``, and a warning
    says so. Anchors on a grid of days stand at midnight UTC; those of training are counted back from the last that is possible.

    Args:
        task: its label's horizon, its anchors' grid and the instants that it sets.
        first: the first event, microseconds.
        log_split: how ``[prepare]`` splits the log.
        prepare: the shares.

    Raises:
        DataError: the windows do not fit into the log, or not between the instants that the task sets.
    """
    horizon = task.label.horizon_us if task.label else 0
    warning = ""
    words = told_split(prepare)
    if task.split.test_from is not None or task.split.test_at is not None:
        split = _given(task, first, horizon, log_split, prepare)
        words = f"by time: test is asked from {iso(split.t_test)} on, validation from {iso(split.t_valid)} on"
        if task.split.test_at is not None:
            words = f"by time: test is asked at {iso(split.t_test)} alone, validation from {iso(split.t_valid)} on"
    elif _fault(task, first, horizon, log_split):
        split = _shared_anew(task, first, horizon, log_split, prepare)
        words = f"by time: test is asked from {iso(split.t_test)} on, validation from {iso(split.t_valid)} on"
        warning = (
            f"The windows of {horizon / DAY_US:g} days do not fit into the split of [prepare], so the task has one of its own: validation "
            f"begins at {iso(split.t_valid)} and test at {iso(split.t_test)}."
        )
    else:
        split = log_split
    if fault := _fault(task, first, horizon, split):
        fix = (
            f"{_LATER}, or set valid_from and test_from of the task."
            if horizon
            else "Set valid_from and test_from within the log."
        )
        raise DataError(f"[tasks.{task.name}]: {fault}", fix)
    return Asked(split, _spans(task, first, horizon, split), words, warning)


def _given(task: Task, first: int, horizon: int, log_split: Split, prepare: PrepareSettings) -> Split:
    given = task.split
    t_test = given.test_at if given.test_at is not None else given.test_from
    assert t_test is not None
    t_valid = given.valid_from
    if t_valid is None:
        left = max(t_test - first - 2 * horizon, 0)
        t_valid = t_test - horizon - round(left * prepare.valid_share / (1 - prepare.test_share))
        t_valid = _midnight_before(t_valid) if task.anchors is not None and task.anchors.every_us is not None else t_valid
    return Split(t_valid, t_test, log_split.end)


def _shared_anew(task: Task, first: int, horizon: int, log_split: Split, prepare: PrepareSettings) -> Split:
    left = log_split.end - first - 3 * horizon
    if left < DAY_US:
        days = (log_split.end - first) / DAY_US
        raise DataError(
            f"[tasks.{task.name}]: windows of {horizon / DAY_US:g} days end beyond the log: training, validation and test need one each, "
            f"and it covers {days:.3g} days.",
            f"{_LATER} to {max((days - 4) / 3, days / 8):.2g} or less.",
        )
    t_test = _midnight_before(log_split.end - horizon - round(prepare.test_share * left))
    t_valid = _midnight_before(t_test - horizon - round(prepare.valid_share * left))
    return Split(t_valid, t_test, log_split.end)


def _fault(task: Task, first: int, horizon: int, split: Split) -> str:
    """Return why a split has no room for the task; empty where it has."""
    spans = _spans(task, first, horizon, split)
    window = f"windows of {horizon / DAY_US:g} days"
    if not horizon and not first < split.t_valid < split.t_test < split.end:
        return (
            f"validation begins at {iso(split.t_valid)} and test at {iso(split.t_test)}, but the log's events lie from {iso(first)} to "
            f"{iso(split.end - 1)}."
        )
    if spans["test"][0] >= spans["test"][1]:
        return (
            f"{window} that begin at {iso(spans['test'][0])}, where test does, end beyond the log, whose last event is at "
            f"{iso(split.end - 1)}."
        )
    if spans["valid"][0] >= spans["valid"][1]:
        return f"{window} that begin at {iso(spans['valid'][0])}, where validation does, reach over {iso(split.t_test)}, where test begins."
    if spans["train"][0] >= spans["train"][1]:
        return f"no {window} lie between the first event, at {iso(first)}, and {iso(split.t_valid)}, where validation begins."
    return ""


def _spans(task: Task, first: int, horizon: int, split: Split) -> dict[SplitName, tuple[int, int]]:
    every = task.anchors.every_us if task.anchors is not None else None
    stop_train, stop_valid, stop_test = (border - horizon + 1 for border in (split.t_valid, split.t_test, split.end))
    if not horizon:  # the truth of each row is known at an instant of its own
        stop_train, stop_valid, stop_test = split.t_valid, split.t_test, split.end + 1
    if every is None:
        return {"train": (first, stop_train), "valid": (split.t_valid, stop_valid), "test": (split.t_test, stop_test)}
    latest = _midnight_before(stop_train - 1)
    start = latest - (latest - first - 1) // every * every
    test_at = task.split.test_at
    test = (_midnight_after(split.t_test), stop_test) if test_at is None else (test_at, min(test_at + 1, stop_test))
    return {"train": (start, latest + 1), "valid": (_midnight_after(split.t_valid), stop_valid), "test": test}


def _midnight_before(instant: int) -> int:
    return instant // DAY_US * DAY_US


def _midnight_after(instant: int) -> int:
    return -(-instant // DAY_US) * DAY_US
