"""Every leak that is planted in an analyst's table is found, a clean one passes, and the command says so."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cartwheel.cli.main import main
from cartwheel.core.errors import DataError, UsageError
from workflows.audit.reading import read_table
from workflows.audit.table import audit_table

ROWS = 1000
START = datetime(2024, 1, 1, tzinfo=timezone.utc)
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def orders() -> pl.DataFrame:
    """Orders in time order, split by time; whether they come back depends a little on the price."""
    rng = np.random.default_rng(5)
    price = rng.gamma(2.0, 20.0, ROWS)
    return pl.DataFrame(
        {
            "order": np.arange(ROWS),
            "customer": rng.integers(0, 300, ROWS),
            "ordered_at": [START + timedelta(hours=place) for place in range(ROWS)],
            "price": price,
            "color": rng.choice(["red", "green", "blue"], ROWS),
            "returned": rng.random(ROWS) < 0.2 + 0.002 * price,
            "fold": np.where(np.arange(ROWS) < 700, "train", "test"),
        }
    )


def found(table: pl.DataFrame, label: str = "returned", **parts: object) -> list[tuple[str, str, bool]]:
    audited = audit_table(table, label, **parts)  # type: ignore[arg-type]
    return [(finding.check, finding.column, finding.is_leak) for finding in audited.findings]


def test_a_clean_table_passes(orders: pl.DataFrame) -> None:
    audited = audit_table(orders, "returned", time="ordered_at", split="fold", ignore=["order"])
    assert audited.findings == ()
    assert audited.rows == ROWS
    assert audited.checks == {
        "single columns": 3,
        "later instants": 0,
        "duplicates across splits": ROWS,
        "order of the splits": ROWS,
    }


@pytest.mark.parametrize(
    ("clue", "check"),
    [
        (pl.when("returned").then(pl.lit("R")).otherwise(pl.lit("K")), "label under another name"),
        (pl.when("returned").then("price").otherwise(-pl.col("price")), "target in disguise"),
        (pl.when("returned").then("color"), "filled by the label"),
        (pl.when("returned").then(pl.format("refund {}", "order")), "filled by the label"),
        (pl.when("returned").then("order"), "filled by the label"),
        (pl.when(~pl.col("returned")).then(pl.format("kept {}", "order")), "filled by the label"),
    ],
)
def test_a_column_that_knows_the_label_is_a_leak(orders: pl.DataFrame, clue: pl.Expr, check: str) -> None:
    assert found(orders.with_columns(clue=clue)) == [(check, "clue", True)]


def test_a_quantity_and_several_classes_have_disguises_too(orders: pl.DataFrame) -> None:
    assert found(orders.with_columns(gross=pl.col("price") ** 2 + 7), "price") == [("target in disguise", "gross", True)]
    assert found(orders.with_columns(paint=pl.col("color") + "ish"), "color") == [("label under another name", "paint", True)]
    assert found(orders.with_columns(shade=pl.col("color") + (pl.col("order") % 3).cast(pl.String)), "color") == [
        ("target in disguise", "shade", True)
    ]


def test_columns_that_outrun_all_others_are_for_a_person_to_judge(orders: pl.DataFrame) -> None:
    rng = np.random.default_rng(6)
    noisy = orders.with_columns(near=pl.col("returned") + rng.normal(0, 0.8, ROWS))
    assert found(noisy, ignore=["order"]) == [("outruns the others", "near", False)]
    both = noisy.with_columns(nearer=pl.col("near").round(1), steps=pl.lit(rng.integers(0, 3, ROWS)))
    assert {name for _, name, _ in found(both, ignore=["order"])} == {"near", "nearer"}
    (finding,) = audit_table(noisy, "returned", ignore=["order"]).findings
    assert "the best of the columns behind it, price, has an area under the ROC curve of 0." in finding.found
    steady = noisy.with_columns(second=pl.col("returned") + rng.normal(0, 1.0, ROWS))
    assert found(steady.drop("color", "customer", "fold", "ordered_at", "price"), ignore=["order"]) == []
    paid = orders.with_columns(paid=pl.col("price") + rng.normal(0, 25, ROWS))
    assert found(paid, "price", ignore=["order", "returned", "fold", "color"]) == [("outruns the others", "paid", False)]


def test_a_name_whose_rows_share_a_label_is_for_a_person_to_judge(orders: pl.DataFrame) -> None:
    named = orders.with_columns(customer=pl.format("c{}", pl.col("customer") % 40))
    churn = named.with_columns(returned=pl.col("customer").is_in([f"c{number}" for number in (3, 5, 8, 13, 21, 34)]))
    assert found(churn) == [("label shared by a name", "customer", False)]


@pytest.mark.parametrize(
    ("late", "is_found"),
    [
        (pl.col("ordered_at") + pl.duration(hours=2), True),
        ((pl.col("ordered_at") + pl.duration(days=1)).dt.date(), True),
        (pl.col("ordered_at").dt.date(), False),
        (pl.col("ordered_at").dt.convert_time_zone("Asia/Tokyo"), False),
        (pl.when(pl.col("order") == 17).then(pl.lit(date(2030, 1, 1))), True),
    ],
    ids=["later", "next day", "same day", "other zone", "one row"],
)
def test_instants_after_the_question_are_leaks(orders: pl.DataFrame, late: pl.Expr, is_found: bool) -> None:
    expected = [("later than asked", "delivered", True)] if is_found else []
    assert found(orders.with_columns(delivered=late), time="ordered_at") == expected


def test_a_row_in_two_splits_is_a_leak_and_is_named(orders: pl.DataFrame) -> None:
    twice = pl.concat([orders, orders[3:5].with_columns(fold=pl.lit("test"), order=pl.lit(-1, pl.Int64))])
    (finding,) = audit_table(twice, "returned", split="fold", ignore=["order"]).findings
    assert (finding.check, finding.is_leak) == ("duplicates across splits", True)
    assert "4 rows are in more than one split" in finding.found
    assert "row 4 (train) and row 1001 (test)" in finding.found


def test_splits_that_overlap_and_groups_in_both_are_told(orders: pl.DataFrame) -> None:
    shuffled = orders.with_columns(fold=pl.col("fold").shuffle(seed=0))
    told = found(shuffled, time="ordered_at", split="fold", group="customer", ignore=["order"])
    assert told == [("splits overlap in time", "ordered_at", False), ("groups across splits", "customer", False)]


def test_names_of_columns_do_not_get_in_the_way(orders: pl.DataFrame) -> None:
    named = orders.rename({"returned": "count", "fold": "row", "ordered_at": "label", "price": "value", "color": "half"})
    assert found(named, "count", time="label", split="row", ignore=["order"]) == []


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"label": "retuned"}, "no column 'retuned'. Did you mean 'returned'?"),
        ({"label": "returned", "time": "price"}, "Column 'price' is Float64, not a date or datetime"),
        ({"label": "returned", "split": "returned"}, "Column 'returned' has two roles"),
        ({"label": "text"}, "Column 'text' has 1000 values of type String"),
    ],
)
def test_parts_that_cannot_be_are_refused(orders: pl.DataFrame, parts: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        audit_table(orders.with_columns(text=pl.col("order").cast(pl.String)), **parts)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_a_label_without_two_values_is_refused(orders: pl.DataFrame) -> None:
    with pytest.raises(DataError, match="no two values in the 1000 rows"):
        audit_table(orders.with_columns(returned=pl.lit(1)), "returned")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cartwheel", "audit", *map(str, arguments)])
        monkeypatch.setattr("signal.signal", lambda number, handler: None)
        with pytest.raises(SystemExit) as stop:
            main()
        return (int(stop.value.code or 0), *capsys.readouterr())

    return run


def test_the_command_reads_csv_and_ends_with_5_where_there_is_a_leak(
    orders: pl.DataFrame, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "orders.csv"
    orders.write_csv(path)
    parts = ("--label", "returned", "--time", "ordered_at", "--split", "fold", "--ignore", "order")
    code, out, err = command(path, *parts)
    assert (code, err) == (0, "")
    assert "No leak found" in out
    orders.with_columns(delivered=pl.col("ordered_at") + pl.duration(days=3)).write_csv(path)
    code, out, err = command(path, *parts)
    assert code == 5
    assert "later than asked" in out
    assert "1 of 1 findings are leaks, in delivered." in err
    code, out, _ = command(path, *parts, "--json")
    assert (code, json.loads(out)["findings"][0]["column"]) == (5, "delivered")


@pytest.mark.parametrize("dialect", ["csv", "semicolon", "tabs", "latin", "packed", "lines", "parquet"])
def test_every_dialect_that_prepare_reads_is_read(orders: pl.DataFrame, tmp_path: Path, command: Command, dialect: str) -> None:
    leaky = orders.with_columns(
        delivered=pl.col("ordered_at") + pl.duration(days=3), color=pl.col("color").replace("green", "größte, grün")
    )
    path = tmp_path / {"lines": "orders.jsonl", "packed": "orders.csv.gz", "tabs": "orders.txt", "parquet": "o.parquet"}.get(
        dialect, "orders.csv"
    )
    text = leaky.write_csv(separator={"semicolon": ";", "tabs": "\t"}.get(dialect, ","))
    config = tmp_path / "shop.toml"
    config.write_text('[source]\nkind = "table"\nencoding = "latin-1"\n' if dialect == "latin" else '[source]\nkind = "table"\n')
    if dialect == "lines":
        leaky.with_columns(pl.col("ordered_at", "delivered").dt.to_string("iso:strict")).write_ndjson(path)
    elif dialect == "parquet":
        leaky.write_parquet(path)
    else:
        path.write_bytes(
            gzip.compress(text.encode()) if dialect == "packed" else text.encode("latin-1" if dialect == "latin" else "utf-8")
        )
    code, out, err = command(
        path, "--label", "returned", "--time", "ordered_at", "--ignore", "order", "--source", config, "--json"
    )
    assert code == 5, err
    assert [(found["check"], found["column"]) for found in json.loads(out)["findings"]] == [("later than asked", "delivered")]


def test_broken_records_are_counted_and_left_out_or_refused(orders: pl.DataFrame, tmp_path: Path, command: Command) -> None:
    path = tmp_path / "orders.csv"
    lines = orders.write_csv().splitlines()
    lines.insert(51, lines[51] + ",surplus")
    path.write_text("\n".join(lines) + "\n")
    code, out, err = command(path, "--label", "returned")
    assert code == 0
    assert "1 of 1,001 records cannot be read; the first is row 51 of orders.csv (too many fields). They are left out." in err
    assert "1,000 labelled rows" in out
    path.write_text("\n".join(lines[:60]) + "\n")
    code, _, err = command(path, "--label", "returned")
    assert code == 4
    assert "1 of 59 records cannot be read; the first is row 51" in err


def test_files_that_do_not_fit_or_cannot_be_read_are_refused(tmp_path: Path, command: Command) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "b.csv").write_text("x\n1\n")
    with pytest.raises(DataError, match="its files do not have the same columns"):
        read_table(tmp_path)
    (tmp_path / "c.parquet").write_bytes(b"PAR1 no more")
    assert command(tmp_path / "c.parquet", "--label", "y")[0] == 4
    assert command(tmp_path / "absent.csv", "--label", "y")[0] == 4
