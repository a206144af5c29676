"""What every source must keep; a source's test inherits ``SourceConformance`` and writes a few rows in its publisher's format."""

from __future__ import annotations

import csv
import gzip
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
from dialects import AWKWARD, BROKEN, WAYS, Sheet, text

from cartwheel.core.errors import ConfigError, DataError
from workflows.events import reading
from workflows.events.schema import ASIDE, CANONICAL, EVENT_SCHEMA, EVENT_TYPES, FILE, FLAW, ROW, EventSummary
from workflows.events.sources import open_source
from workflows.events.sources.base import Source
from workflows.events.validate import check_events
from workflows.settings import EventSettings, SourceSettings


def encodable(row: list[str]) -> bool:
    """Tell whether Latin-1, in which rows are written too, knows all characters of a row."""
    return all(character < "\u0100" for cell in row for character in cell)


class SourceConformance(ABC):
    kind: ClassVar[str]
    file: ClassVar[str]
    """Name of the events file that ``write`` makes."""
    rows: ClassVar[int]
    """How many rows ``write`` writes, all of them sound."""
    settings: ClassVar[dict[str, Any]] = {}
    required_column: ClassVar[str]
    """A column of the file that the source cannot do without; empty where the format has no header."""

    user_column: ClassVar[str]
    """The column of user ids; empty where the format has no header."""
    price_column: ClassVar[str] = ""
    """The column of prices, where the source has any."""
    has_local_times: ClassVar[bool]
    """Whether the times that ``write`` writes have neither offset nor unit."""
    separator: ClassVar[str] = ","
    """What stands between the fields of the file that ``write`` makes."""
    item_column: ClassVar[str] = ""
    """The column of item ids."""
    text_column: ClassVar[str] = ""
    """A column of the file that holds any text; empty where the publisher's format is none of CSV."""

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Write sound events to ``folder / self.file``."""

    def open(self, path: Path | None, **settings: Any) -> Source:
        return open_source(SourceSettings(kind=self.kind, path=path, **{**self.settings, **settings}), Path("/"))

    def check(self, path: Path, source: dict[str, Any] | None = None, **settings: Any) -> EventSummary:
        return check_events(self.open(path, **source or {}), EventSettings(**settings), self.target(path))

    def rewrite(self, folder: Path, column: str, cells: list[str]) -> Path:
        """Write ``cells`` over the first cells of a column, as text, and return the file."""
        path = folder / self.file
        if path.suffix == ".parquet":
            table = pl.read_parquet(path).cast({column: pl.String})
        else:
            separator = max(",;", key=path.read_text().split("\n", 1)[0].count)
            table = pl.read_csv(path, separator=separator, infer_schema=False)
        table = table.with_columns(pl.Series(column, [*cells, *table[column].to_list()[len(cells) :]]))
        if path.suffix == ".parquet":
            table.write_parquet(path)
        else:
            table.write_csv(path, separator=separator)
        return path

    def cell_by_row(self, folder: Path, column: str) -> dict[int, Any]:
        """Return ``column`` of the raw events by row, for it is where the rows stay apart."""
        return dict(self.open(folder / self.file).scan().select(ROW, column).collect().iter_rows())

    @staticmethod
    def target(path: Path) -> Path:
        return (path if path.is_dir() else path.parent).parent / "checked"

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "log with spaces é"
        folder.mkdir()
        self.write(folder)
        return folder

    def test_scan_gives_raw_canonical_columns(self, folder: Path) -> None:
        raw = self.open(folder / self.file).scan()
        assert isinstance(raw, pl.LazyFrame)
        rows = raw.collect()
        assert tuple(rows.columns[: len(CANONICAL)]) == CANONICAL
        assert all(rows.schema[column] == pl.String for column in CANONICAL)
        assert rows.columns[-4:] == [FILE, ROW, FLAW, ASIDE]
        assert sorted(rows[ROW]) == list(range(1, self.rows + 1))
        assert set(rows[FILE]) == {self.file}

    def test_every_sound_row_is_kept_in_time_order(self, folder: Path) -> None:
        summary = self.check(folder / self.file)
        events = pl.read_parquet(self.target(folder) / "events.parquet")
        assert (summary.rows, summary.rows_read, summary.quarantined, summary.bad_share) == (self.rows, self.rows, 0, 0.0)
        assert dict(list(events.schema.items())[: len(CANONICAL)]) == dict(EVENT_SCHEMA)
        assert events["timestamp"].is_sorted()
        assert set(events["event_type"]) <= set(EVENT_TYPES)
        assert events["item_id"].null_count() == 0
        assert events.filter(pl.col("user_id").is_null() & pl.col("session_id").is_null()).is_empty()

    def test_two_runs_are_equal(self, folder: Path) -> None:
        self.check(folder / self.file)
        first = {path.name: path.read_bytes() for path in self.target(folder).iterdir()}
        self.check(folder / self.file)
        assert first == {path.name: path.read_bytes() for path in self.target(folder).iterdir()}

    def test_folder_and_glob_read_the_same(self, folder: Path) -> None:
        one = self.open(folder / self.file).scan().collect()
        glob = self.open(folder.parent / "log*" / self.file).scan().collect()
        assert glob.sort(ROW).equals(one.sort(ROW))
        for path in folder.iterdir():
            if path.name != self.file:
                path.unlink()
        assert self.open(folder).scan().collect().height == one.height

    def test_gzip_reads_the_same(self, folder: Path) -> None:
        if not self.file.endswith(".csv"):
            pytest.skip("this format is not shipped gzipped")
        plain = self.open(folder / self.file).scan().collect().sort(ROW).drop(FILE)
        packed = folder / f"{self.file}.gz"
        packed.write_bytes(gzip.compress((folder / self.file).read_bytes()))
        assert self.open(packed).scan().collect().sort(ROW).drop(FILE).equals(plain)

    def test_rows_of_many_files_are_counted_by_file(self, folder: Path) -> None:
        suffix = "".join(Path(self.file).suffixes)
        several = folder.parent / "several"
        several.mkdir()
        for name in ("a", "b"):
            (several / f"{name}{suffix}").write_bytes((folder / self.file).read_bytes())
        raw = self.open(several).scan().collect()
        assert dict(raw.group_by(FILE).agg(pl.col(ROW).max()).iter_rows()) == dict.fromkeys(
            (f"a{suffix}", f"b{suffix}"), self.rows
        )
        summary = self.check(several, max_bad_share=0.6)
        assert summary.reasons == {"duplicate": self.rows}
        assert set(pl.read_parquet(self.target(several) / "quarantine.parquet")["file"]) == {f"b{suffix}"}

    def test_a_missing_column_is_named(self, folder: Path) -> None:
        if not self.required_column:
            pytest.skip("this format has no header")
        path = folder / self.file
        if path.suffix == ".parquet":
            pl.read_parquet(path).rename({self.required_column: f"{self.required_column}x"}).write_parquet(path)
        else:
            path.write_text(path.read_text().replace(self.required_column, f"{self.required_column}x", 1))
        with pytest.raises(DataError, match=f"Did you mean '{self.required_column}x'"):
            self.open(path).scan()

    def test_no_path_is_a_config_error(self) -> None:
        with pytest.raises(ConfigError, match=r"source\.path is not set"):
            self.open(None)

    def test_nothing_there_is_a_data_error(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no such file or folder"):
            self.open(tmp_path / "nowhere")

    def test_an_empty_file_is_a_data_error(self, folder: Path) -> None:
        (folder / self.file).write_bytes(b"")
        with pytest.raises(DataError, match="empty"):
            self.open(folder / self.file)

    def test_floats_and_blanks_make_no_ids_of_their_own(self, folder: Path) -> None:
        if not self.user_column:
            pytest.skip("this format has no header")
        path = self.rewrite(folder, self.user_column, ["1288", "1288.0", " 1288 "])
        summary = self.check(path)
        users = self.cell_by_row(folder, "user_id")
        assert [users[row] for row in (1, 2, 3)] == ["1288"] * 3
        told = [remark for remark in summary.remarks if remark.startswith("user_id")]
        assert len(told) == 2
        assert "'1288.0'" in told[0]
        assert "' 1288 '" in told[1]
        assert f"in {self.file}, row" in told[0]

    def test_exact_ids_stay_as_they_are(self, folder: Path) -> None:
        if not self.user_column:
            pytest.skip("this format has no header")
        path = self.rewrite(folder, self.user_column, ["1288", "1288.0", " 1288 "])
        users = dict(self.open(path, exact_ids=True).scan().select(ROW, "user_id").collect().iter_rows())
        assert [users[row] for row in (1, 2, 3)] == ["1288", "1288.0", " 1288 "]

    @pytest.mark.parametrize("token", ["NULL", "\\N", "nan", "", "  "])
    def test_null_tokens_are_missing(self, folder: Path, token: str) -> None:
        if not self.user_column:
            pytest.skip("this format has no header")
        path = self.rewrite(folder, self.user_column, [token, f" {token}"])
        assert [self.cell_by_row(folder, "user_id")[row] for row in (1, 2)] == [None, None]
        if self.price_column:
            self.rewrite(folder, self.price_column, [token])
        source = self.open(path)
        summary = self.check(path, max_bad_share=0.9)
        refused = 0 if source.anonymous_baskets else 2
        assert summary.reasons == ({"missing user_id": refused} if refused else {})
        assert any(remark.startswith(f"user_id: {token!r} in 2 rows") for remark in summary.remarks) == bool(token.strip())
        if refused:
            kept = pl.read_parquet(self.target(folder) / "quarantine.parquet")["user_id"].fill_null("")
            assert sorted(kept.str.strip_chars()) == [token.strip()] * 2

    def test_null_values_of_the_settings_replace_the_usual_ones(self, folder: Path) -> None:
        if not self.user_column:
            pytest.skip("this format has no header")
        path = self.rewrite(folder, self.user_column, ["NULL", "ghost"])
        users = dict(self.open(path, null_values=["ghost"]).scan().select(ROW, "user_id").collect().iter_rows())
        assert (users[1], users[2]) == ("NULL", None)

    def test_local_times_are_those_of_the_zone(self, folder: Path) -> None:
        self.check(folder / self.file)
        utc = pl.read_parquet(self.target(folder) / "events.parquet")["timestamp"]
        self.check(folder / self.file, {"timezone": "America/New_York"})
        there = pl.read_parquet(self.target(folder) / "events.parquet")["timestamp"]
        assert set((there - utc).dt.total_hours()) == ({5} if self.has_local_times else {0})

    def test_a_zone_that_does_not_exist_is_refused(self) -> None:
        for name in ("Europe/Berlim", "EST", "CEST", "+02:00"):
            with pytest.raises(ValueError, match="IANA name, such as Europe/Berlin"):
                SourceSettings(kind=self.kind, timezone=name)

    @pytest.mark.parametrize(
        ("cells", "expected"),
        [
            (["$1,299.00", "0.35"], [1299.0, 0.35]),
            (["1.299,00 €", "0,35"], [1299.0, 0.35]),
            (["1.299", "9,5"], [1299.0, 9.5]),
        ],
    )
    def test_the_decimal_sign_is_found(self, folder: Path, cells: list[str], expected: list[float]) -> None:
        if not self.price_column:
            pytest.skip("this source has no prices")
        path = self.rewrite(folder, self.price_column, [*cells, *["7"] * (self.rows - 2)])
        self.check(path)
        prices = pl.read_parquet(self.target(folder) / "events.parquet")["price"]
        assert sorted(prices) == sorted([*expected, *[7.0] * (self.rows - 2)])

    def test_a_decimal_sign_that_cannot_be_told_is_refused(self, folder: Path) -> None:
        if not self.price_column:
            pytest.skip("this source has no prices")
        path = self.rewrite(folder, self.price_column, ["1.299", "2,499", *["7"] * (self.rows - 2)])
        with pytest.raises(DataError, match=r"column price, row 1: '1\.299' .*Set source\.decimal"):
            self.check(path)
        self.check(path, {"decimal": ","})
        prices = pl.read_parquet(self.target(folder) / "events.parquet")["price"]
        assert sorted(prices) == sorted([1299.0, 2.499, *[7.0] * (self.rows - 2)])

    def sheet(self, folder: Path) -> Sheet:
        """Return the header and the rows of the file as text, with rows of awkward cells."""
        if not self.text_column:
            pytest.skip("the publisher's format is none of CSV")
        path = folder / self.file
        content = pl.read_parquet(path).write_csv() if path.suffix == ".parquet" else path.read_text()
        names, *rows = csv.reader(content.splitlines(), delimiter=self.separator)
        rows = [row for row in rows if encodable(row)]
        place = names.index(self.text_column)
        return [names, *rows, *([*rows[0][:place], cell, *rows[0][place + 1 :]] for cell in AWKWARD)]

    def plain(self, folder: Path, sheet: Sheet) -> pl.DataFrame:
        """Return the raw events of ``sheet`` as plain CSV."""
        path = folder / "plain.csv"
        path.write_text(text(sheet))
        raw = self.open(path).scan().collect().drop(FILE)
        assert raw.height == len(sheet) - 1
        return raw

    @pytest.mark.parametrize("name", WAYS)
    def test_any_dialect_reads_the_same(self, folder: Path, name: str) -> None:
        sheet, way = self.sheet(folder), WAYS[name]
        path = folder / f"part-way{way.suffix}"
        path.write_bytes(way.write(sheet))
        assert self.open(path, **way.settings).scan().collect().drop(FILE).equals(self.plain(folder, sheet))

    def test_awkward_cells_come_back(self, folder: Path) -> None:
        raw = self.plain(folder, self.sheet(folder)).tail(len(AWKWARD))
        texts = [raw[column].str.strip_chars().to_list() for column in raw.columns if raw.schema[column] == pl.String]
        assert [cell.strip() for cell in AWKWARD] in texts  # the blanks around ids and names are the business of values

    def test_a_file_without_header_is_refused_or_named(self, folder: Path) -> None:
        names, *rows = self.sheet(folder)
        path = folder / "bare.csv"
        path.write_text(text(rows))
        with pytest.raises(DataError, match=r"looks like data.*source\.header = false"):
            self.open(path).parts()
        raw = self.open(path, header=tuple(names)).scan().collect().drop(FILE)
        assert raw.equals(self.plain(folder, [names, *rows]))

    def test_folders_named_by_hive_are_columns(self, folder: Path) -> None:
        names, *rows = self.sheet(folder)
        rows = rows[: -len(AWKWARD)]
        place = names.index(self.text_column)
        parted = folder / f"{self.text_column}=a%20b%2Fc" / "part-0.csv"
        parted.parent.mkdir()
        for path in folder.iterdir():
            if path.is_file():
                (parted.parent / path.name).write_bytes(path.read_bytes())
        parted.write_text(text([row[:place] + row[place + 1 :] for row in (names, *rows)]))
        expected = self.plain(folder, [names, *([*row[:place], "a b/c", *row[place + 1 :]] for row in rows)])
        assert self.open(parted).scan().collect().drop(FILE).equals(expected)

    @pytest.mark.parametrize("name", BROKEN)
    def test_a_row_that_cannot_be_read_is_quarantined_alone(self, folder: Path, name: str) -> None:
        names, *rows = self.sheet(folder)
        make, reason = BROKEN[name]
        expected = self.plain(folder, [names, *rows]).drop(ROW)
        lines = [text([row]).encode() for row in rows]
        bad = make(rows[0]) + b"\n"
        places = (2, 3, len(rows) + 1)
        for place in places:
            lines.insert(place, bad)
        path = folder / "broken.csv"
        path.write_bytes(text([names]).encode() + b"".join(lines))
        raw = self.open(path, encoding="utf-8").scan().collect()
        assert raw[ROW].to_list() == list(range(1, len(rows) + 4))
        assert raw.filter(pl.col(FLAW).is_null()).drop(FILE, ROW).equals(expected)
        assert raw.filter(pl.col(FLAW).is_not_null()).select(FILE, ROW, FLAW).rows() == [
            (path.name, place + 1, reason) for place in places
        ]

    def test_empty_rows_are_set_aside_however_many(self, folder: Path) -> None:
        names, *rows = self.sheet(folder)
        rows = rows[: -len(AWKWARD)]
        path = folder / "spaced.csv"
        path.write_text("".join(f"{text([row])}\n" for row in (names, *rows)))
        summary = self.check(path)
        empty = len(rows) + 1
        assert (summary.reasons[reading.EMPTY_ROW], summary.set_aside >= empty, summary.bad_share) == (empty, True, 0.0)
        assert summary.rows + summary.merged + summary.quarantined == summary.rows_read == len(rows) + empty
        assert f"{empty} rows are empty; they are set aside and count as no bad ones." in summary.remarks

    def parquet(self, folder: Path, column: str, cells: pl.Series) -> Path:
        """Write the sheet without its awkward rows as Parquet, with the first cells of a column replaced by typed ones."""
        names, *rows = self.sheet(folder)
        rows = rows[: len(cells)]
        path = folder / "part-typed.parquet"
        plain = pl.DataFrame({name: [row[place] for row in rows] for place, name in enumerate(names)})
        plain.with_columns(cells.alias(column)).write_parquet(path)
        return path

    def test_bytes_are_the_text_that_they_are(self, folder: Path) -> None:
        if not self.user_column:
            pytest.skip("this format has no header")
        path = self.parquet(folder, self.user_column, pl.Series([b"12", b"\xff", b"a\0"]))
        raw = self.open(path).scan().collect()
        assert raw["user_id"].to_list() == ["12", None, None]
        assert raw[FLAW].to_list() == [None, *["user_id holds bytes that are no text in UTF-8"] * 2]

    @pytest.mark.parametrize("cells", [pl.Series([True, False, None])])
    def test_truth_values_are_no_ids(self, folder: Path, cells: pl.Series) -> None:
        if not self.user_column:
            pytest.skip("this format has no header")
        with pytest.raises(DataError, match=rf"'{self.user_column}' holds true and false \(Boolean\), but user_id was expected"):
            self.open(self.parquet(folder, self.user_column, cells)).parts()

    @pytest.mark.parametrize(("dtype", "digits"), [(pl.Float16, 11), (pl.Float32, 24), (pl.Float64, 53)])
    def test_ids_of_floats_that_hold_fewer_digits_are_refused(self, folder: Path, dtype: type[pl.DataType], digits: int) -> None:
        if not self.user_column:
            pytest.skip("this format has no header")
        path = self.parquet(folder, self.user_column, pl.Series([2.0**digits - 1, 2.0**digits, float("nan")], dtype=dtype))
        raw = self.open(path).scan().collect()
        assert raw[FLAW].to_list() == [None, f"user_id beyond 2^{digits} in a column of floats", None]
        assert (raw["user_id"][0], raw["user_id"][2]) == (str(2**digits - 1), None)

    def test_what_nobody_sees_around_an_id_is_no_part_of_it(self, folder: Path) -> None:
        if not self.user_column:
            pytest.skip("this format has no header")
        path = self.rewrite(folder, self.user_column, ["1288", "\ufeff1288", "\u200b1288\u202c"])
        summary = self.check(path)
        users = self.cell_by_row(folder, "user_id")
        assert [users[row] for row in (1, 2, 3)] == ["1288"] * 3
        assert any(remark.startswith("user_id: outer blanks are trimmed, in 2 rows") for remark in summary.remarks)

    def test_bytes_of_another_encoding_are_refused_with_row_and_likely_encoding(self, folder: Path) -> None:
        names, *rows = self.sheet(folder)
        place = names.index(self.text_column)
        words = ("café-é", "café-è", "café-ê")
        rows = [*rows[: -len(AWKWARD)], *([*rows[0][:place], word, *rows[0][place + 1 :]] for word in words)]
        path = folder / "latin.csv"
        path.write_bytes(text([names, *rows]).encode("cp1252"))
        first = 1 + next(number for number, row in enumerate(rows) if not "".join(row).isascii())
        with pytest.raises(DataError, match=rf"row {first} holds .* in cp1252.*source\.encoding.*most likely 'cp1252'"):
            self.open(path).parts()
        assert self.open(path, encoding="cp1252").scan().collect().drop(FILE).equals(self.plain(folder, [names, *rows]))

    def test_ids_of_absurd_length_are_suspicious(self, folder: Path) -> None:
        names, *rows = self.sheet(folder)
        place = names.index(self.item_column)
        wrong = [*rows[0][:place], "9" * 600, *rows[0][place + 1 :]]
        raw = self.plain(folder, [names, *rows[: -len(AWKWARD)], wrong])
        assert raw[FLAW].to_list() == [*[None] * (raw.height - 1), "item_id of over 512 characters"]
