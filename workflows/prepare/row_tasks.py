"""The examples of a task about the rows of a table, which bring their labels."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from cartwheel.core.errors import ConfigError, DataError
from workflows.events.blanks import BLANKS
from workflows.events.reading import MARKS, open_frame
from workflows.events.schema import FLAW
from workflows.features.column import CATEGORICAL, Column, Kind, Owner
from workflows.settings import TABLE_NULL_VALUES, PrepareSettings
from workflows.tasks.split import SPLITS, SplitName
from workflows.tasks.task import Answer, RowTable, Task

TRUE: Final = ("true", "yes", "y", "1", "t")
FALSE: Final = ("false", "no", "n", "0", "f")
_PLACE: Final = "__cartwheel_place"
_RESERVED: Final = ("entity", "anchor", "label", "treated")


@dataclass(frozen=True)
class RowExamples:
    """The rows of a table as examples.

    Attributes:
        answer: an effect where there is a treatment; else a probability where the label has two values, or a quantity.
        columns: the features.
        tables: split -> ``entity`` (number of the row, from 1), ``label``, ``treated`` where there is a treatment, then the features.
        split: how and where it was split.
        dropped: rows that are no examples, by split ("all") and reason.
        warnings: what a reader should know.
    """

    answer: Answer
    columns: tuple[Column, ...]
    tables: dict[SplitName, pl.DataFrame]
    split: dict[str, str]
    dropped: dict[str, dict[str, int]]
    warnings: list[str]


def rows_of(task: Task, prepare: PrepareSettings, seed: int) -> RowExamples:
    """Read a table and split its rows in time.

    Booleans, in whatever words, and text are categories; whole numbers from 0 on are counts, other numbers from 0 on amounts, the rest
    numbers; ``kinds`` says otherwise. Rows without a label, or without a time, are left out and counted.

    Args:
        task: with its table.
        prepare: the shares of validation and test.
        seed: draws a sample where there are more rows than ``max_examples``.

    Raises:
        ConfigError: the table has no such column.
        DataError: the table cannot be read, a column is not of the kind that it was declared to be, or a split would be empty.
    """
    table = task.table
    if table is None:
        raise ConfigError(f"[tasks.{task.name}]: a task about rows needs a table.", 'Write table = "sessions.csv", say.')
    rows, warnings, dropped = _read(task.name, table)
    rows, treated = _treated(task.name, table, rows, dropped)
    label, answer = _label(task.name, table, rows[table.label])
    known = label.is_not_null()
    if missing := int((~known).sum()):
        dropped["without_label"] = missing
    rows, label = rows.filter(known), label.filter(known)
    if treated is not None:
        treated, answer = {"treated": treated["treated"].filter(known)}, Answer.EFFECT
    columns, features, remarks = _features(task.name, table, rows)
    about = {"entity": rows[_PLACE].cast(pl.String), "label": label, **(treated or {})}
    made = pl.DataFrame({**about, **{s.name: s for s in features}})
    how, remark, times = _order(task.name, table, rows, made, seed)
    if times is not None and (undated := times.null_count()):
        dropped["without_time"] = undated
    split_at, order = _split(task.name, len(made), times, prepare)
    tables = {name: made[order[slice(*split_at[name])]] for name in SPLITS}
    warnings += remark + remarks + _duplicates(tables)
    rng = np.random.default_rng([seed, 7])
    for name, part in tables.items():
        if len(part) > task.max_examples:
            tables[name] = part[np.sort(rng.choice(len(part), size=task.max_examples, replace=False))]
    words = f"{how}: the last {prepare.test_share:.0%} of the rows test, the {prepare.valid_share:.0%} before them validate"
    return RowExamples(answer, columns, tables, {"words": words}, {"all": dropped} if dropped else {}, warnings)


def _read(task: str, table: RowTable) -> tuple[pl.DataFrame, list[str], dict[str, int]]:
    frame = open_frame(Path(table.path)).collect()
    flawed = frame[FLAW].is_not_null()
    dropped = {"not_sound": int(flawed.sum())} if flawed.any() else {}
    frame = frame.filter(~flawed).drop(MARKS)
    for column, where in ((table.label, "label"), (table.time, "time"), (table.treatment, "treatment")):
        if column and column not in frame.columns:
            _refuse(task, where, column, frame.columns)
    for column in table.leave_out:
        if column not in frame.columns:
            _refuse(task, "leave_out", column, frame.columns)
    for column in table.kinds:
        if column not in frame.columns:
            _refuse(task, "kinds", column, frame.columns)
    if frame.is_empty():
        raise DataError(f"{table.path} has no sound row.", "Give a table with rows.")
    text = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    frame = frame.with_columns(
        pl.when(pl.col(text).str.strip_chars(BLANKS).is_in(["", *TABLE_NULL_VALUES]))
        .then(None)
        .otherwise(pl.col(text).str.strip_chars(BLANKS))
        .name.keep()
    )
    return frame.with_row_index(_PLACE, offset=1), [], dropped


def _refuse(task: str, where: str, column: str, known: Sequence[str]) -> None:
    close = difflib.get_close_matches(column, known, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Its columns are {', '.join(known)}."
    raise ConfigError(f"tasks.{task}.{where}: the table has no column {column!r}.", hint)


def _label(task: str, table: RowTable, values: pl.Series) -> tuple[pl.Series, Answer]:
    """Return the label as float64, null where it is missing, and what answers it."""
    where = f"tasks.{task}.label: the column {table.label!r}"
    if table.positive:
        words = values.cast(pl.String)
        if not (words == table.positive).any():
            raise ConfigError(
                f"tasks.{task}.positive is {table.positive!r}, which the column {table.label!r} never has.",
                f"Its values are {', '.join(map(repr, words.drop_nulls().unique().sort().head(6)))}.",
            )
        return (words == table.positive).cast(pl.Float64), Answer.PROBABILITY
    if (logical := _booleans(values)) is not None:
        return logical.cast(pl.Float64), Answer.PROBABILITY
    if (numbers := _numbers(values)) is not None:
        return numbers, Answer.QUANTITY
    found = values.drop_nulls().cast(pl.String).unique().sort().head(4)
    raise ConfigError(
        f"{where} holds {', '.join(map(repr, found))}, where numbers or two outcomes are expected.",
        f"Write positive = {found[0]!r} if that value counts as yes." if len(found) else "Name a column with values.",
    )


def _treated(
    task: str, table: RowTable, rows: pl.DataFrame, dropped: dict[str, int]
) -> tuple[pl.DataFrame, dict[str, pl.Series] | None]:
    """Return the rows of both arms, and whether each was treated as float64; None where there is no treatment."""
    if not table.treatment:
        return rows, None
    values = rows[table.treatment]
    words = values.cast(pl.String)
    for word, key in ((table.treated, "treated"), (table.control, "control")):
        if word and not (words == word).any():
            raise ConfigError(
                f"tasks.{task}.{key} is {word!r}, which the column {table.treatment!r} never has.",
                f"Its values are {', '.join(map(repr, words.drop_nulls().unique().sort().head(6)))}.",
            )
    logical = (words == table.treated) if table.treated else _booleans(values)
    if logical is None:
        found = words.drop_nulls().unique().sort().head(4)
        raise ConfigError(
            f"tasks.{task}.treatment: the column {table.treatment!r} holds {', '.join(map(repr, found))}, where two outcomes are expected.",
            f"Write treated = {found[0]!r} if that value is the treatment.",
        )
    kept = (logical | (words == table.control)) if table.control else logical.is_not_null()
    kept = kept.fill_null(value=False)
    if others := int((~kept).sum()):
        dropped["of_no_arm"] = others
    arm = logical.filter(kept)
    if arm.n_unique() < 2:
        raise DataError(
            f"[tasks.{task}]: all {len(arm)} rows are {'treated' if len(arm) and arm[0] else 'not treated'}, so there is no effect.",
            "Give a table that has both.",
        )
    return rows.filter(kept), {"treated": arm.cast(pl.Float64)}


def _features(task: str, table: RowTable, rows: pl.DataFrame) -> tuple[tuple[Column, ...], list[pl.Series], list[str]]:
    columns, features, warnings = [], [], []
    for series in rows.drop(_PLACE).iter_columns():
        if series.name in (table.label, table.time, table.treatment, *table.leave_out):
            continue
        if series.name in _RESERVED:
            raise ConfigError(
                f"tasks.{task}: a feature cannot be called {series.name!r}.", "Rename the column, or name it in leave_out."
            )
        if series.dtype.is_nested() or series.dtype.is_temporal():
            warnings.append(
                f"The column {series.name!r} holds {series.dtype} and is left out: features are numbers, booleans and text."
            )
            continue
        kind, values = _typed(series, table.kinds.get(series.name), task)
        columns.append(Column(series.name, Owner.MOMENT, kind, series.name))
        features.append(values.alias(series.name))
    if not columns:
        raise ConfigError(
            f"tasks.{task}: the table has no column beside the label that can be a feature.", "Leave fewer columns out."
        )
    return tuple(columns), features, warnings


def _typed(series: pl.Series, declared: Kind | None, task: str) -> tuple[Kind, pl.Series]:
    logical, numbers = _booleans(series, words_only=True), _numbers(series)
    if declared is not None and declared not in CATEGORICAL and numbers is None:
        raise DataError(
            f"tasks.{task}.kinds: {series.name!r} is declared a {declared.value}, but holds "
            f"{next(iter(v for v in series.drop_nulls().head(1)), None)!r}, which is no number.",
            'Write kinds = { ... = "category" }.',
        )
    if declared in CATEGORICAL or (declared is None and (logical is not None or numbers is None)):
        words = series.cast(pl.String) if logical is None else logical.cast(pl.String)
        return Kind.CATEGORY, words.fill_null("")
    assert numbers is not None
    kind = declared or _kind(numbers)
    return kind, numbers.cast(pl.Float32)


def _kind(numbers: pl.Series) -> Kind:
    known = numbers.drop_nulls()
    if (known < 0).any():
        return Kind.NUMBER
    return Kind.COUNT if (known == known.round()).all() else Kind.AMOUNT


def _booleans(values: pl.Series, *, words_only: bool = False) -> pl.Series | None:
    """Return a column of two outcomes as booleans: of booleans, true and false, yes and no, and 0 and 1 unless ``words_only``."""
    if values.dtype == pl.Boolean:
        return values
    if values.dtype.is_numeric():
        known = values.drop_nulls().unique()
        return None if words_only or not known.is_in([0, 1]).all() else values == 1
    words = values.cast(pl.String).str.to_lowercase()
    known = words.drop_nulls().unique()
    outcomes = [word for word in (*TRUE, *FALSE) if not (words_only and word in ("0", "1"))]
    return words.is_in(list(TRUE)) if len(known) and known.is_in(outcomes).all() else None


def _numbers(values: pl.Series) -> pl.Series | None:
    """Return a column as float64, null where missing or not finite; None where a value is no number."""
    if values.dtype.is_numeric():
        numbers = values.cast(pl.Float64)
    elif values.dtype == pl.String:
        numbers = values.cast(pl.Float64, strict=False)
        if numbers.null_count() > values.null_count() or numbers.null_count() == len(numbers):
            return None
    else:
        return None
    return pl.select(pl.when(numbers.is_finite()).then(numbers)).to_series()


def _times(task: str, table: RowTable, values: pl.Series) -> pl.Series:
    """Return what rows are split by as numbers: null where missing."""
    if values.dtype.is_temporal():
        return values.to_physical()
    if (numbers := _numbers(values)) is not None:
        return numbers
    try:
        return values.str.to_datetime(strict=False, time_unit="us").to_physical()
    except pl.exceptions.PolarsError:
        raise DataError(
            f"tasks.{task}.time: the column {table.time!r} holds {values.drop_nulls().first()!r}, which is no time.",
            "Give ISO 8601 times, numbers that grow with time, or leave time out.",
        ) from None


def _split(
    task: str, rows: int, times: pl.Series | None, prepare: PrepareSettings
) -> tuple[dict[SplitName, tuple[int, int]], Any]:
    """Return the places of each split in an order of the rows; rows of one time stay in one split."""
    order = np.arange(rows) if times is None else times.arg_sort(nulls_last=True).to_numpy()[: rows - times.null_count()]
    ordered = order if times is None else times.gather(order).to_numpy()
    edges = [int(len(order) * (1 - prepare.test_share - prepare.valid_share)), int(len(order) * (1 - prepare.test_share))]
    valid, test = (
        (int(np.searchsorted(ordered, ordered[min(edge, len(ordered) - 1)])) for edge in edges) if len(ordered) else (0, 0)
    )
    if not 0 < valid < test < len(order):
        distinct = len(np.unique(ordered))
        raise DataError(
            f"[tasks.{task}]: {len(order)} rows with {distinct} distinct times are too few for training, validation and test.",
            "Give more rows, or raise prepare.valid_share and prepare.test_share.",
        )
    return {"train": (0, valid), "valid": (valid, test), "test": (test, len(order))}, order


def _order(
    task: str, table: RowTable, rows: pl.DataFrame, made: pl.DataFrame, seed: int
) -> tuple[str, list[str], pl.Series | None]:
    """Return in words how a table is split, a warning where it is not by time, and what its rows are ordered by."""
    if table.time:
        return f"by the column {table.time!r}", [], _times(task, table, rows[table.time])
    if table.shuffled:
        first = made.with_row_index(_PLACE).select(pl.col(_PLACE).first().over(made.drop("entity").columns)).to_series()
        drawn = pl.Series(np.random.default_rng([seed, 11]).permutation(len(made))).gather(first)
        remark = (
            "The rows are split by chance: the metrics show how well rows like these are predicted, not how well later ones are."
        )
        return "by chance, equal rows together", [remark], drawn
    remark = "The table is split by the order of its rows, for no time column is given: results hold only if they are in order."
    return "by the order of the rows", [remark], None


def _duplicates(tables: dict[SplitName, pl.DataFrame]) -> list[str]:
    """Count the rows that are in training as well, which a model may remember rather than predict."""
    seen = tables["train"].drop("entity").unique()
    found = {name: len(tables[name].join(seen, on=seen.columns, how="semi", nulls_equal=True)) for name in ("valid", "test")}
    told = " and ".join(f"{count} rows of {name}" for name, count in found.items() if count)
    return [f"{told} are equal to rows of training in every column, the label included."] if told else []
