"""The other tables on small data, what they refuse, and, where the published data is at hand, the real ones."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from cartwheel.errors import DataError
from models.reproduce import TABLES, rerun
from models.reproduce.reading import read_sequences
from models.reproduce.table import Figure, Ordering

SHARED = Path(os.environ.get("CARTWHEEL_DATA", Path(__file__).parents[4] / "shared" / "data"))


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"THE PUBLISHED DATA {name} IS NOT AT {SHARED}: this table is not held to its figures here")
    return path


@pytest.fixture
def sequences(tmp_path: Path) -> Path:
    """300 users whose items follow each other on a ring of 150."""
    generator = np.random.default_rng(1)
    path = tmp_path / "log.txt"
    starts = generator.integers(150, size=300)
    path.write_text(
        "".join(f"{user} {' '.join(str((start + n) % 150 + 1) for n in range(6))}\n" for user, start in enumerate(starts))
    )
    return path


@pytest.fixture
def sessions(tmp_path: Path) -> Path:
    """Sessions that walk along one of ten lanes of ten items; the test sessions walk alike."""
    generator = np.random.default_rng(2)
    for part, number in (("train_full", 200), ("test", 30)):
        rows = ["SessionId\tItemId\tTime"]
        for session in range(number):
            lane = generator.integers(10)
            items = lane * 10 + generator.choice(10, 4, replace=False)
            rows += [f"{session}\t{item}\t{1e9 + session * 100 + place}" for place, item in enumerate(items)]
        (tmp_path / f"clicks_{part}.txt").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_scorers_that_know_nothing_hit_by_chance(sequences: Path) -> None:
    constant, random = rerun(TABLES["random-100-negatives"], sequences)
    assert constant.passed
    assert constant.ours == pytest.approx(10 / 101, abs=1e-12)
    assert random.ours == pytest.approx(10 / 101, abs=0.06)
    assert random.ours != constant.ours


def test_sessions_are_split_by_file_and_the_findings_are_judged(sessions: Path) -> None:
    table = TABLES["yoochoose"]
    setting = table.settings[0]
    fold = setting.fold(table.read(sessions), setting.protocol)
    assert len(fold.train) == 800
    assert len(fold.test) == 90
    outcomes = {(outcome.what, outcome.metric): outcome for outcome in rerun(table, sessions)}
    lead = outcomes["vsknn above most_popular", "hit_rate@20"]
    assert lead.passed
    assert lead.ours == pytest.approx(outcomes["vsknn", "hit_rate@20"].ours - outcomes["most_popular", "hit_rate@20"].ours)
    assert outcomes["vsknn", "hit_rate@20"].passed is None


def test_a_finding_that_does_not_hold_fails(sessions: Path) -> None:
    table = TABLES["yoochoose"]
    wrong = Ordering("most_popular", "vsknn", Figure("hit_rate", 20))
    setting = dataclasses.replace(table.settings[0], orderings=(wrong,))
    last = list(rerun(dataclasses.replace(table, settings=(setting,)), sessions))[-1]
    assert last.what == "most_popular above vsknn"
    assert last.passed is False


def test_a_finding_is_left_out_where_one_of_its_models_is(sessions: Path) -> None:
    assert {outcome.what for outcome in rerun(TABLES["yoochoose"], sessions, ["vsknn"])} == {"vsknn"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty; expected lines of a user and at least one item"),
        ("1 2 3\n4\n", "line 2: '4'; expected a user and at least one item"),
        ("1 2 x\n", "line 1"),
        ("1 2\n1 3\n", "line 2: user 1 has line 1 already"),
    ],
)
def test_a_bad_sequence_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "log.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        read_sequences(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.txt is not there; expected lines of a user"):
        read_sequences(tmp_path / "nothing.txt")
    with pytest.raises(DataError, match="is a folder; expected"):
        read_sequences(tmp_path)


def test_bad_session_files_are_named(sessions: Path) -> None:
    read = TABLES["yoochoose"].read
    test = sessions / "clicks_test.txt"
    with pytest.raises(DataError, match="is no folder; expected one with"):
        read(test)
    test.write_text("SessionId\tItemId\tTime\n1\t2\tnoon\n")
    with pytest.raises(DataError, match=r"clicks_test.txt, line 2: '1\\t2\\tnoon'; expected SessionId, ItemId and Time"):
        read(sessions)
    test.write_text("session,item\n")
    with pytest.raises(DataError, match=r"line 1.*expected the header SessionId ItemId Time"):
        read(sessions)
    test.unlink()
    with pytest.raises(DataError, match=r"holds 0 files \*test.txt, not 1"):
        read(sessions)


@pytest.mark.parametrize("name", TABLES)
def test_each_table_says_what_it_needs_and_has_figures_to_judge(name: str) -> None:
    table = TABLES[name]
    assert table.name == name
    assert "http" in table.source
    assert "http" in table.data
    judged = [
        figure for setting in table.settings for row in setting.rows for figure in row.figures if figure.tolerance is not None
    ]
    assert judged or any(setting.orderings for setting in table.settings)
    assert all(figure.published is not None for figure in judged)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "path", "only"),
    [
        ("yoochoose", "yoochoose", []),
        pytest.param("random-100-negatives", "amazon-beauty/Beauty.txt", [], marks=pytest.mark.thorough),
        ("movielens-100k", "ml-100k/u.data", []),
    ],
)
def test_the_published_figures_are_reproduced(name: str, path: str, only: list[str]) -> None:
    outcomes = list(rerun(TABLES[name], shared(path), only))
    assert [outcome for outcome in outcomes if outcome.passed is False] == []
    assert any(outcome.passed for outcome in outcomes)
