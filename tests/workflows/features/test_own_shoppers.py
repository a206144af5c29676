"""Own columns of shoppers and days reach the recommender's examples as of the anchor, requests as stored, and the snapshot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from own_shop import Shop, look_ahead, write_shop

from cartwheel.core.errors import ConfigError, LeakageError
from cartwheel.core.run_layout import RunLayout
from workflows.events.event_log import DAY_US, MINUTE_US, EventLog
from workflows.features.column import Column, Kind, Owner
from workflows.features.columns import FORMS
from workflows.features.family import FeatureFamily, Moments, Past
from workflows.features.feature_set import FeatureSet, read_feature_set
from workflows.features.own import OwnShopper, own_family
from workflows.features.timeline import Timeline
from workflows.prepare import examples
from workflows.prepare.examples import build_examples
from workflows.prepare.known_shop import KnownShop, read_known_shop
from workflows.settings import PrepareSettings
from workflows.tasks.cart import cart_frame

NEW = ["u13", "u20", "u27", "u6"]
"""Listed users without an event of their own."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, log_maker: Callable[..., pl.DataFrame]) -> Shop:
    return write_shop(tmp_path_factory.mktemp("shoppers") / "run", log_maker, count=1800)


@pytest.fixture(scope="module")
def run(shop: Shop, tmp_path_factory: pytest.TempPathFactory, shop_settings: PrepareSettings) -> Path:
    target = tmp_path_factory.mktemp("prepared") / "run"
    report = build_examples(shop.run / "events/events.parquet", target, shop_settings, 3, known=read_known_shop(shop.run))
    assert report.audit["rows_of_own_columns_recomputed"] >= 100
    assert [
        warning for warning in report.warnings if "does not read features.own.channel, features.own.session_colour" in warning
    ]
    return target


def test_the_feature_set_has_them_behind_the_built_in_columns(run: Path) -> None:
    features = read_feature_set(RunLayout(run))
    assert features.query_categorical == ("user_id", "hour", "weekday", "country", "user_colour", "holiday")
    assert features.query_continuous[-1] == "session_minutes"
    assert "weight" in features.item_continuous
    assert "country" not in features.item
    assert FeatureSet.from_json(features.to_json()) == features


@pytest.mark.parametrize("table", ["train/recommend", "valid/recommend", "test/ranking", "test/cart"])
def test_examples_have_what_was_known_before_the_anchor(run: Path, shop: Shop, table: str) -> None:
    rows = pl.read_parquet(run / f"examples/{table}.parquet")
    family = own_family(shop.run, Owner.SHOPPER)
    assert family is not None
    ids = rows["user_key"] if "user_key" in rows.columns else rows["user_id"]
    named = (rows["user_id"] != "").to_numpy()
    expected = family.frame(ids, rows["anchor"].dt.epoch("us").to_numpy())
    for name in ("country", "user_colour"):
        assert rows[name].filter(named).to_list() == expected[name].filter(named).to_list()
    assert set(rows["country"]) == {"", "de", "fr"}


def test_requests_have_what_was_stored_and_strangers_have_none(run: Path, shop: Shop, shop_settings: PrepareSettings) -> None:
    rows = pl.read_parquet(run / "examples/test/recommend_requests.parquet")
    family = own_family(shop.run, Owner.SHOPPER)
    assert family is not None
    step = shop_settings.state_minutes * MINUTE_US
    known = rows["form"].str.starts_with("known").to_numpy()
    stored = rows["anchor"].dt.epoch("us").to_numpy() // step * step
    expected = family.frame(rows["user_key"], stored)
    assert set(rows["form"]) == set(FORMS)
    for name in ("country", "user_colour"):
        assert rows[name].filter(known).to_list() == expected[name].filter(known).to_list()
        assert set(rows[name].filter(~known)) == {""}


def test_the_snapshot_holds_the_listed_users(run: Path) -> None:
    users = pl.read_parquet(run / "snapshot/users.parquet")
    assert users["user_id"].to_list() == sorted(users["user_id"])
    new = users.filter(pl.col("user_events") == 0)
    assert new["user_id"].to_list() == NEW
    assert new["country"].to_list() == ["fr", "de", "fr", "de"]
    assert new["last_seen"].null_count() == new["session_start"].null_count() == len(new)
    assert new["session_events"].sum() == new["recent_items"].list.len().sum() == 0
    queries = pl.read_parquet(run / "snapshot/queries.parquet")
    assert queries.filter(pl.col("user_id").is_in(NEW))["country"].to_list() == ["fr", "de", "fr", "de"]
    assert queries["user_id"][-1] == queries["country"][-1] == ""
    requests = pl.read_parquet(run / "snapshot/requests.parquet").filter(pl.col("user_id").is_in(NEW))
    assert set(requests["form"]) == set(FORMS[2:])
    assert set(requests["country"]) == {"de", "fr"}


