"""Tasks about the rows of a table: what its columns are, how it is split, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cartwheel.core.errors import CartwheelError, ConfigError, DataError, LeakageError
from workflows.features.column import Kind
from workflows.prepare.tasks import TaskExamples, build_task
from workflows.settings import PrepareSettings
from workflows.tasks.settings import TaskSettings, declared

RNG = np.random.default_rng(3)
ROWS = 400
BOUGHT = RNG.random(ROWS) < 0.3
TABLE = pl.DataFrame(
    {
        "day": [f"2024-{1 + n // 28 % 12:02d}-{1 + n % 28:02d}" for n in RNG.permutation(ROWS)],
        "pages": RNG.integers(0, 50, size=ROWS) + 3 * BOUGHT,
        "seconds": np.round(RNG.random(ROWS) * 100, 3),
        "balance": np.round(RNG.normal(size=ROWS), 3),
        "weekend": ["TRUE" if flag else "FALSE" for flag in RNG.random(ROWS) < 0.3],
        "browser": RNG.integers(1, 5, size=ROWS),
        "visitor": [["new", "returning", ""][code] for code in RNG.integers(0, 3, size=ROWS)],
        "bought": ["TRUE" if flag else "FALSE" for flag in BOUGHT],
        "amount": np.round(np.where(BOUGHT, RNG.random(ROWS) * 90, 0.0), 2),
        "outcome": ["won" if flag else "lost" for flag in BOUGHT],
    }
)


def build(folder: Path, table: pl.DataFrame = TABLE, **settings: Any) -> TaskExamples:
    table.write_csv(folder / "rows.csv")
    whole = {"for_each": "row", "table": "rows.csv", "label": "bought", "leave_out": ["amount", "outcome"], **settings}
    task = declared("rows", TaskSettings.model_validate(whole), PrepareSettings(), folder)
    return build_task(folder / "run", task, PrepareSettings(), 1)


def test_kinds_follow_the_values_or_what_is_declared(tmp_path: Path) -> None:
    made = build(tmp_path, time="day", kinds={"browser": "category"})
    kinds = {column.name: column.kind for column in made.columns}
    assert kinds == {
        "pages": Kind.COUNT, "seconds": Kind.AMOUNT, "balance": Kind.NUMBER, "weekend": Kind.CATEGORY, "browser": Kind.CATEGORY,
        "visitor": Kind.CATEGORY,
    }  # fmt: skip
    assert set(made.tables["train"]["weekend"]) == {"true", "false"}
    assert set(made.tables["train"]["visitor"]) == {"new", "returning", ""}
    assert made.stored is None
    assert "anchor" not in made.tables["train"].columns


def test_a_treatment_parts_the_rows_into_arms(tmp_path: Path) -> None:
    made = build(tmp_path, time="day", treatment="visitor", treated="returning", control="new")
    visitors = dict(zip(map(str, range(1, ROWS + 1)), TABLE["visitor"], strict=True))
    for table in made.tables.values():
        assert [visitors[entity] for entity in table["entity"]] == ["returning" if arm else "new" for arm in table["treated"]]
    assert made.spec["answer"] == "effect"
    assert made.spec["dropped"]["all"]["of_no_arm"] == TABLE["visitor"].to_list().count("")
    assert "visitor" not in {column.name for column in made.columns}
    both = build(tmp_path, time="day", treatment="weekend")
    assert sum(len(table) for table in both.tables.values()) == ROWS


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"treatment": "visitr"}, r"tasks.rows.treatment: the table has no column 'visitr'"),
        ({"treatment": "visitor"}, r"holds 'new', 'returning', where two outcomes are expected\. Write treated = 'new'"),
        ({"treatment": "visitor", "treated": "gone"}, r"tasks.rows.treated is 'gone', which the column 'visitor' never has"),
        ({"treatment": "visitor", "treated": "new", "control": "gone"}, r"tasks.rows.control is 'gone'"),
        ({"treatment": "visitor", "treated": "new", "control": "new"}, r"all \d+ rows are treated"),
    ],
)
def test_a_treatment_that_parts_nothing_is_refused(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(CartwheelError, match=said):
        build(tmp_path, time="day", **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"treated": "new"}, "treated is not read without a treatment"), ({"treatment": "bought"}, "is also the label")],
)
def test_keys_of_a_treatment_belong_together(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build(tmp_path, **settings)


def test_rows_are_split_by_time_and_rows_of_one_time_stay_together(tmp_path: Path) -> None:
    made = build(tmp_path, time="day")
    days = dict(TABLE.with_row_index("n", offset=1).select(pl.col("n").cast(pl.String), "day").iter_rows())
    spans = [[days[entity] for entity in made.tables[split]["entity"]] for split in ("train", "valid", "test")]
    assert max(spans[0]) < min(spans[1])
    assert max(spans[1]) < min(spans[2])
    assert sum(map(len, spans)) == ROWS
    assert not any("order of its rows" in warning for warning in made.spec["warnings"])


def test_without_a_time_the_order_of_the_rows_splits_and_a_warning_says_so(tmp_path: Path) -> None:
    made = build(tmp_path)
    assert made.tables["test"]["entity"].to_list() == [str(n) for n in range(361, 401)]
    assert any("split by the order of its rows" in warning for warning in made.spec["warnings"])


def test_shuffled_rows_are_drawn_with_equal_ones_together(tmp_path: Path) -> None:
    table = pl.concat([TABLE, TABLE, TABLE.head(50)])
    made = build(tmp_path, table, shuffled=True)
    assert sorted(int(entity) for part in made.tables.values() for entity in part["entity"]) == list(range(1, len(table) + 1))
    keys = [set(part.drop("entity").rows()) for part in made.tables.values()]
    assert not keys[0] & keys[1]
    assert not keys[0] & keys[2]
    assert not keys[1] & keys[2]
    assert 0.07 < len(made.tables["test"]) / len(table) < 0.13
    assert made.spec["split"]["words"].startswith("by chance, equal rows together: the last 10% of the rows test")
    assert any("split by chance" in warning for warning in made.spec["warnings"])
    assert not any("equal to rows of training" in warning for warning in made.spec["warnings"])


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({"label": "bought"}, "probability"),
        ({"label": "outcome", "positive": "won", "leave_out": ["amount", "bought"]}, "probability"),
        ({"label": "amount", "leave_out": ["bought", "outcome"]}, "quantity"),
    ],
)
def test_the_label_decides_what_answers(tmp_path: Path, settings: dict[str, Any], answer: str) -> None:
    made = build(tmp_path, **settings)
    assert made.spec["answer"] == answer
    expected = TABLE["amount"].to_list() if answer == "quantity" else BOUGHT.astype(float).tolist()
    assert pl.concat(made.tables.values())["label"].to_list() == pytest.approx(expected)


def test_rows_without_a_label_and_duplicates_across_splits_are_counted(tmp_path: Path) -> None:
    table = pl.concat([TABLE, TABLE.head(6)]).with_columns(
        bought=pl.when(pl.int_range(pl.len()) == 100).then(pl.lit("")).otherwise("bought")
    )
    made = build(tmp_path, table, leave_out=["amount", "outcome", "day"])
    assert made.spec["dropped"] == {"all": {"without_label": 1}}
    assert "6 rows of test are equal to rows of training in every column, the label included." in made.spec["warnings"]


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"label": "bougt"}, ConfigError, r"tasks.rows.label: the table has no column 'bougt'. Did you mean 'bought'"),
        ({"time": "date"}, ConfigError, r"tasks.rows.time: the table has no column 'date'"),
        ({"leave_out": ["amont"]}, ConfigError, r"tasks.rows.leave_out: .* Did you mean 'amount'"),
        ({"kinds": {"page": "count"}}, ConfigError, r"tasks.rows.kinds: .* Did you mean 'pages'"),
        ({"kinds": {"visitor": "count"}}, DataError, r"'visitor' is declared a count, but holds '\w+', which is no number"),
        (
            {"label": "visitor"},
            ConfigError,
            r"holds 'new', 'returning', where numbers or two outcomes are expected. Write positive = 'new'",
        ),
        ({"label": "visitor", "positive": "old"}, ConfigError, r"positive is 'old', which the column 'visitor' never has"),
        ({"time": "visitor"}, DataError, r"tasks.rows.time: the column 'visitor' holds '\w+', which is no time"),
        (
            {"leave_out": ["amount"]},
            LeakageError,
            r"its column 'outcome': Its values stand for those of the label: .* in leave_out",
        ),
        (
            {"leave_out": ["outcome"]},
            LeakageError,
            r"its column 'amount': Alone it tells bought|its column 'amount': Alone it tells label",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    tmp_path: Path, settings: dict[str, Any], error: type[CartwheelError], said: str
) -> None:
    with pytest.raises(error, match=said):
        build(tmp_path, **settings)


def test_a_table_too_small_to_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 rows with 2 distinct times are too few"):
        build(tmp_path, TABLE.head(2))
    with pytest.raises(DataError, match="400 rows with 1 distinct times are too few"):
        build(tmp_path, TABLE.with_columns(day=pl.lit("2024-01-01")), time="day")
