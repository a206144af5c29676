"""An own column that is the label, or tells it, ends the run, whatever its kind; of a table without a time the advice names the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cartwheel.core.errors import LeakageError
from cartwheel.core.run_layout import RunLayout
from cartwheel.testing.logs import random_log
from workflows.audit.own_columns import ALWAYS_KNOWN, find_in_own_columns
from workflows.audit.tasks import audit_columns
from workflows.features.column import Column, Kind, Owner
from workflows.features.own import own_families
from workflows.prepare.tables import build_tables
from workflows.prepare.tasks import TaskLog, examples_of
from workflows.settings import OwnFeatureSettings, PrepareSettings, TableSettings
from workflows.tasks.settings import TaskSettings, declared

ROWS = 400
COLOUR = Column("colour", Owner.SHOPPER, Kind.CATEGORY, "colour")
TAGS = Column("tags", Owner.SHOPPER, Kind.TAGS, "tags", width=3)
VECTOR = Column("vector", Owner.SHOPPER, Kind.VECTOR, "vector", width=2)
LABEL = np.random.default_rng(0).integers(0, 2, ROWS)
NOISE = np.random.default_rng(1).random(ROWS)


def table(colour: list[str], tags: list[list[str]], vector: list[list[float]]) -> pl.DataFrame:
    return pl.DataFrame({"label": LABEL.astype(float), "colour": colour, "tags": tags, "vector": vector})


HARMLESS = (
    ["red" if value < 0.4 else "blue" for value in NOISE],
    [["a"] if value < 0.5 else ["b", "a"] for value in NOISE],
    [[value, 1 - value] for value in NOISE],
)


def test_columns_that_know_nothing_of_the_label_pass() -> None:
    assert find_in_own_columns(table(*HARMLESS), (COLOUR, TAGS, VECTOR)) == ([], 3)


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (0, (["yes" if label else "no" for label in LABEL], "colour")),
        (1, ([["a", "won"] if label else ["a"] for label in LABEL], "tags[won]")),
        (2, ([[noise, label - 0.5] for noise, label in zip(NOISE.tolist(), LABEL.tolist(), strict=True)], "vector[1]")),
    ],
    ids=["category", "tags", "vector"],
)
def test_a_column_that_is_the_label_ends_the_run(place: int, told: tuple[list[object], str]) -> None:
    values, name = told
    columns = [*HARMLESS[:place], values, *HARMLESS[place + 1 :]]
    with pytest.raises(LeakageError) as caught:
        audit_columns("churn", table(*columns), (COLOUR, TAGS, VECTOR), always_known={"tags"})  # type: ignore[arg-type]
    assert f"[tasks.churn], the feature {name!r}: " in str(caught.value)
    assert (ALWAYS_KNOWN in str(caught.value)) == (place == 1)


def test_a_class_of_a_few_rows_is_told_by_chance_and_proves_nothing() -> None:
    counts = np.where(np.arange(ROWS) < 2, 5.0, LABEL.astype(float))
    chance = np.where(np.arange(ROWS) < 2, 9.0, NOISE)
    rows = pl.DataFrame({"label": counts, "number": chance})
    number = Column("number", Owner.ITEM, Kind.NUMBER, "number")
    assert find_in_own_columns(rows, (number,)) == ([], 1)
    many = rows.with_columns(label=pl.when(pl.int_range(pl.len()) < 9).then(5.0).otherwise("label"))
    many = many.with_columns(number=pl.when(pl.int_range(pl.len()) < 9).then(9.0).otherwise("number"))
    assert find_in_own_columns(many, (number,))[0][0].is_leak


def test_a_table_that_brings_the_label_ends_the_run(tmp_path: Path) -> None:
    prepare = PrepareSettings(valid_share=0.2, test_share=0.2)
    RunLayout(tmp_path).events_folder.mkdir()
    random_log(7, events=1500, days=90.0).write_parquet(RunLayout(tmp_path).events)
    churn = {"use": "churn", "every_days": 2, "active_within_days": 20, "predict": {"within_days": 3}}
    task = declared("churn", TaskSettings.model_validate(churn), prepare)
    shop = TaskLog.read(RunLayout(tmp_path).events, prepare)
    examples = pl.concat(examples_of(task, shop, prepare, 1).tables.values(), how="diagonal")
    just_before = (pl.col("anchor") - pl.duration(microseconds=1)).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").alias("known_at")
    outcome = pl.when(pl.col("label") > 0).then(pl.lit("cancelled")).otherwise(pl.lit("active")).alias("status")
    examples.select(pl.col("entity").alias("user_id"), just_before, outcome).write_csv(tmp_path / "users.csv")
    tables = {"users": TableSettings(path=tmp_path / "users.csv", valid_from="known_at")}
    build_tables(tmp_path, tables, {"status": OwnFeatureSettings(kind="category")}, prepare, 1)
    with pytest.raises(LeakageError, match=r"the feature 'status': Its values stand for those of the label"):
        examples_of(task, shop, prepare, 1, own_families(tmp_path))
