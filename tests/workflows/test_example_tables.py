"""Example tables are in their files as soon as they are made, and the audit reads of them what it looks at."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cartwheel.core.run_layout import ExamplesLayout
from workflows.audit.event_index import height, read, take
from workflows.prepare.example_tables import ExampleTables

TABLE = pl.DataFrame({"a": np.arange(40), "b": [str(n) for n in range(40)]})


def test_tables_are_found_by_split_and_task_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    tables = ExampleTables(ExamplesLayout(tmp_path))
    tables.add("train", "recommend", TABLE)
    tables.add("train", "cart", TABLE.head(3))
    tables.add("valid", "recommend", TABLE.head(2))
    assert list(tables) == [("train", "recommend"), ("train", "cart"), ("valid", "recommend")]
    assert tables.rows("train") == {"recommend": 40, "cart": 3}
    assert tables["train", "cart"].collect().equals(TABLE.head(3))


def test_a_task_that_is_left_out_leaves_no_file(tmp_path: Path) -> None:
    tables = ExampleTables(ExamplesLayout(tmp_path))
    tables.add("train", "recommend", TABLE)
    tables.add("train", "cart", TABLE)
    tables.leave_out("cart", "cart_requests")
    assert list(tables) == [("train", "recommend")]
    assert [file.name for file in tmp_path.rglob("*.parquet")] == ["recommend.parquet"]
    with pytest.raises(KeyError):
        tables["train", "cart"]


@settings(max_examples=20)
@given(rows=st.lists(st.integers(0, 39), unique=True, max_size=12))
def test_rows_of_a_file_are_those_of_the_frame_in_the_order_asked_for(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int]
) -> None:
    file = tmp_path_factory.mktemp("tables") / "table.parquet"
    TABLE.write_parquet(file, row_group_size=7)
    wanted = np.array(rows, np.int64)
    assert take(pl.scan_parquet(file), wanted).equals(take(TABLE, wanted))
    assert height(pl.scan_parquet(file)) == height(TABLE) == 40
    assert read(pl.scan_parquet(file), "b").equals(read(TABLE, "b"))