def test_days_have_what_the_calendar_says_of_them(run: Path) -> None:
    seen: set[str] = set()
    for table in ("examples/train/recommend", "examples/test/recommend_requests", "examples/valid/ranking", "snapshot/requests"):
        rows = pl.read_parquet(run / f"{table}.parquet")
        when = rows["anchor"] if "anchor" in rows.columns else rows["timestamp"].cast(pl.Datetime("us", "UTC"))
        expected = [
            str(day % 7 == 0).lower() if 10 <= day <= 30 and month == 11 else ""
            for day, month in zip(when.dt.day(), when.dt.month(), strict=True)
        ]
        assert rows["holiday"].to_list() == expected
        seen |= set(expected)
    assert seen == {"", "true", "false"}
    days = pl.read_parquet(run / "snapshot/days.parquet")
    assert days["day"][0] == -1
    assert days["day"][1] == 19_671  # 2023-11-10
    assert days["holiday"].to_list() == ["", *(str(day % 7 == 0).lower() for day in range(10, 31)), ""]  # last, of the snapshot


def test_a_value_from_after_the_moment_ends_the_run(
    shop: Shop, tmp_path: Path, shop_settings: PrepareSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_ahead(monkeypatch, OwnShopper)
    with pytest.raises(LeakageError, match=r"column user_colour: user 'u\d+' as of .* but what was known before then gives"):
        build_examples(shop.run / "events/events.parquet", tmp_path, shop_settings, 3, known=read_known_shop(shop.run))
    assert not (tmp_path / "examples").exists()


def test_an_attribute_that_tells_the_label_ends_the_run(
    shop: Shop, tmp_path: Path, shop_settings: PrepareSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaking(*arguments: Any) -> pl.DataFrame:
        return cart_frame(*arguments[:5]).with_columns(
            country=pl.when(pl.col("label") == 1).then(pl.lit("de")).otherwise(pl.lit("fr"))
        )

    monkeypatch.setattr(examples, "cart_frame", lambda *arguments, max_rows: leaking(*arguments))
    with pytest.raises(LeakageError, match="column country: it is the label under another name"):
        build_examples(shop.run / "events/events.parquet", tmp_path, shop_settings, 3, known=read_known_shop(shop.run))


class Mood(FeatureFamily):
    """What a shopper did in a week: of every kind of column."""

    name = "mood"
    owner = Owner.SHOPPER
    columns = (
        Column("week_events", Owner.SHOPPER, Kind.COUNT, "events of the week"),
        Column("busy", Owner.SHOPPER, Kind.CATEGORY, "whether there were many"),
        Column("signs", Owner.SHOPPER, Kind.TAGS, "signs", width=2),
    )

    def compute(self, log: EventLog, at: Moments) -> pl.DataFrame:
        count = Timeline(log, log.key).count(at, days=7)
        return self._frame(np.where(at.entity < 0, 0, count))

    def _frame(self, count: Any) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "week_events": pl.Series(count, dtype=pl.Float32),
                "busy": pl.Series(["yes" if each > 20 else "no" for each in count], dtype=pl.String),
                "signs": pl.Series([self._signs(each) for each in count], dtype=pl.List(pl.String)),
            }
        )

    @staticmethod
    def _signs(count: float) -> list[str]:
        return [name for name, least in (("some", 1), ("many", 20)) if count >= least]

    def recompute(self, past: Past) -> Mapping[str, Any]:
        count = sum(event.time >= past.anchor - 7 * DAY_US for event in past.events)
        return {"week_events": float(count), "busy": "yes" if count > 20 else "no", "signs": self._signs(count)}


