from __future__ import annotations

import polars as pl
import pytest

from workflows.events.schema import CANONICAL, FILE, ORIGINAL, ROW
from workflows.events.tidy import Tidy, kept_apart
from workflows.settings import NULL_VALUES


def tidied(column: str, cells: list[str | None], tidy: Tidy | None = None) -> pl.DataFrame:
    table = pl.DataFrame({name: cells if name == column else [None] * len(cells) for name in (*CANONICAL, "colour")})
    table = table.cast(pl.String).with_columns(pl.lit("a.csv").alias(FILE), pl.int_range(1, pl.len() + 1).alias(ROW))
    return (tidy or Tidy()).apply(table.lazy()).collect()


def report(column: str, cells: list[str | None], tidy: Tidy | None = None) -> list[str]:
    return (tidy or Tidy()).report(tidied(column, cells, tidy).lazy())


@pytest.mark.parametrize("column", [*CANONICAL, "colour"])
def test_null_tokens_are_missing_in_every_column(column: str) -> None:
    cells = [*NULL_VALUES, *(f" {token}\t" for token in NULL_VALUES), "", " "]
    found = tidied(column, list(cells))
    assert found[column].null_count() == len(cells)
    assert found[ORIGINAL].struct.field(column).to_list() == cells
    assert report(column, ["NULL", "nan", "NULL", "x"]) == [
        f"{column}: 'NULL' in 2 rows, 'nan' in 1 rows read as missing (source.null_values)."
    ]


@pytest.mark.parametrize("column", ["user_id", "item_id", "session_id", "category", "brand"])
def test_whole_floats_are_integers_and_nothing_else_is(column: str) -> None:
    cells = ["1288.0", "0.0", "-7.00", "007.0", "1.5", "1e3", "1288", "v1.0", "1.0.0", ".0", "-0.0"]
    found = tidied(column, list(cells))
    assert found[column].to_list() == ["1288", "0", "-7", *cells[3:]]
    assert found[ORIGINAL].struct.field(column).to_list() == [*cells[:3], *[None] * 8]
    assert report(column, list(cells)) == [
        f"{column}: whole numbers of a float column are read as integers, in 3 rows, the first '1288.0' in a.csv, row 1."
    ]


def test_blanks_around_own_columns_stay() -> None:
    assert tidied("colour", [" red ", "1.0"])["colour"].to_list() == [" red ", "1.0"]
    assert tidied("brand", [" red\u00a0", "a  b"])["brand"].to_list() == ["red", "a  b"]
    assert report("brand", ["x", " red\u00a0"]) == [
        "brand: outer blanks are trimmed, in 1 rows, the first ' red\\xa0' in a.csv, row 2."
    ]


def test_exact_ids_lose_null_tokens_alone() -> None:
    exact = Tidy(exact_ids=True)
    assert tidied("user_id", ["7.0", " 7", "NULL"], exact)["user_id"].to_list() == ["7.0", " 7", None]
    assert tidied("category", ["7.0", " 7"], exact)["category"].to_list() == ["7", "7"]


def test_names_of_side_tables_are_tidied_as_those_of_events() -> None:
    cells = ["1288.0", " x ", "NULL", "007", ""]
    side = pl.DataFrame({"id": cells}).select(Tidy().of_name(pl.col("id")))["id"]
    assert side.to_list() == tidied("item_id", list(cells))["item_id"].to_list()


@pytest.mark.parametrize(
    ("ids", "told"),
    [
        (["Anna", "anna", "bob"], ["2 ids differ from another only in upper and lower case ('Anna', 'anna')"]),
        (["007", "7", "0"], ["2 ids differ from another only in leading zeros ('007', '7')"]),
        (["caf\u00e9", "cafe\u0301"], ["2 ids differ from another only in their Unicode form"]),
        (["+7", "7"], ["2 ids differ from another only in a plus sign ('+7', '7')"]),
        (["'00123", '="00123"', "00124"], ["2 ids differ from another only in marks around them"]),
        (["a\u200bb", "ab"], ["2 ids differ from another only in characters that cannot be seen"]),
        (["True", "false"], ["the ids are 'True', 'false' alone, which rather answer a question than name something"]),
        (["true", "false", "maybe"], []),
        (["a b", "ab"], ["2 ids differ from another only in blanks"]),
        (["1.23E+12", "5"], ["1 ids look like numbers that a spreadsheet or a float column has rounded ('1.23E+12')"]),
        (["Guest", "bob", "-", "unknown"], ["the id '-', 'Guest', 'unknown' looks like that of nobody; it is kept"]),
        (["a", "b", "0", "10", "1e", "e5", "nobody"], []),
        ([], []),
    ],
)
def test_what_may_be_one_is_kept_apart_and_told(ids: list[str], told: list[str]) -> None:
    found = kept_apart("user_id", pl.Series(ids, dtype=pl.String))
    assert len(found) == len(told)
    assert all(line.startswith(f"user_id: {start}") for line, start in zip(found, told, strict=True))
