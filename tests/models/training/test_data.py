from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cartwheel.core.errors import DataError, RunError
from models.training.tables import read_sizes, read_strings, read_table


def _write(folder: Path, **columns: Any) -> Any:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / "part_0.parquet")
    return folder


def test_lists_are_padded_after_their_values(tmp_path: Path) -> None:
    folder = _write(
        tmp_path / "f", recent_items=pa.array([[3, 4], [], None, [5, 6, 7]], pa.list_(pa.int64())), x=[1.0, 2.0, 3.0, 4.0]
    )
    table = read_table(folder, ["recent_items", "x"])
    assert table["recent_items"].tolist() == [[3, 4, 0], [0, 0, 0], [0, 0, 0], [5, 6, 7]]
    assert table["recent_items"].dtype == np.int32
    assert table.batch(np.array([3, 0]), ["recent_items", "x"])["x"].tolist() == [[4.0], [1.0]]


def test_part_files_are_joined_in_order(tmp_path: Path) -> None:
    folder = _write(tmp_path / "f", x=pa.array([1, 2], pa.int64()))
    pq.write_table(pa.table({"x": [3]}), folder / "part_1.parquet")
    assert read_table(folder, ["x"])["x"].tolist() == [1, 2, 3]


def test_lists_that_are_all_empty_are_one_padding_long(tmp_path: Path) -> None:
    folder = _write(tmp_path / "f", recent_items=pa.array([[], []], pa.list_(pa.int64())))
    assert read_table(folder, ["recent_items"])["recent_items"].tolist() == [[0], [0]]


def test_strings_pass_through(tmp_path: Path) -> None:
    assert read_strings(_write(tmp_path / "f", cart_id=["a", "b"]), "cart_id").tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array([1.0, float("nan")]), r"'x', row 1 is nan"),
        (pa.array([1.0, float("inf")]), r"'x', row 1 is inf"),
        (pa.array([1.0, None]), "1 nulls"),
        (pa.array(["a", "b"]), "type string"),
        (pa.array([1, 9]), r"'x', row 1 holds an id outside 0\.\.4"),
        (pa.array([-1, 2]), r"'x', row 0 holds an id outside 0\.\.4"),
        (pa.array([], pa.int64()), "holds no row"),
        (pa.array([[1.5]]), "lists of encoded ids"),
    ],
)
def test_bad_values_are_named(tmp_path: Path, values: pa.Array, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_table(_write(tmp_path / "f", x=values), ["x"], {"x": 5})


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"lacks the columns \['label'\]"):
        read_table(_write(tmp_path / "f", x=[1]), ["x", "label"])


def test_missing_and_corrupt_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has no Parquet file"):
        read_table(tmp_path, ["x"])
    (tmp_path / "part_0.parquet").write_bytes(b"not parquet")
    with pytest.raises(RunError, match="cannot be read as Parquet"):
        read_table(tmp_path, ["x"])
    with pytest.raises(RunError, match=r"schema\.pbtxt"):
        read_sizes(tmp_path)
    (tmp_path / "schema.pbtxt").write_text("feature {{{")
    with pytest.raises(RunError, match=r"schema\.pbtxt"):
        read_sizes(tmp_path)


def test_sizes_come_from_the_schema(small_run: Path, shop: Any) -> None:
    assert read_sizes(small_run / "features" / "train" / "recommend") == shop.cardinalities
