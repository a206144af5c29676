"""Both readers of tables: the same rows in the same order, and the same errors."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cartwheel.core.errors import RunError
from cartwheel.core.frames import read_frame, scan_frame
from cartwheel.core.tables import check_aligned, has_table, read_json, read_table

Read = Callable[..., dict[str, list[Any]]]


def by_arrow(path: Path, columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
    return read_table(path, columns).to_pydict()


def by_polars(path: Path, columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
    return read_frame(path, columns).to_dict(as_series=False)


def by_scan(path: Path, columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
    return scan_frame(path, columns).collect().to_dict(as_series=False)


readers = pytest.mark.parametrize("read", [by_arrow, by_polars, by_scan])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A table of eleven parts, two rows each."""
    for part in range(11):
        pq.write_table(
            pa.table({"row": [2 * part, 2 * part + 1], "item": [["a"], None], "text": ["x", None]}),
            tmp_path / f"part.{part}.parquet",
        )
    (tmp_path / "schema.pbtxt").write_text("no table")
    return tmp_path


@readers
def test_parts_are_read_by_their_numbers_and_columns_in_the_order_asked_for(folder: Path, read: Read) -> None:
    assert read(folder)["row"] == list(range(22))
    assert list(read(folder, ["text", "row"])) == ["text", "row"]
    assert read(folder / "part.10.parquet") == {"row": [20, 21], "item": [["a"], None], "text": ["x", None]}


@readers
def test_a_name_that_looks_like_a_pattern_is_a_name(tmp_path: Path, read: Read) -> None:
    odd = tmp_path / "run[1]"
    odd.mkdir()
    pq.write_table(pa.table({"x": [1]}), odd / "items.parquet")
    assert read(odd) == read(odd / "items.parquet") == {"x": [1]}


@readers
def test_what_cannot_be_read_is_named(folder: Path, tmp_path: Path, read: Read) -> None:
    with pytest.raises(RunError, match=r"absent is missing or has no Parquet file\. Run the earlier stages"):
        read(tmp_path / "absent")
    with pytest.raises(RunError, match=r"lacks the columns \['price'\]; it has \['row', 'item', 'text'\]"):
        read(folder, ["row", "price"])
    (tmp_path / "bad.parquet").write_bytes(b"PAR1, but not really")
    with pytest.raises(RunError, match=r"bad\.parquet cannot be read as Parquet"):
        read(tmp_path / "bad.parquet")


def test_a_table_is_a_file_or_a_folder_with_one(folder: Path) -> None:
    assert has_table(folder)
    assert has_table(folder / "part.3.parquet")
    assert not has_table(folder / "absent")


def test_an_object_of_json_is_read_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with pytest.raises(RunError, match=r"state\.json is missing"):
        read_json(path)
    for text, words in (("{", r"is not JSON"), ("[1]", r"contains list, expected a JSON object")):
        path.write_text(text)
        with pytest.raises(RunError, match=words):
            read_json(path)
    path.write_text('{"a": "ø"}', encoding="utf-8")
    assert read_json(path) == {"a": "ø"}


def test_tables_of_different_length_are_refused() -> None:
    check_aligned(Path("a"), 3, Path("b"), 3)
    with pytest.raises(RunError, match="a has 3 rows and b has 4; they must be row-aligned"):
        check_aligned(Path("a"), 3, Path("b"), 4)


def test_equal_rows_give_equal_frames(folder: Path) -> None:
    assert pl.DataFrame(pl.from_arrow(read_table(folder))).equals(read_frame(folder))
