"""Event logs of public tables of sales: one purchase for each series and day on which anything was sold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

_M5: Final = "m5-walmart"


@dataclass(frozen=True)
class MadeLog:
    """A log that a question reads and that is made of other files.

    Attributes:
        file: its name in the folder of runs.
        needs: what it is made of, under the data folder.
        write: writes it, from the data folder to a Parquet file.
    """

    file: str
    needs: tuple[str, ...]
    write: Callable[[Path, Path], None]


def m5_log(every: int) -> MadeLog:
    """Return the log of every so many series of M5, an item in a store each, with all days that the file has.

    A day's sales are known when it ends, so they stand at its last microsecond.
    """

    def write(data: Path, target: Path) -> None:
        folder = data / _M5
        sales = pl.read_parquet(folder / "sales.parquet").gather_every(every)
        about = ["item_id", "store_id", "dept_id"]
        sold = sales.select(*about, pl.col("^d_[0-9]+$")).unpivot(index=about, variable_name="d", value_name="quantity")
        days = pl.read_parquet(folder / "calendar.parquet", columns=["d", "date", "wm_yr_wk"])
        prices = pl.read_parquet(folder / "sell_prices.parquet", columns=["store_id", "item_id", "wm_yr_wk", "sell_price"])
        events = (
            sold.filter(pl.col("quantity") > 0)
            .join(days, on="d")
            .join(prices, on=["store_id", "item_id", "wm_yr_wk"], how="left")
        )
        end = pl.col("date").str.to_datetime("%Y-%m-%d", time_unit="us") + pl.duration(days=1) - pl.duration(microseconds=1)
        events.select(
            pl.col("store_id").alias("user_id"),
            (pl.col("item_id") + "_" + pl.col("store_id")).alias("item_id"),
            pl.lit("purchase").alias("event_type"),
            end.alias("timestamp"),
            "quantity",
            pl.col("sell_price").alias("price"),
            pl.col("dept_id").alias("category"),
        ).sort("timestamp", "item_id").write_parquet(target)

    return MadeLog(f"m5_{every}.parquet", tuple(f"{_M5}/{name}.parquet" for name in ("sales", "calendar", "sell_prices")), write)
