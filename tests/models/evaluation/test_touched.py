"""How often the test split was judged: counted by configuration, and told."""

import json
from pathlib import Path

import polars as pl
import pytest

from cartwheel.core.errors import RunError
from evaluation.test_set_usage import FILE, Touches, configuration_hash, read_touches, record_touch

FIRST, SECOND = configuration_hash({"seed": 1}), configuration_hash({"seed": 2})


def test_one_configuration_is_clean_however_often_it_is_judged(own_run: Path) -> None:
    assert read_touches(own_run) == Touches({})
    assert record_touch(own_run, FIRST) == Touches({FIRST: 1})
    touches = record_touch(own_run, FIRST)
    assert touches == read_touches(own_run) == Touches({FIRST: 2})
    assert touches.is_clean
    assert touches.sentence == "The test split has been evaluated twice, with one configuration: nothing was selected on it."


def test_a_second_configuration_is_told(own_run: Path) -> None:
    for configuration in (FIRST, FIRST, SECOND):
        touches = record_touch(own_run, configuration)
    assert touches.configurations == {FIRST: 2, SECOND: 1}
    assert not touches.is_clean
    assert touches.sentence.startswith("The test split has been evaluated 3 times, with 2 configurations.")
    assert "cartwheel tune" in touches.sentence
    assert json.loads((own_run / FILE).read_text())["configurations"] == {FIRST: 2, SECOND: 1}


def test_another_split_begins_at_nought_and_the_first_is_not_forgotten(own_run: Path) -> None:
    record_touch(own_run, FIRST)
    report = own_run / "examples" / "report.json"
    first = report.read_text()
    report.write_text(json.dumps(json.loads(first) | {"t_test": "2024-02-28T00:00:00+00:00"}))
    assert read_touches(own_run) == Touches({})
    assert record_touch(own_run, SECOND) == Touches({SECOND: 1})
    report.write_text(first)
    assert record_touch(own_run, SECOND) == Touches({FIRST: 1, SECOND: 1})


def test_other_examples_of_the_same_split_do_not_make_it_new(own_run: Path) -> None:
    record_touch(own_run, FIRST)
    path = own_run / "examples" / "test" / "recommend.parquet"
    pl.read_parquet(path).head(3).write_parquet(path)
    assert record_touch(own_run, SECOND).configurations == {FIRST: 1, SECOND: 1}


def test_other_events_make_it_new(own_run: Path) -> None:
    record_touch(own_run, FIRST)
    path = own_run / "events" / "events.parquet"
    pl.read_parquet(path).head(30).write_parquet(path)
    assert read_touches(own_run) == Touches({})


@pytest.mark.parametrize("content", ["{}", '{"split": "x", "configurations": {}, "other_splits": 3}', "no"])
def test_a_file_that_says_nothing_is_told(own_run: Path, content: str) -> None:
    (own_run / FILE).parent.mkdir(exist_ok=True)
    (own_run / FILE).write_text(content)
    with pytest.raises(RunError, match=r"touched\.json"):
        record_touch(own_run, FIRST)


def test_never_and_once() -> None:
    assert Touches({}).sentence == "The test split has not been evaluated."
    assert "evaluated once" in Touches({FIRST: 1}).sentence
