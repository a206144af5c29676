from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cartwheel.core.errors import DataError
from workflows.events.numbers import files_with_comma, parse_number
from workflows.events.schema import FILE, ROW


def parse(text: str, decimal: str) -> float | None:
    number = parse_number(pl.col("text"), pl.lit(decimal == ","))
    found = pl.DataFrame({"text": [text]}).select(number.alias("number"))["number"][0]
    assert found is None or isinstance(found, float)
    return found


def commas(**files: list[str]) -> frozenset[str]:
    """Ask of the files with these prices which have a decimal comma."""
    rows = [(name, number, cell) for name, cells in files.items() for number, cell in enumerate(cells, start=1)]
    table = pl.DataFrame(rows, schema={FILE: pl.String, ROW: pl.Int64, "raw_price": pl.String}, orient="row")
    return files_with_comma(table.lazy(), ("price",), "raw_")


@pytest.mark.parametrize(
    ("text", "point", "comma"),
    [
        ("1299.00", 1299.0, None),
        ("$1,299.00", 1299.0, None),
        ("1.299,00 €", None, 1299.0),
        ("0,35", None, 0.35),
        ("1.299", 1.299, 1299.0),
        ("1,299", 1299.0, 1.299),
        ("1,299,000", 1_299_000.0, None),
        ("1\u202f299,5", None, 1299.5),
        ("1'299.50", 1299.5, None),
        ("₹1,23,456.00", 123_456.0, None),
        ("R$ 1.299,00", None, 1299.0),
        ("EUR 5", 5.0, 5.0),
        ("5 kr", 5.0, 5.0),
        ("-$5", -5.0, -5.0),
        ("$-5", -5.0, -5.0),
        ("1e3", 1000.0, 1000.0),
        (".5", 0.5, None),
        ("inf", float("inf"), float("inf")),
        ("1,2,3", None, None),
        ("12,34.5", None, None),
        ("1.2.3", None, None),
        ("1 2", None, None),
        ("5 kg", None, None),
        ("(5)", None, None),
        ("cheap", None, None),
        ("", None, None),
        ("$", None, None),
    ],
)
def test_numbers_as_shops_write_them(text: str, point: float | None, comma: float | None) -> None:
    assert (parse(text, "."), parse(text, ",")) == (point, comma)


@given(
    number=st.decimals(-(10**9), 10**9, places=2),
    decimal=st.sampled_from(".,"),
    grouped=st.booleans(),
    sign=st.sampled_from(["", "€", "$"]),
)
@settings(max_examples=80, deadline=None)
def test_what_is_written_with_a_sign_is_read_with_it(number: object, decimal: str, grouped: bool, sign: str) -> None:
    text = f"{number:,.2f}" if grouped else f"{number:.2f}"
    written = text.translate({ord("."): decimal, ord(","): "," if decimal == "." else "."})
    assert parse(f"{written} {sign}", decimal) == float(str(number))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a": ["5", "7"]}, set()),
        ({"a": ["9.99", "1.299"]}, set()),
        ({"a": ["9,99", "1.299"]}, {"a"}),
        ({"a": ["1.299,00"]}, {"a"}),
        ({"a": ["1.299.000"]}, {"a"}),
        ({"a": ["0.350"]}, set()),
        ({"a": ["0,350"]}, {"a"}),
        ({"a": ["1299,500"]}, {"a"}),
        ({"a": ["9,99"], "b": ["9.99"]}, {"a"}),
        ({"a": ["9,99"], "b": ["1.299"], "c": ["5"]}, {"a", "b"}),
        ({"a": ["9,99"] * 200 + ["9.99"]}, {"a"}),
        ({"a": ["cheap, really", "..."]}, set()),
    ],
)
def test_files_prove_their_decimal_sign(files: dict[str, list[str]], expected: set[str]) -> None:
    assert commas(**files) == expected


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": ["5", "1.299"]}, r"a, column price, row 2: '1\.299' has either three decimals or thousands"),
        ({"a": ["1,299"], "b": ["9.99"], "c": ["9,99"]}, "a, column price, row 1"),
        (
            {"a": ["7", "9.99", "9,99"]},
            r"a decimal point and a decimal comma: '9\.99' \(column price, row 2\) and '9,99' \(column price, row 3\)",
        ),
        ({"a": ["1.299", "1,299"]}, "three decimals or thousands"),
    ],
)
def test_what_is_not_certain_is_refused(files: dict[str, list[str]], message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        commas(**files)
    assert "Set source.decimal" in raised.value.fix
