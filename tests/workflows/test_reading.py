from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from cartwheel.core.errors import DataError
from workflows.events import reading
from workflows.events.schema import FLAW
from workflows.settings import SourceSettings


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


HEADER = "user,item,kind,time\n"
LINES = [f"u{number},i{number % 7},view,2024-01-{1 + number % 28:02d} 10:{number % 60:02d}:00" for number in range(200)]


def with_rows(folder: Path, *rows: tuple[int, str], encoding: str = "utf-8") -> Path:
    """Write 200 sound rows, and before those with the given numbers others."""
    lines = list(LINES)
    for place, row in sorted(rows, reverse=True):
        lines.insert(place, row)
    path = folder / "t.csv"
    path.write_bytes((HEADER + "\n".join(lines) + "\n").encode(encoding))
    return path


def open_one(path: Path, layout: reading.Layout | None = None) -> reading.Opened:
    return reading.open_file(reading.TableFile(path, path.name), layout)


def flaws(opened: reading.Opened) -> list[tuple[int, str]]:
    rows = opened.table.filter(pl.col(FLAW).is_not_null()).select(reading.INDEX, FLAW).collect().rows()
    return [(int(row), str(flaw)) for row, flaw in rows]


def test_backslashes_escape_where_only_they_explain_the_marks(tmp_path: Path) -> None:
    path = with_rows(tmp_path, (20, r'x,"15\" laptop",view,2024-01-05'), (150, r'y,"say \"hi\" now\\",view,2024-01-05'))
    opened = open_one(path)
    assert (opened.detected.dialect.escape, opened.rows, flaws(opened)) == ("\\", 202, [])
    items = opened.table.collect()["item"]
    assert (items[20], items[151]) == ('15" laptop', 'say "hi" now\\')


def test_backslashes_are_ordinary_where_the_marks_match_without(tmp_path: Path) -> None:
    path = with_rows(tmp_path, (20, 'x,"c:\\temp\\",view,2024-01-05'), (150, 'y,"a ""b"" \\c",view,2024-01-05'))
    opened = open_one(path)
    assert (opened.detected.dialect.escape, opened.rows, flaws(opened)) == ("", 202, [])
    assert opened.table.collect()["item"].gather([20, 151]).to_list() == ["c:\\temp\\", 'a "b" \\c']


def test_escapes_are_read_beside_a_row_that_nothing_explains(tmp_path: Path) -> None:
    path = with_rows(
        tmp_path, (20, r'x,"15\" a",view,2024-01-05'), (90, 'z,"TV 32" b",view,2024-01-05'), (150, r'y,"1\" c",view,2024-01-05')
    )
    opened = open_one(path)
    assert (opened.detected.dialect.escape, opened.rows, flaws(opened)) == ("\\", 203, [(92, reading.UNBALANCED)])


@pytest.mark.parametrize("between", [1, 3, 130])
def test_two_open_marks_swallow_no_rows_between_them(tmp_path: Path, between: int) -> None:
    path = with_rows(tmp_path, (20, 'x,"15 laptop,view,2024-01-05 10:00:00'), (20 + between, 'y,27",view,2024-01-05 10:00:00'))
    opened = open_one(path)
    assert (opened.rows, flaws(opened)) == (202, [(21, reading.UNBALANCED)])
    assert opened.table.collect()["item"][21 + between] == '27"'


def test_text_of_several_lines_with_separators_is_one_cell(tmp_path: Path) -> None:
    text = "good, really\nwould buy, again, and again\nfive, stars"
    opened = open_one(with_rows(tmp_path, (20, f'x,"{text}",view,2024-01-05 10:00:00')))
    assert (opened.rows, flaws(opened)) == (201, [])
    assert opened.table.collect()["item"][20] == text


def test_a_quoted_field_without_end_in_a_large_file_costs_a_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    line = "u1,lamp,view,2024-01-05 10:00:00\n"
    path.write_text(HEADER + line * 10 + 'u1,"lamp,view,2024-01-05 10:00:00\n' + line * 300_000)
    opened = open_one(path)
    assert (opened.rows, flaws(opened)) == (300_011, [(11, reading.UNBALANCED)])


def test_clean_text_beyond_a_piece_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    lines = (f'u{number},"é, {number}",view,\n' if number % 2 else f"u{number},ü,,x\n" for number in range(500_000))
    path.write_text(HEADER + "".join(lines))
    opened = open_one(path)
    table = opened.table.collect()
    assert opened.rows == table.height == 500_000
    assert table[reading.INDEX].to_list() == list(range(1, 500_001))
    assert table.row(499_999)[:4] == ("u499999", "é, 499999", "view", None)


def test_several_bytes_a_character_are_certain(tmp_path: Path) -> None:
    words = ["日本", "東京タワー", "カメラ", "時計", "電子レンジ", "冷蔵庫"]
    path = tmp_path / "t.csv"
    path.write_text("user,item\n" + "".join(f"u{number},{word}\n" for number, word in enumerate(words)), encoding="shift_jis")
    opened = open_one(path)
    assert opened.table.collect()["item"].to_list() == words
    assert "CP932" in opened.detected.sentence(("t.csv",))


