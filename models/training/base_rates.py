"""Shares of the training carts and of their lines that are bought, for each form of request and size of cart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cartwheel.core.frames import read_frame
from workflows.features.columns import ONE_LINE, SEVERAL_LINES

_AS_LOGGED = ""


@dataclass(frozen=True)
class BaseRates:
    """Base rates of training.

    Attributes:
        rows: a row for each training line: ``form`` (empty for a row as the log has it), ``size``, ``cart_id``, ``label``,
            ``cart_label``.
    """

    rows: pl.DataFrame

    @classmethod
    def of(cls, logged: Path, asked: Path) -> BaseRates:
        """Read the labels of training rows, encoded or not.

        Args:
            logged: the table of carts as the log has them.
            asked: that of carts as requests ask for them, with their form; need not be there.

        Raises:
            RunError: a table is missing, or lacks a column.
        """
        columns = ["cart_id", "label", "cart_label"]
        tables = [read_frame(logged, columns).with_columns(form=pl.lit(_AS_LOGGED))]
        if asked.exists():
            tables.append(read_frame(asked, [*columns, "form"]))
        several = pl.len().over("form", "cart_id") > 1
        return cls(pl.concat(tables).with_columns(size=pl.when(several).then(pl.lit(SEVERAL_LINES)).otherwise(pl.lit(ONE_LINE))))

    def of_lines(self, form: str = _AS_LOGGED, size: str | None = None) -> float:
        """Return the share of lines that are bought: of rows of the form, or of all where it has none, and of the size likewise."""
        return _mean(self._chosen(form, size)["label"])

    def of_carts(self, form: str = _AS_LOGGED, size: str | None = None) -> float:
        """Return the share of carts of which something is bought, of the same rows."""
        return _mean(self._chosen(form, size).unique(["form", "cart_id"])["cart_label"])

    def _chosen(self, form: str, size: str | None) -> pl.DataFrame:
        own = self.rows.filter(pl.col("form") == form)
        rows = own if len(own) else self.rows
        sized = rows if size is None else rows.filter(pl.col("size") == size)
        return sized if len(sized) else rows


def _mean(label: pl.Series) -> float:
    share = label.mean()
    return float(share) if isinstance(share, (int, float)) else 0.0
