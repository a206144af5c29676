"""A declared task sees own columns like the built-in ones: audited, encoded in NVTabular, Polars and ONNX alike, and stored for serving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from own_shop import Shop, write_shop

from cartwheel.core.run_layout import RunLayout
from workflows.encoding.task_graph import encode_task
from workflows.features.column import Column, Kind
from workflows.features.own import own_families
from workflows.prepare.tasks import build_task
from workflows.settings import PrepareSettings
from workflows.tasks.settings import TaskSettings, declared

PREPARE = PrepareSettings(valid_share=0.2, test_share=0.2)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, log_maker: Callable[..., pl.DataFrame]) -> Shop:
    return write_shop(tmp_path_factory.mktemp("tasks") / "run", log_maker, count=1800)


@pytest.mark.parametrize(
    ("settings", "own"),
    [
        (
            {"use": "churn", "every_days": 1, "active_within_days": 10, "predict": {"within_days": 1}},
            {"holiday", "country", "user_colour"},
        ),
        (
            {"use": "purchase_intent", "after_events": [1, 2]},
            {"holiday", "country", "user_colour", "channel", "session_colour"},
        ),
        (
            {"use": "demand", "every_days": 1, "predict": {"within_days": 1}},
            {
                "holiday",
                "weight",
                "genres",
                "description",
                "launch_days",
                "launch_month",
                "picture",
                "waterproof",
                "margin",
                "rating",
            },
        ),
    ],
    ids=["user", "session", "item"],
)
def test_own_columns_reach_a_task(shop: Shop, settings: dict[str, Any], own: set[str]) -> None:
    task = declared("mine", TaskSettings.model_validate(settings), PREPARE)
    made = build_task(shop.run, task, PREPARE, 1, own_families(shop.run))
    columns = tuple(Column.from_json(column) for column in made.spec["columns"])
    assert own <= {column.name for column in columns}
    layout = RunLayout(shop.run).task("mine")
    encoded = encode_task(layout, columns)
    assert own <= {column.name for column in encoded.columns}
    table = pl.read_parquet(Path(layout.features("test")) / "part.0.parquet")
    for column in encoded.columns:
        assert table[column.name].null_count() == 0
        if column.kind is Kind.VECTOR:
            assert table[column.name].list.len().unique().to_list() == [column.width]
    if made.stored is not None:
        assert own <= set(made.stored.columns)
        assert made.stored["entity"].is_unique().all()
    if made.spec["entity"] == "item":
        assert made.stored is not None
        new = made.stored.filter(pl.col("entity").is_in(["new1", "new2"]))
        assert new["item_purchases"].to_list() == [0.0, 0.0]
        assert all(new["genres"].list.len() > 0), "who was never seen is known by what the table says"
    if made.spec["entity"] == "user":
        assert made.stored is not None
        listed = {f"u{n}" for n in range(30)}
        assert listed <= set(made.stored["entity"])
