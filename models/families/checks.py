"""Validation of training data for model families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import DataError
from models.metrics.grouped import Lists
from models.training.tables import Table
from workflows.features.column import Column
from workflows.tasks.task import Answer

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MAX_GRADE: Final = 31
"""The highest label of a row of a list: its gain, ``2 ** label - 1``, is a 32-bit number."""


def check_labels(label: Floats, answer: Answer, where: str) -> None:
    """Refuse training labels from which an answer cannot be learnt.

    Raises:
        DataError: there is none, one is no number or not what the answer has, or all are the same.
    """
    if not len(label):
        raise DataError(f"{where} has no training row.", "Give the task a longer log, or move the split.")
    bad = np.flatnonzero(~np.isfinite(label))
    if len(bad):
        raise DataError(f"{where}: the label of training row {bad[0]} is {label[bad[0]]}.", "Leave such rows out.")
    if answer is Answer.QUANTITY:
        _check_quantity(label, where)
        return
    if answer is Answer.RANKING:
        _check_grades(label, "training", where)
    if len(np.unique(label)) < 2:
        both = "labels that differ" if answer is Answer.RANKING else "both 0 and 1"
        raise DataError(
            f"{where}: all {len(label)} training labels are {label[0]:g}; {both} are needed.",
            "Choose another window or event.",
        )


def check_arms(treated: Floats | None, label: Floats, where: str) -> None:
    """Refuse rows of which it is not known whether they were treated, or of which an arm says nothing.

    Raises:
        DataError: arms are not given, or an arm has no row, or labels of one value only.
    """
    if treated is None or treated.shape != label.shape:
        raise DataError(f"{where} needs the treatment of each training row.", "Give the task a treatment.")
    for arm, name in ((1.0, "treated"), (0.0, "not treated")):
        found = label[treated == arm]
        if len(np.unique(found)) < 2:
            raise DataError(
                f"{where}: the {len(found)} training rows that were {name} have {len(np.unique(found))} values of the label, where two "
                "or more are needed.",
                "Give a longer table, or another label.",
            )


def check_lists(label: Floats, groups: Ints | None, valid_label: Floats, valid_groups: Ints | None, where: str) -> None:
    """Refuse lists in which there is nothing to order, and rows that are in none.

    Raises:
        DataError: the lists of training or validation rows are not given, or of another number than there are rows; the rows of a list
            are scattered; a validation label is no grade; or no training list holds rows of different labels.
    """
    for name, labels, given in (("training", label, groups), ("validation", valid_label, valid_groups)):
        if given is None and not len(labels):
            continue
        if given is None:
            raise DataError(
                f"{where} ranks lists, but the list of each {name} row is missing.",
                f"Give {'groups' if name == 'training' else 'valid_groups'}.",
            )
        if given.shape != labels.shape or given.dtype.kind not in "iu":
            raise DataError(
                f"{where}: groups of shape {given.shape} and type {given.dtype} are given for {len(labels)} {name} rows.",
                "Give one whole number a row.",
            )
        _check_together(given, name, where)
        _check_grades(labels, name, where)
    lists = Lists.of(groups) if groups is not None else Lists(np.zeros(0, np.int64), np.zeros(0, np.int64))
    if not lists.differing(label).any():
        raise DataError(
            f"{where}: none of the {len(lists)} training lists holds rows with different labels, so there is nothing to learn.",
            "Give lists with both chosen and other rows.",
        )


def check_missing(columns: Sequence[Column], train: Table, where: str) -> None:
    """Refuse missing numbers, of a family that reads none.

    Raises:
        DataError: naming the first column and row.
    """
    for column in columns:
        values: npt.NDArray[Any] = train[column.name]
        if values.dtype.kind == "f" and np.isnan(values).any():
            row = np.argwhere(np.isnan(values))[0][0]
            raise DataError(
                f"{where} does not read missing numbers, and the column {column.name!r} has one in training row {row}.",
                "Fill them, or leave the column out for it.",
            )


def _check_quantity(label: Floats, where: str) -> None:
    if label.min() < 0:
        row = int(np.argmin(label))
        raise DataError(
            f"{where}: the label of training row {row} is {label[row]:g}, where a quantity of at least 0 is expected.",
            "Predict another quantity.",
        )
    if label.max() == 0:
        raise DataError(f"{where}: all {len(label)} training labels are 0.", "Choose a longer window or another event.")


def _check_grades(label: Floats, name: str, where: str) -> None:
    bad = np.flatnonzero(~((label >= 0) & (label <= MAX_GRADE) & (label == np.floor(label))))
    if len(bad):
        raise DataError(
            f"{where}: the label of {name} row {bad[0]} is {label[bad[0]]:g}, where a whole number from 0 to {MAX_GRADE} is expected.",
            "Label chosen rows 1 and the rest 0, or use grades.",
        )


def _check_together(groups: Ints, name: str, where: str) -> None:
    first = groups[Lists.of(groups).starts]
    found, counts = np.unique(first, return_counts=True)
    if len(found) < len(first):
        raise DataError(
            f"{where}: the {name} rows of list {found[counts > 1][0]} are scattered, where those of a list follow one another.",
            "Sort the rows by list.",
        )
