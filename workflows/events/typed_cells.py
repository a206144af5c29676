"""Cells of typed columns as text, and what such a column cannot hold: an id that is a truth value, or has more digits than its floats."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from cartwheel.core.errors import DataError
from workflows.events import reading
from workflows.events.tidy import IDS

_INTEGRAL_LIMIT: Final = float(1 << 63)
_DIGITS: Final[Mapping[type[pl.DataType], int]] = {pl.Float16: 11, pl.Float32: 24, pl.Float64: 53}
"""Binary digits of a float: whole numbers are told apart below two to this power."""
_FIRST_SHOWN: Final = 0x20


def plain_text(cell: pl.Expr, dtype: pl.DataType, *, keeps_point: bool) -> pl.Expr:
    """Return a cell of any plain type as text: a typed time as ISO 8601, a list as JSON, bytes as the UTF-8 that they are.

    Args:
        cell: the expression.
        dtype: its type.
        keeps_point: whether a whole float becomes ``1288.0`` rather than ``1288``.
    """
    if isinstance(dtype, pl.List | pl.Array):
        return cell.map_elements(lambda values: json.dumps(list(values), default=str), return_dtype=pl.String)
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone:
            return cell.dt.convert_time_zone("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
        return cell.dt.strftime("%Y-%m-%dT%H:%M:%S%.6f")
    if dtype == pl.Binary:
        return cell.map_batches(_decoded, return_dtype=pl.String, is_elementwise=True)
    if dtype.is_float():
        shortest = cell.cast(pl.String)
        cell = cell.cast(pl.Float64)  # Polars rounds no half floats: to floor one leaves it as it is
        whole = cell.is_finite() & (cell == cell.floor()) & (cell.abs() < _INTEGRAL_LIMIT)
        integer = cell.cast(pl.Int64, strict=False).cast(pl.String)
        return pl.when(whole).then(pl.format("{}.0", integer) if keeps_point else integer).otherwise(shortest)
    return cell.cast(pl.String, strict=False)


def _decoded(cells: pl.Series) -> pl.Series:
    return pl.Series(cells.name, [_text(cell) for cell in cells], dtype=pl.String)


def _text(cell: bytes | None) -> str | None:
    """Return the text that bytes are, None where they are none."""
    try:
        text = None if cell is None else cell.decode()
    except UnicodeDecodeError:
        return None
    return text if text is None or not any(ord(character) < _FIRST_SHOWN for character in text) else None


def flaws(places: Mapping[str, str], schema: pl.Schema) -> list[pl.Expr]:
    """Return what is wrong with rows for the type of a column alone, each null where nothing is.

    Args:
        places: canonical column -> its name in the file.
        schema: types of the file's columns.

    Returns:
        For an id in a column of floats: that it is so large that what it was is not known any more. For bytes: that they are no text.
    """
    found: list[pl.Expr] = []
    for column, name in places.items():
        dtype, cell = schema[name], pl.col(name)
        if column in IDS and dtype.is_float():
            digits = _DIGITS[type(dtype)]
            lost = (cell.abs() >= float(1 << digits)) & cell.is_not_nan()
            found.append(pl.when(lost).then(pl.lit(f"{column} beyond 2^{digits} in a column of floats")))
        if dtype == pl.Binary:
            is_text = plain_text(cell, dtype, keeps_point=False).is_not_null()
            found.append(pl.when(cell.is_not_null() & ~is_text).then(pl.lit(f"{column} holds bytes that are no text in UTF-8")))
    return found


def refuse_types(places: Mapping[str, str], schema: pl.Schema, file: reading.TableFile) -> None:
    """Raise the ``DataError`` for a column whose type cannot hold what it is mapped to."""
    for column, name in places.items():
        dtype = schema[name]
        refuse_nested(name, dtype, file)
        if dtype == pl.Boolean and (column in IDS or column == "timestamp"):
            raise DataError(
                f"{file.path}: the column '{name}' holds true and false ({dtype}), but {column} was expected.",
                f"Name the right column for {column} in source.columns (kind 'table').",
            )
        if column == "timestamp" and dtype in (pl.Float16, pl.Float32):
            raise DataError(
                f"{file.path}: the column '{name}' holds {dtype}, which has too few digits for an instant: Unix time in it is off by up "
                "to two minutes.",
                "Export the times as integers, as Float64 or as timestamps.",
            )


def refuse_nested(name: str, dtype: pl.DataType, file: reading.TableFile) -> None:
    """Raise the ``DataError`` for a column that has no plain value in a cell."""
    if dtype.is_nested() or dtype in (pl.Object, pl.Duration, pl.Time):
        raise DataError(
            f"{file.path}: the column '{name}' holds {dtype}, but one plain value in a cell was expected.",
            "Leave the column out of source.columns, or flatten it in the export.",
        )


def refuse_lists(wanted: Sequence[str], opened: reading.Opened) -> None:
    """Raise the ``DataError`` for a column of a text file that holds lists."""
    for name in wanted:
        if name in opened.lists:
            raise DataError(
                f"{opened.files[0].path}: the column '{name}' holds lists, but one plain value in a cell was expected.",
                "Leave the column out of source.columns, or flatten it in the export.",
            )
