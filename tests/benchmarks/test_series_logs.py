"""The log of M5 is what its tables say: one purchase for each day with sales, at the price of its week."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import polars as pl

from benchmarks.series_logs import m5_log


def test_a_day_with_sales_is_a_purchase_at_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "m5-walmart"
    folder.mkdir()
    about = {"item_id": ["a", "b", "c"], "dept_id": ["d"] * 3, "store_id": ["s"] * 3}
    pl.DataFrame({**about, "d_1": [2, 9, 0], "d_2": [0, 9, 5]}).write_parquet(folder / "sales.parquet")
    days = {"d": ["d_1", "d_2"], "date": ["2011-01-29", "2011-01-30"], "wm_yr_wk": [1, 2]}
    pl.DataFrame(days).write_parquet(folder / "calendar.parquet")
    prices = {"store_id": ["s", "s"], "item_id": ["a", "c"], "wm_yr_wk": [1, 2], "sell_price": [1.5, 4.0]}
    pl.DataFrame(prices).write_parquet(folder / "sell_prices.parquet")
    log = m5_log(2)
    log.write(tmp_path, tmp_path / log.file)
    found = pl.read_parquet(tmp_path / log.file)
    assert found["item_id"].to_list() == ["a_s", "c_s"]
    assert found["quantity"].to_list() == [2, 5]
    assert found["price"].to_list() == [1.5, 4.0]
    assert found["timestamp"].to_list() == [datetime(2011, 1, 29, 23, 59, 59, 999999), datetime(2011, 1, 30, 23, 59, 59, 999999)]
    assert all((tmp_path / name).is_file() for name in log.needs)
