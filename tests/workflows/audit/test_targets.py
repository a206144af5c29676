"""Targets in disguise are caught whatever their type; columns that only name rows are not."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from cartwheel.core.errors import LeakageError
from workflows.audit.targets import area_by_value, check_labelled, check_left_out, one_to_one, ordered_area

ROWS = 600
LABEL = np.random.default_rng(1).random(ROWS) < 0.3
NAME = ("train", "ranking")


def table(label: np.ndarray = LABEL, **columns: object) -> pl.DataFrame:
    return pl.DataFrame({"label": label.astype(np.int8), **columns})


@pytest.mark.parametrize(
    ("planted", "told"),
    [
        (np.where(LABEL, "yes", "no"), "the label under another name .'no' for 0, 'yes' for 1."),
        ([datetime(2024, 1, 1) if label else None for label in LABEL], "the label under another name"),
        (np.where(LABEL, 1, -1), "the label under another name"),
        ([["paid", "sent", "open", "lost"][2 * (not label) + place % 2] for place, label in enumerate(LABEL)], "above 0.99"),
        ([2 if label else 1 + 2 * (place % 2) for place, label in enumerate(LABEL)], "above 0.99"),
        ([datetime(2024, 1, 1) + timedelta(int(label) * 700 + n % 600) for n, label in enumerate(LABEL)], "above 0.99"),
        ([None if label else f"reason {place % 9}" for place, label in enumerate(LABEL)], "above 0.99"),
    ],
    ids=["renamed", "set where true", "signed", "status", "not in order", "dates", "missing where true"],
)
def test_a_column_of_the_shop_that_knows_the_label_is_caught(planted: object, told: str) -> None:
    with pytest.raises(LeakageError, match=rf"examples/train/ranking\.parquet, column clue: .*{told}") as caught:
        check_labelled(table(clue=planted), NAME)
    assert "strictly before the anchor" in caught.value.fix


@pytest.mark.parametrize(
    "honest",
    [
        [f"order {place}" for place in range(ROWS)],
        np.random.default_rng(2).integers(0, 5, ROWS),
        np.random.default_rng(3).normal(size=ROWS) + LABEL,
        [["a"] if label else ["b"] for label in LABEL],
        ["same"] * ROWS,
    ],
    ids=["names that never recur", "noise", "a good feature", "lists", "constant"],
)
def test_an_honest_column_passes(honest: object) -> None:
    assert check_labelled(table(honest=honest), NAME) == ROWS


def test_the_item_of_a_shop_with_one_bestseller_is_no_leak() -> None:
    assert check_labelled(table(item_id=np.where(LABEL, "best", "other")), NAME) == ROWS


def test_few_rows_say_nothing() -> None:
    label = np.arange(19) < 9
    assert check_labelled(table(label, clue=np.where(label, "yes", "no")), NAME) == 0
    rare = np.arange(100) < 4
    assert one_to_one(pl.Series(np.where(rare, "yes", "no")), pl.Series(rare)) is None


def test_areas_of_a_value_are_measured_on_other_rows() -> None:
    label = np.random.default_rng(4).random(4000) < 0.5
    assert area_by_value(pl.Series(np.arange(4000) // 2), label) == pytest.approx(0.5, abs=0.05)
    assert area_by_value(pl.Series(np.where(label, "a", "b")), label) == 1.0
    assert ordered_area(pl.Series(-label.astype(int)), label) == 1.0
    assert ordered_area(pl.Series(["a", "b"]), np.array([True, False])) == 0.5


@pytest.mark.parametrize("column", ["recent_items", "left_out"])
def test_a_target_among_what_is_left_out_is_caught(column: str) -> None:
    lists = {"recent_items": [[], []], "left_out": [[], []], column: [["a"], ["b", "c"]]}
    rows = pl.DataFrame(
        {"example_id": [4, 9], **lists, "target_items": [["b"], ["d", "c"]]},
        schema_overrides=dict.fromkeys(lists, pl.List(pl.String)),
    )
    with pytest.raises(LeakageError, match=rf"column {column}: 1 examples .* the first in row 2 \(example_id 9\)"):
        check_left_out({("valid", "recommend"): rows}, "interacted")
    assert check_left_out({("valid", "recommend"): rows}, "nothing") == 0
    assert check_left_out({("valid", "recommend"): rows[:1]}, "recent") == 1
