"""Reads prices and quantities as shops write them: ``1299.00``, ``$1,299.00``, ``1.299,00 €``, ``0,35``.

Which of point and comma is the decimal sign is a property of a file. Most numbers prove it: ``9,99`` and ``1.299,00`` the comma, ``0.5``
and ``1,299,000`` the point. ``1.299`` and ``1,299`` prove nothing, for they may be one and a bit or some thirteen hundred.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import polars as pl

from cartwheel.core.errors import DataError
from workflows.events.schema import FILE, ROW

POINT: Final = "."
COMMA: Final = ","
NUMBERS: Final = ("price", "quantity")
"""Columns of numbers."""
CURRENCY: Final = r"(?:\p{Lu}{1,2})?\p{Sc}|\p{Lu}{3}|\bkr\b\.?|\bzł\b|\bKč\b|\bFr\b\.?"
"""Signs of currencies (also ``R$``, ``US$``), codes of three capitals, and what a few countries write instead."""

_SET_IT: Final = "Set source.decimal to '.' or ',', the decimal sign of the export; others than these are quarantined."
_STRAY: Final = 0.01
"""Share of numbers that may contradict all others before the file is refused; they are bad values."""
_SPACES: Final = r"[\s'\u2019]"


def parse_number(text: pl.Expr, comma: pl.Expr) -> pl.Expr:
    """Return the numbers that ``text`` names as Float64, null where it names none.

    Thousands may be parted by the other sign, blanks or apostrophes, and a sign or code of a currency may stand before or behind.

    Args:
        text: a String expression.
        comma: a Boolean expression: whether the comma is the decimal sign of the row.
    """
    return pl.struct(text.alias("text"), comma.alias("comma")).map_batches(
        _parse_batch, return_dtype=pl.Float64(), is_elementwise=True
    )


def _parse_batch(cells: pl.Series) -> pl.Series:
    frame = cells.struct.unnest()
    text, comma = frame["text"], frame["comma"]
    plain = text.set(comma & text.str.contains(r"[.,]"), None).cast(pl.Float64, strict=False)
    left = plain.is_null() & text.is_not_null()
    if not left.any():
        return plain
    rest = pl.DataFrame({"text": text.set(~left, None), "comma": comma})
    read = pl.when("comma").then(_written(pl.col("text"), COMMA)).otherwise(_written(pl.col("text"), POINT))
    return plain.fill_null(rest.select(read.alias("number"))["number"])


def _bare(text: pl.Expr) -> pl.Expr:
    """Return numbers without the currency before or behind them."""
    edge = rf"^\s*(?:{CURRENCY})\s*|\s*(?:{CURRENCY})\s*$"
    signed = text.str.replace(rf"^\s*([+-])\s*(?:{CURRENCY})\s*", "$1")
    return signed.str.replace(edge, "").str.strip_chars()


def _written(text: pl.Expr, decimal: str) -> pl.Expr:
    """Return numbers written with ``decimal``, which may have groups of thousands (and, in India, of hundreds above them)."""
    point, other = (r"\.", ",") if decimal == POINT else (",", r"\.")
    bare = _bare(text)
    groups = "|".join(rf"\d{{1,3}}(?:{sign}\d{{2,3}})*{sign}\d{{3}}" for sign in (other, _SPACES))
    shape = rf"^[+-]?(?:(?:{groups}|\d+)(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?$"
    digits = bare.str.replace_all(rf"{other}|{_SPACES}", "").str.replace(point, ".")
    return pl.when(bare.str.contains(shape)).then(digits.cast(pl.Float64, strict=False))


def files_with_comma(checked: pl.LazyFrame, columns: Collection[str], prefix: str) -> frozenset[str]:
    """Find out which files have a decimal comma.

    A file that proves neither sign and yet has numbers with one goes with the others, where these agree.

    Args:
        checked: rows with ``FILE``, ``ROW`` and, under ``prefix`` and their names, the text of numbers.
        columns: names among ``NUMBERS`` that the files hold as text.
        prefix: what stands before the names.

    Raises:
        DataError: a file has numbers that can be read in two ways, and no other decides; or numbers of either kind.
    """
    if not columns:
        return frozenset()
    cells = pl.concat([_cells(checked, column, prefix) for column in columns]).collect(engine="streaming")
    counted = cells.with_columns(_proof(pl.col("cell")).alias("proof")).filter(pl.col("proof").is_not_null())
    files = {str(file): rows for (file,), rows in counted.sort(FILE, "row", "column").group_by(FILE, maintain_order=True)}
    decided = {file: sign for file, rows in files.items() if (sign := _decide(file, rows)) is not None}
    for file, rows in files.items():
        if file not in decided:
            if len(set(decided.values())) != 1:
                column, cell, row = rows.select("column", "cell", "row").row(0)
                raise DataError(
                    f"{file}, column {column}, row {row}: {cell!r} has either three decimals or thousands, and no number of the file "
                    "shows which.",
                    _SET_IT,
                )
            decided[file] = next(iter(decided.values()))
    return frozenset(file for file, sign in decided.items() if sign == COMMA)


def _cells(checked: pl.LazyFrame, column: str, prefix: str) -> pl.LazyFrame:
    cell = pl.col(prefix + column)
    with_sign = checked.filter(cell.str.contains(r"\d[.,]|[.,]\d")).group_by(FILE, cell.alias("cell"))
    return with_sign.agg(pl.len().alias("rows"), pl.col(ROW).min().alias("row")).with_columns(column=pl.lit(column))


def _proof(cell: pl.Expr) -> pl.Expr:
    """Return which decimal sign a number proves, the empty string where it has a sign that proves nothing, null where it has none."""
    bare = _bare(cell).str.replace_all(_SPACES, "").str.replace(r"^[+-]", "")
    shapes = (
        (r"^[1-9]\d{0,2}[.,]\d{3}$", ""),
        (r"^(?:\d+(?:,\d+)*\.\d*|\.\d+)(?:[eE][+-]?\d+)?$|^\d{1,3}(?:,\d{2,3})+,\d{3}$", POINT),
        (r"^(?:\d+(?:\.\d+)*,\d*|,\d+)(?:[eE][+-]?\d+)?$|^\d{1,3}(?:\.\d{2,3})+\.\d{3}$", COMMA),
    )
    return pl.coalesce([pl.when(bare.str.contains(shape)).then(pl.lit(sign)) for shape, sign in shapes])


def _decide(file: str, rows: pl.DataFrame) -> str | None:
    """Return the decimal sign that the numbers of one file prove, or None where they prove none."""
    counts = {sign: int(rows.filter(pl.col("proof") == sign)["rows"].sum()) for sign in (POINT, COMMA)}
    if not any(counts.values()):
        return None
    if min(counts.values()) > _STRAY * sum(counts.values()):
        places = [rows.filter(pl.col("proof") == sign).select("column", "cell", "row").row(0) for sign in counts]
        told = " and ".join(f"{cell!r} (column {column}, row {row})" for column, cell, row in places)
        raise DataError(f"{file}: the numbers have a decimal point and a decimal comma: {told}.", _SET_IT)
    return max(counts, key=lambda sign: counts[sign])
