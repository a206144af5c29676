"""Checks the output of a shop's own anchors, labels and families before examples are built."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import polars as pl

from cartwheel.core.errors import CartwheelError, ConfigError, DataError, LeakageError
from cartwheel.core.hooks import described
from workflows.features.family import Moments
from workflows.tasks.split import SplitName, iso
from workflows.tasks.task import Answer, Labels, Task

T = TypeVar("T")


def check_labels(name: str, answer: Answer, tables: dict[SplitName, pl.DataFrame]) -> None:
    """Refuse labels that nothing can be learnt from or evaluated by.

    Raises:
        DataError: a probability's label is always true or always false in a split, a quantity always the same, or below 0.
    """
    for split, table in tables.items():
        label = table["label"]
        if label.n_unique() < 2:
            value = "always true" if answer is Answer.PROBABILITY and label[0] else "always false"
            value = value if answer is Answer.PROBABILITY else f"always {label[0]:g}"
            raise DataError(
                f"[tasks.{name}]: the label of the {len(table)} {split} examples is {value}, so nothing can be "
                f"{'learnt' if split == 'train' else 'judged'}.",
                "Predict another event or window, or set valid_from and test_from of the task so that both outcomes are on each side.",
            )
        if answer is Answer.QUANTITY and (least := float(np.min(label.to_numpy()))) < 0:
            raise DataError(
                f"[tasks.{name}]: the label of a {split} example is {least:g}, where a quantity is at least 0.",
                "Predict another column.",
            )


def check_moments(task: Task, at: Moments, span: tuple[int, int]) -> None:
    """Hold the shop's own anchors to the span that they were asked for, or a split would be asked within another one."""
    start, stop = span
    if not isinstance(at, Moments) or np.shape(at.entity) != np.shape(at.anchor) or np.ndim(at.anchor) != 1:
        raise ConfigError(
            f"[tasks.{task.name}]: its anchors gave {type(at).__name__}, where Moments with an entity for each anchor are expected.",
            "Return Moments(entity, anchor) with two int64 arrays of one length.",
        )
    outside = (at.anchor < start) | (at.anchor >= stop)
    if outside.any():
        raise LeakageError(
            f"[tasks.{task.name}]: {int(outside.sum())} anchors lie outside of the span that was asked for, from {iso(start)} on and "
            f"before {iso(stop)}, the first at {iso(int(at.anchor[outside][0]))}.",
            "Return only moments with start <= anchor < stop.",
        )


def check_values(task: Task, answer: Answer, at: Moments, labels: Labels) -> None:
    """Hold the shop's own labels to one value a moment: 0 or 1 of a probability, finite of a quantity, NaN for nothing to predict."""
    fine = isinstance(labels, Labels) and np.shape(labels.value) == np.shape(labels.known_at) == (len(at),)
    if not fine:
        raise ConfigError(
            f"[tasks.{task.name}]: its label gave {type(labels).__name__} for {len(at)} moments, where Labels with a value and an "
            "instant of each are expected.",
            "Return Labels(value, known_at) with arrays of that length.",
        )
    known = labels.value[~np.isnan(labels.value)]
    wrong = known[~np.isin(known, (0.0, 1.0))] if answer is Answer.PROBABILITY else known[~np.isfinite(known)]
    if len(wrong):
        raise ConfigError(
            f"[tasks.{task.name}]: its label is {wrong[0]:g}, where {'0 or 1' if answer is Answer.PROBABILITY else 'a finite number'} is "
            "expected.",
            "Correct the label, or declare the other kind of answer.",
        )


def checked(task: Task, work: Callable[[], T]) -> T:
    """Call what a shop may have written, naming the task in what goes wrong."""
    try:
        return work()
    except CartwheelError as error:
        raise type(error)(f"[tasks.{task.name}]: {error.found}", error.fix) from error
    except Exception as error:
        raise ConfigError(f"[tasks.{task.name}] raised {described(error)}.", "Correct it; nothing was written.") from error
