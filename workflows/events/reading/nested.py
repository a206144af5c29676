"""Columns of Parquet that hold objects: their members become columns whose names lead to them by dots, as those of JSON do."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl


def flattened(schema: pl.Schema) -> list[pl.Expr]:
    """Return the columns of a table with ``user.id`` in place of ``user``; a member that is called as another column is stays out."""
    plain = {name for name, dtype in schema.items() if not isinstance(dtype, pl.Struct)}
    found: list[pl.Expr] = []
    for name, dtype in schema.items():
        for path, cell in _members(pl.col(name), dtype, name):
            if path == name or path not in plain:
                found.append(cell.alias(path))
    return found


def flat_schema(schema: pl.Schema) -> pl.Schema:
    """Return the names and types of ``flattened``."""
    return pl.DataFrame(schema=schema).lazy().select(flattened(schema)).collect_schema()


def _members(cell: pl.Expr, dtype: pl.DataType, path: str) -> Iterator[tuple[str, pl.Expr]]:
    if not isinstance(dtype, pl.Struct):
        yield path, cell
        return
    for field in dtype.fields:
        assert isinstance(field.dtype, pl.DataType)
        yield from _members(cell.struct.field(field.name), field.dtype, f"{path}.{field.name}")