class Fresh(FeatureFamily):
    """Whether an item was seen within a day."""

    name = "fresh"
    owner = Owner.ITEM
    columns = (Column("day_events", Owner.ITEM, Kind.COUNT, "events of the day"),)

    def compute(self, log: EventLog, at: Moments) -> pl.DataFrame:
        return pl.DataFrame({"day_events": pl.Series(Timeline(log, log.item).count(at, days=1), dtype=pl.Float32)})

    def recompute(self, past: Past) -> Mapping[str, Any]:
        return {"day_events": float(sum(event.time >= past.anchor - DAY_US for event in past.events))}


def test_families_of_python_are_computed_and_recomputed(shop: Shop, tmp_path: Path, shop_settings: PrepareSettings) -> None:
    known = KnownShop((Mood(), Fresh()))
    report = build_examples(shop.run / "events/events.parquet", tmp_path, shop_settings, 3, known=known)
    assert report.audit["rows_of_own_columns_recomputed"] >= 100
    features = read_feature_set(RunLayout(tmp_path))
    assert features.query_categorical[3:] == ("busy",)
    assert features.query_continuous[-3:] == ("week_events", "signs_0", "signs_1")
    assert features.item_continuous[-1] == "day_events"
    users = pl.read_parquet(tmp_path / "snapshot/users.parquet")
    assert users["week_events"].max() > 20  # type: ignore[operator]
    assert set(users["user_id"]).isdisjoint(NEW)  # nothing of them is known
    assert pl.read_parquet(tmp_path / "snapshot/items.parquet")["day_events"].max() > 0  # type: ignore[operator]


def test_a_family_whose_recomputation_differs_ends_the_run(shop: Shop, tmp_path: Path, shop_settings: PrepareSettings) -> None:
    class Wrong(Mood):
        def recompute(self, past: Past) -> Mapping[str, Any]:
            return {**super().recompute(past), "week_events": -1.0}

    with pytest.raises(LeakageError, match=r"column week_events: .* gives -1.0 \(feature family 'mood'\)") as caught:
        build_examples(shop.run / "events/events.parquet", tmp_path, shop_settings, 3, known=KnownShop((Wrong(),)))
    assert "let compute and recompute agree" in str(caught.value.fix)


FAMILIES = """
from workflows.features.session_activity import SessionActivity
from workflows.features.calendar import Calendar
from workflows.features.column import Column, Kind, Owner
from workflows.features.family import FeatureFamily

class Pairs(FeatureFamily):
    name, owner, columns = "pairs", Owner.PAIR, (Column("pair", Owner.PAIR, Kind.NUMBER, "pair"),)
    def compute(self, log, at): ...
    def recompute(self, past): ...

class Taken(Pairs):
    owner, columns = Owner.SHOPPER, (Column("left_out", Owner.SHOPPER, Kind.NUMBER, "mine"),)

class Twice(Pairs):
    owner, columns = Owner.ITEM, (Column("item_price", Owner.ITEM, Kind.NUMBER, "mine"),)

class Raises(Pairs):
    owner, columns = Owner.SHOPPER, (Column("fine", Owner.SHOPPER, Kind.NUMBER, "mine"),)
    def compute(self, log, at): raise RuntimeError("no such thing")
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "families_of_shoppers:Pairs",
            "'families_of_shoppers:Pairs' belongs to the pair, and the recommender reads families of the shopper and",
        ),
        ("session_activity", "'session_activity' belongs to the session"),
        ("calendar", "'calendar' belongs to the moment"),
        ("families_of_shoppers:Taken", "'families_of_shoppers:Taken' has a column called 'left_out'"),
        ("families_of_shoppers:Twice", "two features are called 'item_price'"),
        ("families_of_shoppers:Nothing", "has no 'Nothing'"),
    ],
)
def test_a_family_that_cannot_be_served_is_refused(
    shop: Shop, tmp_path: Path, name: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "families_of_shoppers.py").write_text(FAMILIES)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught:
        read_known_shop(shop.run, [name], tmp_path)
    assert expected in str(caught.value)


def test_a_family_that_raises_ends_the_run_with_a_sentence(
    shop: Shop, tmp_path: Path, shop_settings: PrepareSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "families_of_shoppers.py").write_text(FAMILIES)
    monkeypatch.syspath_prepend(tmp_path)
    known = read_known_shop(shop.run, ["families_of_shoppers:Raises"], tmp_path)
    with pytest.raises(ConfigError, match=r"\[features\]: the feature family 'pairs' raised RuntimeError: no such thing"):
        build_examples(shop.run / "events/events.parquet", tmp_path / "run", shop_settings, 3, known=known)
