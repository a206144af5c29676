"""What single columns of a table know of its label: the label under another name, and what comes near it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import polars as pl

from workflows.audit.targets import (
    MAX_AUC,
    MAX_CLASSES,
    MIN_AUC_ROWS,
    MIN_ROWS_OF_A_CLASS,
    area_by_value,
    one_to_one,
    ordered_area,
)
from workflows.events.asof import Bools

OUTRUNS: Final = 1.5
"""How many times as far from random as the next column one must be to outrun it."""
MIN_LEAD: Final = 0.5
"""How far from random, between 0 and 1, a column must be before it is compared with the next: an area under the ROC curve of 0.75, or a
rank correlation of 0.5."""
_SAMPLE: Final = 200_000
_ROWS_OF_A_VALUE: Final = 50
"""Rows that a value has on average in a column that describes rows; with fewer it rather names a thing that several rows are about."""
_LEADERS: Final = 3
"""Columns that may outrun all others together, as copies of one leak do."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: its name.
        column: the column that it is about.
        is_leak: whether a model must not be trained on the table as it is; else it is for a person to judge.
        found: what was found.
        fix: what to do about it.
    """

    check: str
    column: str
    is_leak: bool
    found: str
    fix: str


@dataclass(frozen=True)
class _Strength:
    """How much of the label a column tells by itself.

    Attributes:
        column: its name.
        skill: 0 for chance, 1 for all.
        measure: the figure in words.
    """

    column: str
    skill: float
    measure: str


def find_in_columns(table: pl.DataFrame, label: str, features: Sequence[str]) -> list[Finding]:
    """Look for the label in every single column of a table.

    Args:
        table: the examples, each with a label; of more than 200,000 a sample is looked at.
        label: the column that is to be predicted.
        features: the columns that a model would see.
    """
    rows = table if table.height <= _SAMPLE else table.sample(_SAMPLE, seed=0)
    truth = rows[label]
    find, strength = (_find_class, _class_strength) if truth.n_unique() <= MAX_CLASSES else (_find_quantity, _quantity_strength)
    found = {column: find(rows[column], truth) for column in features}
    findings = [finding for finding in found.values() if finding is not None]
    if len(rows) >= MIN_AUC_ROWS:
        findings += _outrunning([strength(rows[column], truth) for column in features if found[column] is None])
    return findings


def _find_class(values: pl.Series, label: pl.Series) -> Finding | None:
    if pairs := one_to_one(values, label):
        return Finding(
            "label under another name", values.name, True, f"Its values stand for those of the label: {pairs}.", "Leave it out."
        )
    if len(label) < MIN_AUC_ROWS:
        return None
    for is_class, value in _classes(label):
        filled = ordered_area(values.is_not_null().alias(values.name), is_class)
        if filled > MAX_AUC:
            found = (
                f"Whether it is filled tells {label.name} = {value!r} with an area under the ROC curve of {filled:.4f}, above {MAX_AUC}: "
                "it is written when the label is known."
            )
            return Finding("filled by the label", values.name, True, found, _compute_before(values.name))
        ordered, by_value = ordered_area(values, is_class), area_by_value(values, is_class)
        if max(ordered, by_value) <= MAX_AUC:
            continue
        told = f"Alone it tells {label.name} = {value!r} with an area under the ROC curve of {max(ordered, by_value):.4f}"
        if ordered <= MAX_AUC and values.n_unique() * _ROWS_OF_A_VALUE > len(values):
            fix = "If it names what the rows are about, keep the rows of a name in one split (--group), or --ignore it."
            found = f"{told}: the rows of one value share their label."
            return Finding("label shared by a name", values.name, False, found, fix)
        return Finding("target in disguise", values.name, True, f"{told}, above {MAX_AUC}.", _compute_before(values.name))
    return None


def _classes(label: pl.Series) -> list[tuple[Bools, Any]]:
    """Return which rows are of each class; of a class of a few rows any column may tell much by chance, so these are left out."""
    classes = [((label == value).to_numpy(), value) for value in label.unique(maintain_order=True)]
    return [(rows, value) for rows, value in classes if rows.sum() >= MIN_ROWS_OF_A_CLASS]


def _find_quantity(values: pl.Series, label: pl.Series) -> Finding | None:
    if len(label) < MIN_AUC_ROWS or abs(correlation := _rank_correlation(values, label)) <= MAX_AUC:
        return None
    told = f"Its rank correlation with {label.name} is {correlation:.4f}, beyond {MAX_AUC}."
    return Finding("target in disguise", values.name, True, told, _compute_before(values.name))


def _rank_correlation(values: pl.Series, label: pl.Series) -> float:
    """Return Spearman's correlation over the rows that have a value; 0 where there are too few, or the column has no order."""
    if not (values.dtype.is_numeric() or values.dtype.is_temporal()):
        return 0.0
    both = pl.DataFrame({"value": values.to_physical(), "label": label}).cast(pl.Float64).drop_nulls()
    if both.height < MIN_AUC_ROWS or both["value"].n_unique() < 2 or both["label"].n_unique() < 2:
        return 0.0
    return float(both.select(pl.corr("value", "label", method="spearman")).item())


def _class_strength(values: pl.Series, label: pl.Series) -> _Strength:
    """Return the best area under the ROC curve over the classes; of a column without an order, by what each value tells."""
    areas = [0.5]
    for is_class, _ in _classes(label):
        has_order = values.dtype.is_numeric() or values.dtype.is_temporal()
        areas.append(ordered_area(values, is_class) if has_order else area_by_value(values, is_class))
    return _Strength(values.name, 2 * max(areas) - 1, f"an area under the ROC curve of {max(areas):.3f}")


def _quantity_strength(values: pl.Series, label: pl.Series) -> _Strength:
    correlation = _rank_correlation(values, label)
    return _Strength(values.name, abs(correlation), f"a rank correlation of {correlation:.3f}")


def _outrunning(strengths: Sequence[_Strength]) -> list[Finding]:
    """Find the few columns that tell much more of the label than the best of all others does."""
    ranked = sorted(strengths, key=lambda strength: -strength.skill)
    for place, (ahead, next_best) in enumerate(pairwise(ranked[: _LEADERS + 1]), 1):
        if ahead.skill < MIN_LEAD:
            break
        if ahead.skill >= OUTRUNS * next_best.skill:
            return [
                Finding(
                    "outruns the others",
                    strength.column,
                    False,
                    f"Alone it has {strength.measure}; the best of the columns behind it, {next_best.column}, has {next_best.measure}.",
                    f"Check when {strength.column} is written: if only with the outcome, it is a leak. Else --ignore it here.",
                )
                for strength in ranked[:place]
            ]
    return []


def _compute_before(column: str) -> str:
    return f"Leave {column} out, or compute it from what was known before the prediction is asked for."