def test_cyrillic_of_one_byte_a_character_is_refused(tmp_path: Path) -> None:
    words = ("чайник", "москва", "привет", "электронная книга", "холодильник")
    path = with_rows(tmp_path, *((20, f"x,{word},view,2024-01-05") for word in words), encoding="cp1251")
    with pytest.raises(DataError, match=r"row 21 holds .*, which is not UTF-8; it would be .* in cp1251"):
        open_one(path)


def test_a_few_damaged_rows_of_utf8_are_quarantined(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(HEADER.encode() + "u,ü,view,\n".encode() * 30 + b"u,\xff,view,\n")
    assert flaws(open_one(path)) == [(31, reading.NOT_UTF_8)]


def test_utf16_without_mark_is_refused_with_its_name(tmp_path: Path) -> None:
    path = with_rows(tmp_path, encoding="utf-16-be")
    with pytest.raises(DataError, match=r"looks like UTF-16.*utf-16-be"):
        open_one(path)


def test_what_the_encoding_does_not_know_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"user,item\n1,\x82\xa0\n2,\x82\x00\n")
    with pytest.raises(DataError, match=r"line 3 holds the byte 0x82, which shift_jis does not know"):
        open_one(path, reading.Layout(encoding="shift_jis"))


def test_json_lines_that_are_no_records_are_flawed_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1.50, "b": {"c": true}}\n{"a": \n\n[1]\n{"a": 1, "a": 2}\n{"a": 12345678901234567890, "d": [1, 2]}\n')
    opened = open_one(path)
    assert opened.rows == 6
    assert opened.table.select("a", "b.c", FLAW).collect().rows() == [
        ("1.50", "true", None),
        (None, None, "not a JSON object"),
        (None, None, "empty row"),
        (None, None, "not a JSON object"),
        (None, None, "a JSON object names a member twice"),
        ("12345678901234567890", None, None),
    ]
    assert opened.lists == {"d"}


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_what_escapes_of_json_make_that_is_no_text_costs_its_record(tmp_path: Path, suffix: str) -> None:
    cells = ["\\ud800", "\\ud83d\\ude00", "a\\u0000b", "\\u00fc"]
    records = [f'{{"a": "{cell}", "b": "{number}"}}' for number, cell in enumerate(cells)]
    (tmp_path / f"t{suffix}").write_text("\n".join(records) if suffix == ".jsonl" else f"[{', '.join(records)}]")
    no_text = "a JSON string that is no text (half of a surrogate pair, or NUL)"
    assert read(tmp_path).select("a", "b", FLAW).rows() == [
        (None, None, no_text),
        ("\U0001f600", "1", None),
        (None, None, no_text),
        ("ü", "3", None),
    ]


@pytest.mark.parametrize(("log", "kind"), [("_delta_log", "Delta Lake"), (".hoodie", "Apache Hudi")])
def test_a_folder_of_several_versions_is_refused(tmp_path: Path, log: str, kind: str) -> None:
    (tmp_path / log).mkdir()
    (tmp_path / log / "0.json").write_text("{}")
    (tmp_path / "a.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=f"is a table of {kind}, some of whose files may have been deleted"):
        read(tmp_path)


def test_columns_of_folders_are_decoded_and_agree_with_those_of_the_file(tmp_path: Path) -> None:
    for folder, content in {
        "kind=a%20b%2Fc/day=1": "user\n1\n",
        "kind=__HIVE_DEFAULT_PARTITION__/day=2": "user\n2\n",
        "kind=view/day=3": "user,day\n3,3\n4,5\n",
        "_hidden": "x\n",
    }.items():
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "part-0.csv").write_text(content)
    rows = reading.open_frame(tmp_path).sort("user").select("user", "kind", "day", FLAW).collect().rows()
    assert rows == [
        ("1", "a b/c", "1", None),
        ("2", None, "2", None),
        ("3", "view", "3", None),
        ("4", "view", "5", reading.DIFFERS_FROM_FOLDER),
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_many_small_files_are_one_table(tmp_path: Path, suffix: str) -> None:
    for number in range(50):
        rows = pl.DataFrame({"user": [f"u{number}", "x"], "item": ["i", None]})
        path = tmp_path / f"{number:02d}{suffix}"
        {".csv": rows.write_csv, ".parquet": rows.write_parquet, ".jsonl": rows.write_ndjson}[suffix](path)
    opened = list(reading.open_files(reading.discover(tmp_path), lambda _: reading.Layout()))
    assert len(opened) == 1
    table = opened[0].table.collect()
    assert table[reading.INDEX].to_list() == [1, 2] * 50
    assert table[reading.FILE_NAME].to_list() == [f"{number:02d}{suffix}" for number in range(50) for _ in range(2)]
    assert table["user"].to_list() == [user for number in range(50) for user in (f"u{number}", "x")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 and more", "a ZIP archive or a workbook of Excel"),
        (b"%PDF-1.7", "the file is PDF"),
        ("size größe,b\n".encode("latin-1"), "the header holds .*'size größe' in cp1252"),
        (b"a,b;c,d;e\n1,2;3,4;5\n1,2;3,4;5\n", r"3 fields by ',' and by ';' alike.*source\.separator"),
        (b'{"events": [1,\n2]}\n', "one JSON object"),
        (b"[{]", "the JSON is damaged"),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "setting", [{"encoding": "no such"}, {"encoding": "hex"}, {"quote": '""'}, {"escape": "\n"}, {"separator": ""}]
)
def test_settings_that_cannot_be_are_refused(setting: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        SourceSettings.model_validate(setting)
