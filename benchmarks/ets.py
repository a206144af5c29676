"""Forecasts the series of a task by exponential smoothing, with statsforecast, beside the mean of 28 days on the same rows.

    pip install "numpy<2" "pandas<2.3" "pyarrow<19" polars statsforecast      # in an environment of its own
    python benchmarks/ets.py --run build/tasks/demand__M5__each_of_28_days

Reads the checked events and the test examples of a task with one anchor, whose windows are days, and writes WAPE and RMSSE of the test
rows into the run, where ``benchmarks/tasks.py`` finds them. The model is the one that AutoETS chooses among those without a trend and
with an additive week, from the last ``--days`` days.
"""

from __future__ import annotations

import argparse
import time
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl


def daily(run: Path, items: pl.Series, begin: datetime, days: int) -> pl.DataFrame:
    """Return the pieces of each item on each of the days before ``begin``: ``unique_id``, ``ds``, ``y``."""
    events = pl.read_parquet(run / "events" / "events.parquet", columns=["item_id", "event_type", "timestamp", "quantity"])
    sold = events.filter(
        (pl.col("event_type") == "purchase") & (pl.col("timestamp") < begin) & pl.col("item_id").is_in(items.implode())
    )
    sold = sold.with_columns(ds=pl.col("timestamp").dt.date()).group_by("item_id", "ds").agg(y=pl.col("quantity").sum())
    dates = pl.date_range(begin.date() - timedelta(days=days), begin.date(), "1d", closed="left", eager=True)
    filled = (
        items.alias("item_id")
        .to_frame()
        .join(dates.alias("ds").to_frame(), how="cross")
        .join(sold, on=["item_id", "ds"], how="left")
    )
    return filled.select(pl.col("item_id").alias("unique_id"), "ds", pl.col("y").fill_null(0.0).cast(pl.Float64)).sort(
        "unique_id", "ds"
    )


def judged(rows: pl.DataFrame, column: str) -> str:
    """Return WAPE and mean RMSSE of what a column predicts of ``label``."""
    wape = rows.select((pl.col("label") - pl.col(column)).abs().sum() / pl.col("label").sum()).item()
    scaled = rows.filter(pl.col("_scale") > 0).with_columns(squared=(pl.col("label") - pl.col(column)) ** 2)
    each = scaled.group_by("entity").agg((pl.col("squared").mean() / pl.col("_scale").first()).sqrt())
    return f"WAPE {wape:.4f}, RMSSE {each['squared'].mean():.4f}"


def main() -> None:
    """Forecast, and write what was reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a run")
    parser.add_argument("--task", default="demand", help="name of the task")
    parser.add_argument("--days", type=int, default=112, help="days that are fitted")
    parser.add_argument("--every", type=int, default=1, help="every so many series")
    given = parser.parse_args()
    from statsforecast import StatsForecast
    from statsforecast.models import AutoETS

    test = pl.read_parquet(given.run / "tasks" / given.task / "examples" / "test.parquet")
    (begin,) = test["anchor"].unique()
    items = test["entity"].unique().sort().gather_every(given.every)
    start = time.monotonic()
    model = StatsForecast([AutoETS(season_length=7, model="ZNA")], freq="D", n_jobs=1)
    forecast = model.forecast(df=daily(given.run, items, begin, given.days).to_pandas(), h=int(test["_ahead"].max()) + 1)
    found = pl.from_pandas(forecast.reset_index())
    ahead = (pl.col("ds").cast(pl.Date) - pl.lit(begin.date())).dt.total_days().cast(pl.Int64)
    found = found.select(entity=pl.col("unique_id").cast(pl.String), _ahead=ahead, ets=pl.col("AutoETS").clip(0.0))
    rows = test.join(found, on=["entity", "_ahead"], how="inner")
    told = (
        f"ETS by statsforecast ({given.days} days, no trend, an additive week), {len(rows):,} of {len(test):,} rows, "
        f"{time.monotonic() - start:.0f} s: {judged(rows, 'ets')}; mean of the last 28 days on these rows: {judged(rows, 'past_mean_28d')}"
    )
    (given.run / "peers.txt").write_text(told + "\n", encoding="utf-8")
    print(told)


if __name__ == "__main__":
    main()
