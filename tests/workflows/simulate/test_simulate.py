"""The log is canonical, reproducible, and shows what the generator was told to put into it."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from cartwheel.core.errors import ConfigError, UsageError
from cartwheel.core.files import sha256
from workflows.settings import SourceSettings
from workflows.simulate import SimulateSettings, simulate
from workflows.simulate.settings import START

CANONICAL = {
    "user_id": pl.String,
    "item_id": pl.String,
    "event_type": pl.String,
    "timestamp": pl.Datetime("us", "UTC"),
    "session_id": pl.String,
    "category": pl.String,
    "brand": pl.String,
    "price": pl.Float64,
    "quantity": pl.Int64,
}
SMALL = SimulateSettings(shoppers=60, items=50, days=10)


def check_canonical(events: pl.DataFrame, days: int) -> None:
    assert dict(events.schema) == CANONICAL
    assert events["timestamp"].is_sorted()
    assert events.n_unique() == len(events)
    assert events.select(pl.exclude("session_id", "quantity").null_count()).row(0) == (0,) * 7
    assert events["price"].is_finite().all()
    assert (events["price"] > 0).all()
    assert events.is_empty() or events["timestamp"].min() >= START
    assert events.is_empty() or events["timestamp"].max() < START + timedelta(days=days, hours=5)
    line = pl.col("event_type") != "view"
    assert (events.filter(line)["quantity"].fill_null(0) >= 1).all()
    assert events.filter(~line)["quantity"].null_count() == len(events.filter(~line))
    assert events.filter(pl.col("event_type") != "refund")["session_id"].null_count() == 0


def test_the_log_is_canonical(shop: Any) -> None:
    check_canonical(shop.events.drop("us"), shop.settings.days)
    assert set(shop.events["event_type"]) == {"view", "cart", "remove_from_cart", "purchase", "refund"}
    assert shop.events["user_id"].str.contains(r"^u\d{5}$").all()
    assert shop.events["item_id"].str.contains(r"^i\d{5}$").all()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shoppers=st.integers(1, 40),
    items=st.integers(2, 40),
    days=st.integers(7, 12),
    categories=st.none() | st.integers(1, 50),
    views=st.floats(1.0, 15.0),
    taste=st.floats(0.0, 5.0),
    promotions=st.booleans(),
    seed=st.integers(0, 2**40),
)
def test_every_size_gives_a_canonical_log(
    tmp_path_factory: pytest.TempPathFactory,
    shoppers: int,
    items: int,
    days: int,
    categories: int | None,
    views: float,
    taste: float,
    promotions: bool,
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("any")
    wanted = SimulateSettings(
        shoppers=shoppers,
        items=items,
        days=days,
        categories=categories,
        views_per_session=views,
        taste=taste,
        promotions=promotions,
    )
    simulate(wanted, seed, folder)
    check_canonical(pl.read_parquet(folder / "events.parquet"), days)


def test_a_seed_fixes_every_byte_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        simulate(SMALL, seed, tmp_path / name)
    assert sha256(tmp_path / "a") == sha256(tmp_path / "b")
    assert sha256(tmp_path / "a" / "events.parquet") != sha256(tmp_path / "c" / "events.parquet")


def test_simulating_again_replaces_what_was_there(tmp_path: Path) -> None:
    simulate(SMALL, 3, tmp_path)
    simulate(SMALL, 4, tmp_path)
    simulate(SMALL, 4, tmp_path / "fresh")
    assert sha256(tmp_path / "events.parquet") == sha256(tmp_path / "fresh" / "events.parquet")
    assert sha256(tmp_path / "truth") == sha256(tmp_path / "fresh" / "truth")


def test_the_log_begins_on_a_fixed_monday() -> None:
    assert datetime(2025, 1, 6, tzinfo=timezone.utc) == START
    assert START.weekday() == 0


def test_popularity_is_a_power_law(shop: Any) -> None:
    counts = np.sort(shop.of_type("view")["item_id"].value_counts()["count"].to_numpy())[::-1]
    assert counts[: len(counts) // 10].sum() / counts.sum() > 0.25
    rank = np.arange(1, len(counts) // 2 + 1)
    slope, _ = np.polyfit(np.log(rank), np.log(counts[: len(rank)]), 1)
    fit = np.corrcoef(np.log(rank), np.log(counts[: len(rank)]))[0, 1]
    assert -1.2 < slope < -0.3
    assert fit < -0.93


def test_activity_is_heavy_tailed(shop: Any) -> None:
    views = shop.of_type("view")["user_id"].value_counts()["count"].to_numpy()
    assert views.mean() > 1.3 * np.median(views)


def test_days_and_weeks_have_a_rhythm(shop: Any) -> None:
    first = shop.events.filter(pl.col("session_id").is_not_null()).group_by("session_id").agg(pl.col("timestamp").min())
    by_hour = first.group_by(pl.col("timestamp").dt.hour().alias("hour")).len().sort("hour")["len"].to_numpy()
    assert by_hour[18:22].sum() > 3 * by_hour[1:5].sum()
    by_weekday = first.group_by(pl.col("timestamp").dt.weekday().alias("weekday")).len().sort("weekday")["len"].to_numpy()
    assert by_weekday[5:].mean() > 1.1 * by_weekday[:5].mean()


def test_shoppers_come_and_go(shop: Any) -> None:
    users = shop.table("users")
    seen = (
        shop.events.filter(pl.col("session_id").is_not_null())
        .group_by("user_id")
        .agg(first=pl.col("timestamp").min(), last=pl.col("timestamp").max())
        .join(users, on="user_id")
        .with_columns(day=(pl.col("first") - START).dt.total_days(), left=(pl.col("last") - START).dt.total_days())
    )
    assert (seen["day"] >= seen["join_day"]).all()
    assert (seen["left"] <= seen["churn_day"]).all()  # a last session may run past midnight
    joined = seen.filter(pl.col("join_day") >= 0)
    assert (joined["day"] <= joined["join_day"] + 1).all()
    assert 0.3 < len(joined) / len(seen) < 0.7
    assert joined["join_day"].n_unique() == shop.settings.days
    assert 0.1 < (users["churn_day"] < shop.settings.days).mean() < 0.9


def test_new_items_appear_over_time_and_draw_attention_while_new(shop: Any) -> None:
    items = shop.table("items")
    views = shop.of_type("view").join(items, on="item_id")
    views = views.with_columns(age=(pl.col("timestamp") - START).dt.total_days() - pl.col("launch_day"))
    assert (views["age"] >= 0).all()
    launched = items.filter(pl.col("launch_day") > 0)
    assert 0.15 < len(launched) / len(items) < 0.35
    late = views.filter(pl.col("launch_day").is_between(1, shop.settings.days - 22))
    weeks = late.group_by(pl.col("age") // 7).len().sort("age")["len"].to_numpy()
    assert weeks[0] > 1.3 * weeks[2]


def test_promotions_lower_prices_and_raise_views_and_purchases(shop: Any) -> None:
    items = shop.table("items").select("item_id", "base_price")
    lines = shop.events.join(items, on="item_id").with_columns(cheap=pl.col("price") < pl.col("base_price") - 0.005)
    days = pl.DataFrame({"day": range(shop.settings.days)}, schema={"day": pl.Int64})
    offers = shop.table("promotions").join_where(days, pl.col("day").is_between(pl.col("first_day"), pl.col("last_day")))
    offers = offers.unique(["item_id", "day"]).group_by("item_id").agg(offered=pl.len())
    views = lines.filter(event_type="view").group_by("item_id").agg(cheap=pl.col("cheap").sum(), dear=(~pl.col("cheap")).sum())
    rates = offers.join(views, on="item_id").join(shop.table("items").filter(pl.col("launch_day") < 0), on="item_id")
    a_promoted_day = rates["cheap"].sum() / rates["offered"].sum()
    another_day = rates["dear"].sum() / (shop.settings.days - rates["offered"]).sum()
    assert a_promoted_day > 1.1 * another_day
    carts, bought = lines.filter(event_type="cart"), lines.filter(event_type="purchase")
    assert bought["cheap"].mean() > 1.15 * carts["cheap"].mean()
    promoted = lines.filter("cheap").unique("item_id")["item_id"]
    assert promoted.is_in(shop.table("promotions")["item_id"].implode()).all()


def test_no_promotions_when_switched_off(tmp_path: Path) -> None:
    simulate(SMALL.model_copy(update={"promotions": False}), 3, tmp_path)
    priced = pl.read_parquet(tmp_path / "events.parquet").join(
        pl.read_parquet(tmp_path / "truth" / "items.parquet"), on="item_id"
    )
    assert (priced["price"] == priced["base_price"]).all()


def test_the_funnel_runs_from_view_to_cart_to_purchase(shop: Any) -> None:
    key = ["session_id", "item_id"]
    steps = {name: shop.of_type(name).select(*key, at="timestamp") for name in ("view", "cart", "remove_from_cart", "purchase")}
    for earlier, later in (("view", "cart"), ("cart", "remove_from_cart"), ("cart", "purchase")):
        pairs = steps[later].join(steps[earlier], on=key, how="left", suffix="_before")
        assert pairs["at_before"].null_count() == 0, f"{later} without {earlier}"
        assert (pairs["at_before"] < pairs["at"]).all()
    assert steps["remove_from_cart"].join(steps["purchase"], on=key).is_empty()
    assert len(steps["view"]) > 5 * len(steps["cart"]) > 10 * len(steps["purchase"])
    line = ["user_id", "item_id", "price", "quantity"]
    refunds = shop.of_type("refund").join(shop.of_type("purchase").group_by(line).agg(bought=pl.col("timestamp").min()), on=line)
    assert len(refunds) == len(shop.of_type("refund")) > 0
    assert (refunds["timestamp"] > refunds["bought"]).all()


def test_sessions_of_a_shopper_never_overlap_and_do_not_repeat_items(shop: Any) -> None:
    spans = (
        shop.events.filter(pl.col("session_id").is_not_null())
        .group_by("user_id", "session_id")
        .agg(first=pl.col("timestamp").min(), last=pl.col("timestamp").max())
        .sort("user_id", "first")
        .with_columns(next_start=pl.col("first").shift(-1).over("user_id"))
    )
    assert (spans["next_start"] - spans["last"]).drop_nulls().min() > timedelta(minutes=30)
    views = shop.of_type("view")
    assert not views.select("session_id", "item_id").is_duplicated().any()
    assert views.select("user_id", "item_id").is_duplicated().mean() < 0.5


def test_category_brand_and_price_say_much_but_not_all_about_an_item(shop: Any) -> None:
    items = shop.table("items")
    vectors = items["vector"].to_numpy()
    by_brand = np.stack([vectors[items["brand"].to_numpy() == b].mean(axis=0) for b in items["brand"].to_numpy()])
    explained = 1.0 - ((vectors - by_brand) ** 2).sum() / ((vectors - vectors.mean(axis=0)) ** 2).sum()
    assert 0.5 < explained < 0.95


@pytest.mark.parametrize("field", ["shoppers", "items", "days", "sessions_per_week", "views_per_session", "categories"])
def test_a_size_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        SimulateSettings(**{field: 0})


def test_sizes_come_from_the_source_section() -> None:
    taken = SimulateSettings.of(SourceSettings(shoppers=11, items=12, days=13))
    assert (taken.shoppers, taken.items, taken.days) == (11, 12, 13)


def test_a_size_that_the_simulator_cannot_honour_is_explained() -> None:
    with pytest.raises(ConfigError, match=r"source\.items is 1,.*at least 2 items"):
        SimulateSettings.of(SourceSettings(items=1))


def test_a_negative_seed_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"seed is -1"):
        simulate(SMALL, -1, tmp_path)


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="no folder can be made there"):
        simulate(SMALL, 1, tmp_path / "file" / "shop")
