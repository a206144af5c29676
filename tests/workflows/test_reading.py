from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from cartwheel.errors import DataError
from workflows import reading
from workflows.events import FLAW


def read(path: Path) -> pl.DataFrame:
    return pl.concat([reading.scan(file).collect() for file in reading.discover(path)])


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_seen(tmp_path: Path, separator: str) -> None:
    (tmp_path / "t.csv").write_text(f"a{separator}b\n1{separator}2\n")
    assert read(tmp_path).select("a", "b").rows() == [("1", "2")]


def test_text_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes('\ufeffa,b\r\n 007 ,"x, ""y"""\r\n,é\n'.encode() + b"\xff,1")
    rows = read(tmp_path)
    assert rows.select("a", "b").rows() == [(" 007 ", 'x, "y"'), (None, "é"), (None, None)]
    assert rows[reading.INDEX].to_list() == [1, 2, 3]
    assert rows[FLAW].to_list() == [None, None, reading.NOT_UTF_8]


@pytest.mark.parametrize("pack", [False, True])
def test_flaws(tmp_path: Path, pack: bool) -> None:
    content = b"a,b,c\n1,2,3\n1,2,3,4,5\n\n1,2\n1"
    (tmp_path / ("t.csv.gz" if pack else "t.csv")).write_bytes(gzip.compress(content) if pack else content)
    assert read(tmp_path)[FLAW].to_list() == [None, reading.TOO_MANY_FIELDS, reading.EMPTY_ROW, None, reading.CUT_OFF]


def test_folders_are_read_through_and_hidden_files_passed_over(tmp_path: Path) -> None:
    for name in ("b.csv", "deep/a.csv", ".hidden.csv", "_SUCCESS", ".git/c.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a\n1\n")
    assert [file.name for file in reading.discover(tmp_path)] == ["b.csv", "deep/a.csv"]


def test_globs_cross_folders(tmp_path: Path) -> None:
    for name in ("x/a.csv", "y/z/b.csv", "y/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("a\n1\n")
    assert [file.name for file in reading.discover(tmp_path / "**" / "*.csv")] == ["x/a.csv", "y/z/b.csv"]


def test_a_name_with_glob_characters_is_just_a_name(tmp_path: Path) -> None:
    for name in ("log[1].csv", "log1.csv"):
        (tmp_path / name).write_text(f"a\n{name}\n")
    files = reading.discover(tmp_path / "log[1].csv")
    assert reading.scan(files[0]).collect()["a"].to_list() == ["log[1].csv"]


def _folder(path: Path, **files: bytes) -> Path:
    path.mkdir()
    for name, content in files.items():
        (path / name.replace("__", ".")).write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("files", "ask", "message"),
    [
        ({}, "", "holds no files"),
        ({"a__csv": b"x\n"}, "b.csv", "no such file or folder. Did you mean 'a.csv'"),
        ({"a__csv": b"x\n"}, "*.parquet", "no file matches"),
        ({"a__csv": b""}, "", "empty"),
        ({"a__xlsx": b"x"}, "", r"type '\.xlsx' cannot be read"),
        ({"a": b"x"}, "a", "type 'no suffix' cannot be read"),
        ({"a__csv": b"x\n1\n", "b__parquet": b"PAR1"}, "", "mixed"),
        ({"a__parquet": b"PAR1 no PAR1"}, "", "corrupt or cannot be read"),
        ({"a__csv__gz": b"no gzip at all"}, "", "corrupt or cannot be read"),
        ({"a__csv": b"\n1\n"}, "", "first line is blank"),
        ({"a__csv": b"x,y,x\n1,2,3\n"}, "", "names the column 'x' twice"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, files: dict[str, bytes], ask: str, message: str) -> None:
    folder = _folder(tmp_path / "in", **files)
    with pytest.raises(DataError, match=message) as raised:
        read(folder / ask)
    assert str(tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unclosed_quotation_mark_costs_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\n1,2\n3,"4\n5,6\n')
    rows = read(tmp_path)
    assert rows.select("a", "b", FLAW).rows() == [("1", "2", None), (None, None, reading.UNBALANCED), ("5", "6", None)]
