"""The leakage audit of any table that a model is to learn from, whoever made it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import polars as pl

from cartwheel.core.errors import DataError, UsageError
from workflows.audit.single_columns import Finding, find_in_columns
from workflows.audit.targets import MAX_CLASSES
from workflows.events.reading import did_you_mean

_BEFORE_SPLIT: Final = "Decide the split before anything is fitted, and keep each row on one side."


@dataclass(frozen=True)
class TableAudit:
    """What the audit of a table looked at, and found.

    Attributes:
        rows: rows of the table that have a label.
        checks: check -> how many columns or rows it looked at.
        findings: leaks first.
    """

    rows: int
    checks: dict[str, int]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Subject:
    """The table and the parts that its columns play; ``features`` are all that play none."""

    table: pl.DataFrame
    label: str
    time: str | None
    split: str | None
    group: str | None
    features: tuple[str, ...]


def audit_table(
    table: pl.DataFrame,
    label: str,
    *,
    time: str | None = None,
    split: str | None = None,
    group: str | None = None,
    ignore: Sequence[str] = (),
) -> TableAudit:
    """Look for leaks in a table, each row of which is an example.

    Args:
        table: the examples; any columns.
        label: what is to be predicted: two values, a few classes, or a quantity. Rows without it are left out.
        time: the instant at which each prediction is asked for (a date or datetime).
        split: which split each row belongs to.
        group: what rows depend on each other through, such as a session or a customer.
        ignore: columns that no model sees, such as ids.

    Returns:
        What was looked at, and found.

    Raises:
        UsageError: a column is not there, plays two parts, or is of a type that its part does not allow.
        DataError: no row has a label, or all have the same.
    """
    subject = _cast_parts(table, label, time, split, group, ignore)
    checks: dict[str, Callable[[_Subject], tuple[int, list[Finding]]]] = {"single columns": _check_columns}
    if time is not None:
        checks["later instants"] = _check_later
    if split is not None:
        checks["duplicates across splits"] = _check_duplicates
        if time is not None:
            checks["order of the splits"] = _check_order
        if group is not None:
            checks["groups across splits"] = _check_groups
    looked_at, findings = {}, []
    for name, check in checks.items():
        looked_at[name], found = check(subject)
        findings += found
    return TableAudit(subject.table.height, looked_at, tuple(sorted(findings, key=lambda finding: not finding.is_leak)))


def _cast_parts(
    table: pl.DataFrame, label: str, time: str | None, split: str | None, group: str | None, ignore: Sequence[str]
) -> _Subject:
    parts = [part for part in (label, time, split, group) if part is not None]
    for column in (*parts, *ignore):
        if column not in table.columns:
            raise UsageError(
                f"The table has no column {column!r}.{did_you_mean(column, table.columns)}", f"It has {', '.join(table.columns)}."
            )
        if (*parts, *ignore).count(column) > 1:
            raise UsageError(f"Column {column!r} has two roles.", "Name each column once.")
    if time is not None and table[time].dtype.base_type() not in (pl.Date, pl.Datetime):
        raise UsageError(f"Column {time!r} is {table[time].dtype}, not a date or datetime.", "Convert it, or omit --time.")
    labelled = table.filter(pl.col(label).is_not_null())
    if labelled[label].n_unique() < 2:
        raise DataError(
            f"Column {label!r} has no two values in the {labelled.height} rows that have one: there is nothing to tell apart.",
            "Give the column that a model is to predict.",
        )
    if labelled[label].n_unique() > MAX_CLASSES and not labelled[label].dtype.is_numeric():
        raise UsageError(
            f"Column {label!r} has {labelled[label].n_unique()} values of type {labelled[label].dtype}; a label is a number, or one of at "
            f"most {MAX_CLASSES} classes.",
            "Give the column that a model is to predict.",
        )
    features = tuple(column for column in table.columns if column not in {*parts, *ignore})
    return _Subject(labelled, label, time, split, group, features)


def _check_columns(subject: _Subject) -> tuple[int, list[Finding]]:
    """Look for the label in every single column."""
    return len(subject.features), find_in_columns(subject.table, subject.label, subject.features)


def _check_later(subject: _Subject) -> tuple[int, list[Finding]]:
    """Look for instants in other columns that lie after the one at which the prediction is asked for."""
    assert subject.time is not None
    schema = subject.table.schema
    others = [column for column in subject.features if schema[column].base_type() in (pl.Date, pl.Datetime)]
    findings = []
    for column in others:
        # A date is compared as one: the day of the anchor is not after it.
        by_day = pl.Date in (schema[column].base_type(), schema[subject.time].base_type())
        first, second = (_instant(name, schema[name], by_day=by_day) for name in (column, subject.time))
        later = subject.table.select((first > second).fill_null(value=False).alias("later"))["later"]
        if later.any():
            row = int(later.arg_max() or 0)
            found = (
                f"{int(later.sum())} of {len(later)} rows have an instant after {subject.time}; the first is row {row + 1} of those with "
                f"a label, {subject.table[column][row]} after {subject.table[subject.time][row]}."
            )
            fix = f"Leave {column} out. If it was planned and known beforehand, --ignore it here."
            findings.append(Finding("later than asked", column, True, found, fix))
    return len(others), findings


def _instant(column: str, dtype: pl.DataType, *, by_day: bool) -> pl.Expr:
    instant = pl.col(column)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        instant = instant.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return instant.cast(pl.Date if by_day else pl.Datetime("us"))


def _check_duplicates(subject: _Subject) -> tuple[int, list[Finding]]:
    """Look for rows that are in two splits, equal in all but the ignored columns."""
    assert subject.split is not None
    identity = [column for column in (*subject.features, subject.label, subject.time, subject.group) if column is not None]
    rows = subject.table.select(pl.col(subject.split).alias("split"), place=pl.int_range(pl.len()))
    rows = rows.with_columns(subject.table.select(identity).hash_rows().alias("row"))
    rows = rows.with_columns(pl.col("split").n_unique().over("row").alias("splits")).filter(pl.col("splits") > 1)
    if rows.is_empty():
        return subject.table.height, []
    first = rows.filter(pl.col("row") == rows["row"][0]).unique("split", keep="first", maintain_order=True)
    told = " and ".join(f"row {place + 1} ({split})" for split, place in first.select("split", "place").iter_rows())
    found = f"{rows.height} rows are in more than one split, equal in every column but {subject.split}; the first are {told}."
    return subject.table.height, [Finding("duplicates across splits", subject.split, True, found, _BEFORE_SPLIT)]


def _check_order(subject: _Subject) -> tuple[int, list[Finding]]:
    """Look for splits that overlap in time."""
    assert subject.split is not None
    assert subject.time is not None
    rows = subject.table.select(pl.col(subject.split).alias("split"), pl.col(subject.time).alias("time")).drop_nulls()
    time = pl.col("time")
    spans = rows.group_by("split").agg(first=time.min(), last=time.max(), middle=time.median()).sort("middle", "split")
    findings = []
    for earlier, later in pairwise(spans.iter_rows(named=True)):
        late = rows.filter((pl.col("split") == earlier["split"]) & (time > later["first"])).height
        if late:
            found = (
                f"{late} rows of {earlier['split']!r} are later than the first of {later['split']!r} ({later['first']}): the splits "
                f"overlap in time."
            )
            fix = "Split by time, unless the model will never be asked about what comes after its training data."
            findings.append(Finding("splits overlap in time", subject.time, False, found, fix))
    return rows.height, findings


def _check_groups(subject: _Subject) -> tuple[int, list[Finding]]:
    """Look for groups that have rows in several splits."""
    assert subject.split is not None
    assert subject.group is not None
    rows = subject.table.filter(pl.col(subject.group).is_not_null())
    across = rows.filter(pl.col(subject.split).n_unique().over(subject.group) > 1)
    if across.is_empty():
        return rows.height, []
    found = (
        f"{across[subject.group].n_unique()} of {rows[subject.group].n_unique()} have rows in several splits, {across.height} of "
        f"{rows.height} rows; the first is {across[subject.group][0]!r}. Such rows are not independent."
    )
    fix = "In a split by time that is natural; in any other, keep each on one side."
    return rows.height, [Finding("groups across splits", subject.group, False, found, fix)]
