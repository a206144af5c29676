"""The golden run, and what its comparison notices."""

from pathlib import Path

import golden
import numpy as np
import polars as pl
import pytest

COMMAND = "If the change is meant, write golden.json anew: python tests/end_to_end/golden.py"


def test_the_small_shop_gives_the_golden_run(run: Path, tmp_path: Path) -> None:
    found = list(golden.differences(golden.read(), golden.take(run, tmp_path)))
    assert not found, "\n".join([*found[:20], f"{len(found)} differences.", COMMAND])


def frame() -> pl.DataFrame:
    rng = np.random.default_rng(5)
    return pl.DataFrame(
        {
            "item_id": [f"i{number}" for number in range(1000)],
            "events": pl.Series(rng.integers(0, 9, 1000), dtype=pl.Float32),
            "price": pl.Series(rng.uniform(1, 90, 1000), dtype=pl.Float32),
            "recent": [["a", "b"], [], None, ["c", None]] * 250,
            "label": [None, 1] * 500,
        }
    )


def compared(changed: pl.DataFrame) -> str:
    stored, found = ({"tables": {"t": golden.describe(table)}, "metrics": {}, "answers": {}} for table in (frame(), changed))
    return "\n".join(golden.differences(stored, found))


def with_value(column: str, row: int, value: object) -> pl.DataFrame:
    values = frame()[column].to_list()
    values[row] = value
    return frame().with_columns(pl.Series(column, values, dtype=frame().schema[column]))


def test_equal_tables_and_floats_of_another_processor_are_equal() -> None:
    assert compared(frame()) == ""
    assert compared(frame().with_columns(pl.col("price") * np.float32(1 + 3e-7))) == ""


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (with_value("item_id", 13, "other"), "t: column 'item_id' differs, first in one of the rows 12 to 15."),
        (with_value("events", 999, 10.0), "t: column 'events' differs, first in one of the rows 996 to 999."),
        (with_value("recent", 0, ["b", "a"]), "t: column 'recent' differs, first in one of the rows 0 to 3."),
        (with_value("label", 500, 1), "t: column 'label' differs, first in one of the rows 500 to 503."),
        (with_value("events", 3, 0.5), "t: column 'events' differs, which holds Float32 and not Float32:whole."),
        (with_value("price", 130, None), "t: column 'price' differs in which values are missing."),
        (frame().head(900), "t: 900 rows; the golden run has 1000"),
        (frame().drop("label"), "t: its columns are others: at place 4 it has 'nothing', the golden run 'label'."),
        (frame().rename({"events": "views"}), "at place 1 it has 'views', the golden run 'events'"),
        (frame().select("events", "item_id", "price", "recent", "label"), "at place 0 it has 'events', the golden run 'item_id'"),
        (frame().with_columns(pl.col("events").cast(pl.Int64)), "holds Int64 and not Float32:whole"),
        (frame().reverse(), "t: column 'item_id' differs, first in one of the rows 0 to 3. (4 more columns"),
    ],
)  # fmt: skip
def test_what_changes_is_named(changed: pl.DataFrame, told: str) -> None:
    assert told.replace(". (4", " (4") in compared(changed)


def test_one_changed_float_is_named_by_its_rows() -> None:
    price = frame()["price"][130]
    assert "in the sum of the rows 125 to 249" in compared(with_value("price", 130, price * 1.01))


def test_a_metric_and_an_answer_that_change_are_named() -> None:
    stored = {
        "tables": {},
        "metrics": {"retrieval ease": {"protocols": "p", "values": {"recall@10": 0.25}, "sums": [0.0] * 4}},
        "answers": {"recommend 0": {"items": ["a", "b"], "scores": [0.5, 0.25]}},
    }
    changed = {
        "tables": {},
        "metrics": {"retrieval ease": {"protocols": "p", "values": {"recall@10": 0.25001}, "sums": [0.0] * 4}},
        "answers": {"recommend 0": {"items": ["b", "a"], "scores": [0.5, 0.25]}},
    }
    assert list(golden.differences(stored, stored)) == []
    assert list(golden.differences(stored, changed)) == [
        "metrics of retrieval ease: recall@10 differs by more than 1e-06: 0.25 -> 0.25001.",
        "answer to recommend 0: items differs: a -> b at place 0.",
    ]
