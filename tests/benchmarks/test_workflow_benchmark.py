"""The whole command at small sizes: everything is held equal, then measured; how fast is never asserted."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from benchmarks.encoding.compare import compare
from benchmarks.encoding.events import CONTINUOUS, draw, write_events
from cartwheel.core.errors import ParityError

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "workflow.py"


def benchmark(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.thorough
def test_quick_measures_every_part(tmp_path: Path) -> None:
    result = benchmark("--quick", "--work", tmp_path / "work", "--json", tmp_path / "figures.json")
    assert result.returncode == 0, result.stderr
    assert "all gave the same for 100,000 rows" in result.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures) == {"machine", "request", "table", "growth", "loading"}
    parts = {"whole graph", "Categorify and FillMissing", "Categorify", "Categorify, 256 rows at once"}
    assert set(figures["request"]) == parts | {"load_average"}
    for name in ("Cartwheel", "NVTabular", "pandas"):
        assert figures["table"][name]["cpu_seconds"] > 0
        assert figures["table"][name]["peak_mb"] > 0
    for name in ("Cartwheel, ONNX", "Cartwheel, Polars", "NVTabular's transform", "NVTabular's C++ operator"):
        assert figures["loading"][name]["first"] > 0
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--part", "speed"), "--part 'speed' is not known. Give one of request, table, growth, loading."),
        (("--users", "10,x"), "--users '10,x' is no list of numbers above 0. Give for example 1,10."),
        (("--growth", "0"), "--growth '0' is no list of numbers above 0."),
    ],
)
def test_bad_options_are_refused_in_a_sentence(arguments: tuple[str, str], message: str) -> None:
    result = benchmark(*arguments)
    assert result.returncode == 2
    assert message in result.stderr


def test_events_are_the_same_at_each_call(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_events(tmp_path / name, 1_000)
    one, two = (pl.read_parquet(tmp_path / name) for name in ("one", "two"))
    assert one.equals(two)
    assert one.height == 1_000
    assert not one.equals(draw(1_000, 1))


def encoded() -> pl.DataFrame:
    """Ids 3 (three times), 4 and 5 (twice each), null and unknown."""
    ids = [3, 3, 3, 4, 4, 5, 5, 1, 2]
    columns = dict.fromkeys(("user_id", "item_id", "category", "shop"), ids)
    numbers = {name: pl.Series([0.5] * len(ids), dtype=pl.Float32) for name in CONTINUOUS}
    return pl.DataFrame({**columns, **numbers, "tags": [[value] for value in ids]})


def test_values_that_are_equally_frequent_may_be_numbered_either_way() -> None:
    other = [3, 3, 3, 5, 5, 4, 4, 1, 2]
    compare(encoded(), encoded().with_columns(user_id=pl.Series(other), tags=pl.Series([[value] for value in other])), ("a", "b"))


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "shop",
            [4, 4, 4, 3, 3, 5, 5, 1, 2],
            "a and b disagree in column 'shop': a rarer value comes before a more frequent one",
        ),
        ("shop", [3, 3, 3, 4, 5, 5, 5, 1, 2], "one value has two ids"),
        ("shop", [3, 3, 3, 4, 4, 5, 5, 2, 1], "null or unknown values have other ids"),
        ("shop", [3.0] * 9, "9 rows of Int64 against 9 of Float64"),
        ("tags", [[3, 3]] * 9, "'tags': lists of other lengths"),
        ("price", pl.Series([0.5] * 8 + [0.50001], dtype=pl.Float32), "'price': a float differs by 1.0e-05"),
    ],
)
def test_what_differs_is_told(column: str, values: list[object] | pl.Series, message: str) -> None:
    with pytest.raises(ParityError, match=message):
        compare(encoded(), encoded().with_columns(pl.Series(column, values)), ("a", "b"))
