"""The whole step: files, report, determinism, and logs that cannot do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from cartwheel.core.errors import DataError
from cartwheel.core.files import sha256
from workflows.events.event_log import DAY_US
from workflows.prepare.examples import build_examples
from workflows.settings import PrepareSettings
from workflows.tasks.split import SPLITS

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


def _build(run: Path, events: pl.DataFrame, settings: PrepareSettings, seed: int = 3) -> object:
    (run / "events").mkdir(parents=True, exist_ok=True)
    events.write_parquet(run / "events" / "events.parquet")
    return build_examples(run / "events" / "events.parquet", run, settings, seed)


def test_the_report_counts_what_the_files_hold(shop_run: Path, shop_events: pl.DataFrame) -> None:
    report = json.loads((shop_run / "examples" / "report.json").read_text())
    assert report["events"] == len(shop_events)
    assert not any("left out" in warning for warning in report["warnings"])
    assert report["t_valid"] < report["t_test"] < report["last"]
    for name in SPLITS:
        files = {path.stem: len(pl.read_parquet(path)) for path in (shop_run / "examples" / name).glob("*.parquet")}
        assert files == report["rows"][name]
        assert set(report["dropped"][name]) >= {"carts_censored", "ranking_targets_not_yet_sold"}
    snapshot = {path.stem: len(pl.read_parquet(path)) for path in (shop_run / "snapshot").glob("*.parquet")}
    assert snapshot == report["rows"]["snapshot"]
    assert report["audit"]["rows_recomputed"] >= 180


def test_equal_seeds_give_equal_bytes(
    tmp_path: Path, shop_run: Path, shop_events: pl.DataFrame, shop_settings: PrepareSettings
) -> None:
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "summary.json").write_bytes((shop_run / "events" / "summary.json").read_bytes())
    _build(tmp_path, shop_events, shop_settings)
    for folder in ("examples", "snapshot"):
        assert sha256(tmp_path / folder) == sha256(shop_run / folder)
    _build(tmp_path, shop_events, shop_settings, seed=4)
    assert sha256(tmp_path / "examples") != sha256(shop_run / "examples")


def test_a_log_without_carts_leaves_the_cart_task_out(
    tmp_path: Path, shop_events: pl.DataFrame, shop_settings: PrepareSettings
) -> None:
    _build(tmp_path, shop_events.filter(pl.col("event_type") != "cart"), shop_settings)
    report = json.loads((tmp_path / "examples" / "report.json").read_text())
    reason = "The cart task is left out: the log has no cart events."
    assert report["no_cart"] == reason
    assert reason in report["warnings"]
    assert not list((tmp_path / "examples").glob("*/cart.parquet"))
    state = json.loads((tmp_path / "snapshot" / "state.json").read_text())
    assert (state["has_cart"], state["no_cart"]) == (False, reason)


def test_carts_that_are_all_censored_leave_the_cart_task_out(
    tmp_path: Path, shop_events: pl.DataFrame, shop_settings: PrepareSettings
) -> None:
    asked = shop_settings.model_copy(update={"cart_window_hours": 24.0 * 15})
    _build(tmp_path, shop_events, asked)
    report = json.loads((tmp_path / "examples" / "report.json").read_text())
    reason = report["no_cart"]
    assert report["warnings"].count(reason) == 1
    assert not list((tmp_path / "examples").glob("*/cart.parquet"))
    assert re.fullmatch(
        r"The cart task is left out: none of the [\d,]+ carts of the valid split can be labelled, for prepare.cart_window_hours is 360 "
        r"and none of their windows ends within the [\d.]+ hours of the split; prepare.cart_window_hours = (\d+) would work.",
        reason,
    )
    hours = float(re.findall(r"= (\d+) would", reason)[0])
    _build(tmp_path, shop_events, asked.model_copy(update={"cart_window_hours": hours}))
    assert (tmp_path / "examples" / "test" / "cart.parquet").is_file()


def _views(users: int, days: int, item: str = "{user}-{day}") -> list[dict[str, object]]:
    return [
        {"user_id": f"u{user}", "item_id": item.format(user=user, day=day), "event_type": "view", "time": day * DAY_US + user}
        for day in range(days)
        for user in range(users)
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], r"holds no events"),
        (_views(2, 20), r"2 users .* at least 3 are needed"),
        (_views(9, 1), r"None of the \d+ train examples .* Lower prepare\.state_minutes"),
        (_views(5, 20), r"None of the \d+ train examples"),
        (_views(5, 20, "always"), r"the valid split has no examples.*leave_out = .nothing."),
    ],
)
def test_too_little_to_learn_from_is_told(
    tmp_path: Path, event_maker: Callable[..., pl.DataFrame], rows: list[dict[str, object]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        _build(tmp_path, event_maker(rows), PrepareSettings())
    assert not (tmp_path / "examples").exists()


def test_an_events_file_of_another_shape_is_named(tmp_path: Path, shop_events: pl.DataFrame) -> None:
    with pytest.raises(DataError, match=r"column price: found no such column, expected Float64"):
        _build(tmp_path, shop_events.drop("price"), PrepareSettings())
    (tmp_path / "events" / "events.parquet").write_text("no parquet")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        build_examples(tmp_path / "events" / "events.parquet", tmp_path, PrepareSettings(), 0)
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        build_examples(tmp_path / "absent.parquet", tmp_path, PrepareSettings(), 0)


def test_interactions_may_be_of_one_type(tmp_path: Path, shop_events: pl.DataFrame, shop_settings: PrepareSettings) -> None:
    _build(tmp_path, shop_events, shop_settings.model_copy(update={"interaction_types": ("view",)}))
    table = pl.read_parquet(tmp_path / "examples" / "train" / "recommend.parquet")
    assert table["user_purchases"].sum() == 0
    assert set(shop_events[table["example_id"]]["event_type"]) == {"view"}


@pytest.mark.slow
def test_real_shop_of_buyers(tmp_path: Path) -> None:
    source = DATA / "retailrocket" / "events.csv"
    if not source.exists():
        pytest.skip(f"{source} is not there")
    kinds = {"view": "view", "addtocart": "cart", "transaction": "purchase"}
    missing = {"session_id": pl.String, "category": pl.String, "brand": pl.String, "price": pl.Float64, "quantity": pl.Float64}
    events = (
        pl.read_csv(source)
        .select(
            pl.col("visitorid").cast(pl.String).alias("user_id"),
            pl.col("itemid").cast(pl.String).alias("item_id"),
            pl.col("event").replace_strict(kinds).alias("event_type"),
            pl.from_epoch("timestamp", "ms").dt.cast_time_unit("us").dt.replace_time_zone("UTC"),
            **{name: pl.lit(None, dtype) for name, dtype in missing.items()},
        )
        .sort("timestamp", maintain_order=True)
    )
    _build(tmp_path, events, PrepareSettings())
    report = json.loads((tmp_path / "examples" / "report.json").read_text())
    assert report["events"] == 97_381
    assert report["users"] == 2174
    assert not any("left out" in warning for warning in report["warnings"])
    assert report["rows"]["test"]["recommend"] == 5000


def test_event_types_of_the_shop_are_interactions_like_the_others(
    log_maker: Callable[..., pl.DataFrame], shop_settings: PrepareSettings, tmp_path: Path
) -> None:
    names = {"view": "click", "cart": "scan"}
    reports = []
    for name, kinds in (("usual", {}), ("own", names)):
        run = tmp_path / name
        (run / "events").mkdir(parents=True)
        events = log_maker(900, seed=5).filter(pl.col("event_type").is_in(["view", "cart"]))
        events.with_columns(pl.col("event_type").replace(kinds)).write_parquet(run / "events/events.parquet")
        types = tuple(kinds.get(kind, kind) for kind in ("view", "cart"))
        settings = shop_settings.model_copy(update={"interaction_types": types})
        reports.append(build_examples(run / "events/events.parquet", run, settings, seed=3).rows)
    assert reports[0]["train"]["recommend"] == reports[1]["train"]["recommend"] > 0
