"""The encoding of a declared task follows from its columns alone, and is one graph in NVTabular, Polars and ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cartwheel.core.errors import DataError
from cartwheel.core.run_layout import RunLayout, TaskLayout
from workflows.compiler.plan.onnx_frames import onnx_feeds
from workflows.encoding.task_graph import Encoding, encode_task
from workflows.features.column import Column, Kind, Owner

COLUMNS = (
    Column("colour", Owner.ITEM, Kind.CATEGORY, "colour", min_events=2),
    Column("hour", Owner.MOMENT, Kind.CALENDAR, "hour"),
    Column("orders", Owner.SHOPPER, Kind.COUNT, "orders"),
    Column("recency", Owner.SHOPPER, Kind.AMOUNT, "recency"),
    Column("price_ratio", Owner.ITEM, Kind.RATIO, "price ratio"),
    Column("mood", Owner.SHOPPER, Kind.NUMBER, "mood"),
    Column("tags", Owner.ITEM, Kind.TAGS, "tags", width=4),
    Column("picture", Owner.ITEM, Kind.VECTOR, "picture", width=3),
)


def rows(split: str, count: int) -> pl.DataFrame:
    rng = np.random.default_rng(["train", "valid", "test"].index(split))

    def numbers(missing: float) -> pl.Series:
        values = rng.normal(2.0, 1.0, count)
        return pl.Series([None if rng.random() < missing else value for value in values], dtype=pl.Float32)

    colours = ["red", "red", "blue", "", *(["new"] if split != "train" else [])]
    tags = [list(rng.choice(["a", "b", "c"], rng.integers(0, 4))) for _ in range(count)]
    return pl.DataFrame(
        {
            "entity": [f"u{row}" for row in range(count)],
            "label": rng.integers(0, 2, count).astype(float),
            "colour": rng.choice(colours, count),
            "hour": rng.integers(0, 24, count),
            "orders": pl.Series(rng.poisson(3, count), dtype=pl.Float32),
            "recency": numbers(0.2),
            "price_ratio": numbers(0.0),
            "mood": numbers(0.1),
            "tags": pl.Series(tags, dtype=pl.List(pl.String)),
            "picture": pl.Series(rng.normal(size=(count, 3)).tolist(), dtype=pl.List(pl.Float32)),
        }
    )


def write(run: Path) -> TaskLayout:
    layout = RunLayout(run).task("mood_swing")
    for split, count in (("train", 400), ("valid", 60), ("test", 60)):
        layout.examples(split).parent.mkdir(parents=True, exist_ok=True)
        rows(split, count).write_parquet(layout.examples(split))
    return layout


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> tuple[TaskLayout, Encoding]:
    layout = write(tmp_path_factory.mktemp("run"))
    return layout, encode_task(layout, COLUMNS)


def read(layout: TaskLayout, split: str) -> pl.DataFrame:
    return pl.read_parquet(layout.features(split) / "part.0.parquet")


def test_ids_and_flags_follow_from_the_kinds(encoded: tuple[TaskLayout, Encoding]) -> None:
    layout, encoding = encoded
    assert [column.name for column in encoding.columns] == [*(c.name for c in COLUMNS), "recency_filled", "mood_filled"]
    assert encoding.sizes == {"colour": 6, "tags": 6, "hour": 27}
    raw, table = pl.read_parquet(layout.examples("test")), read(layout, "test")
    ids = dict(zip(raw["colour"], table["colour"], strict=True))
    assert ids["red"] == 3
    assert ids["new"] == 2
    assert sorted([ids["blue"], ids[""]]) == [4, 5]
    assert table["recency_filled"].to_list() == raw["recency"].is_null().cast(pl.Float32).to_list()
    assert table["picture"].to_list() == raw["picture"].to_list()
    assert table["label"].to_list() == raw["label"].to_list()


def test_training_numbers_are_standardised(encoded: tuple[TaskLayout, Encoding]) -> None:
    table = read(encoded[0], "train")
    for name in ("orders", "recency", "price_ratio", "mood"):
        assert abs(table[name].mean()) < 1e-4  # type: ignore[arg-type,operator]
        assert abs(table[name].std(ddof=1) - 1) < 1e-4  # type: ignore[operator]


def test_the_graph_of_requests_encodes_as_the_table(encoded: tuple[TaskLayout, Encoding]) -> None:
    import onnx

    from workflows.compiler.onnx_graph import ENCODED_SUFFIX
    from workflows.compiler.plan.onnx_frames import open_session

    layout, encoding = encoded
    session: Any = open_session(onnx.load(str(layout.graph)))
    raw = pl.read_parquet(layout.examples("test"))
    names = [output.name for output in session.get_outputs()]
    answers = dict(zip(names, session.run(names, onnx_feeds(session, raw)), strict=True))
    table = read(layout, "test")
    for column in encoding.columns:
        answer = answers[column.name + ENCODED_SUFFIX]
        if answer.shape[1] == 1:
            np.testing.assert_allclose(answer[:, 0], table[column.name].to_numpy(), atol=1e-5)
        else:
            for given, wanted in zip(answer, table[column.name].to_list(), strict=True):
                np.testing.assert_allclose(given, np.pad(wanted, (0, len(given) - len(wanted))), atol=1e-6)


def test_a_column_of_another_type_is_named(tmp_path: Path) -> None:
    layout = write(tmp_path)
    table = pl.read_parquet(layout.examples("valid")).with_columns(pl.col("orders").cast(pl.Int64))
    table.write_parquet(layout.examples("valid"))
    with pytest.raises(DataError, match=r"valid.parquet: column 'orders' is Int64, expected Float32"):
        encode_task(layout, COLUMNS)
    assert not layout.graph.exists()


def test_a_split_without_rows_is_named(tmp_path: Path) -> None:
    layout = write(tmp_path)
    pl.read_parquet(layout.examples("test")).clear().write_parquet(layout.examples("test"))
    with pytest.raises(DataError, match=r"test.parquet has no rows"):
        encode_task(layout, COLUMNS)
