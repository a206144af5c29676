"""The other tables on small data, what they refuse, and, where the published data is at hand, the real ones."""

import dataclasses
import os
import re
from pathlib import Path

import numpy as np
import pytest

from cartwheel.core.errors import ComparisonError, DataError
from evaluation.protocols.protocol import SAMPLED_WARNING, differences, digest, require_same
from evaluation.reproduce import TABLES, rerun
from evaluation.reproduce.page import Ran, page
from evaluation.reproduce.reading import read_sequences
from evaluation.reproduce.table import Figure, Ordering

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


def test_outcomes_carry_their_protocol_the_data_and_where_items_are_sampled_a_warning(
    sequences: Path, sessions: Path, tmp_path: Path
) -> None:
    (one,) = rerun(TABLES["random-100-negatives"], sequences, ["constant"])
    (again,) = rerun(TABLES["random-100-negatives"], sequences, ["constant"])
    assert one.protocol == again.protocol
    assert re.fullmatch("[0-9a-f]{12}", one.protocol.data)
    assert one.warning == one.told["warning"] == SAMPLED_WARNING
    assert digest(one.told["protocol"]) == one.told["hash"] == one.protocol.hash
    other_log = tmp_path / "other.txt"
    other_log.write_text(sequences.read_text().replace("0 ", "400 ", 1))
    (other,) = rerun(TABLES["random-100-negatives"], other_log, ["constant"])
    assert differences(one.told["protocol"], other.told["protocol"]) == [
        f"data: {one.protocol.data} against {other.protocol.data}"
    ]
    with pytest.raises(ComparisonError, match=f"data: {one.protocol.data} against {other.protocol.data}"):
        require_same(one.told["protocol"], other.told["protocol"], ("ours", "theirs"))
    for outcome in rerun(TABLES["yoochoose"], sessions, ["vsknn"]):
        assert outcome.warning is None
        assert re.fullmatch("[0-9a-f]{12}", outcome.protocol.data)


def test_the_page_tells_what_was_run_and_what_was_not(sequences: Path, sessions: Path) -> None:
    table, other = TABLES["random-100-negatives"], TABLES["yoochoose"]
    outcomes = tuple(rerun(table, sequences, ["constant"]))
    runs = [Ran(table, outcomes, 12.4, "cartwheel reproduce random"), Ran(other, tuple(rerun(other, sessions)), 3.0, "again")]
    text = page(runs, {"amazon-beauty": "there is no Beauty.txt"}, "a command", "2 cores, Python 3.11")
    for part in (
        "Made by `a command`. 2 cores, Python 3.11.",
        "| `random-100-negatives` | agrees as far as it was run: the one judged figure agrees; not run: random | 12 s |",
        "| `amazon-beauty` | not run: there is no Beauty.txt |  |",
        f"## {table.title}",
        f"- Published: {table.source}",
        "- Command: `cartwheel reproduce random`, 12 s.",
        "| constant | hit_rate@10 | 0.0990 | 0.0990 to 0.0990 | 0.0990 | +0.0000 | 1e-09 | agrees |",
        f"**Warning**: {SAMPLED_WARNING}",
        f"Protocol `{outcomes[0].protocol.hash}`: split.kind leave_one_out; candidates.negatives 100;",
        f"data {outcomes[0].protocol.data};",
        "## YooChoose",
    ):
        assert part in text
    assert text.count("**Warning**") == 1


def test_a_figure_that_differs_is_the_verdict_of_the_page(sequences: Path) -> None:
    table = TABLES["random-100-negatives"]
    constant, random = rerun(table, sequences)
    ran = Ran(table, (constant, dataclasses.replace(random, passed=False)), 1.0, "")
    assert ran.verdict == "**not reproduced**: 1 of 2 judged figures differ"
    assert (
        Ran(table, (constant, dataclasses.replace(random, passed=True)), 1.0, "").verdict
        == "reproduced: all 2 judged figures agree"
    )
    unjudged = tuple(dataclasses.replace(each, passed=None) for each in (constant, random))
    assert Ran(table, unjudged, 1.0, "").verdict == "not judged: none of what was run has a tolerance"


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
    with pytest.raises(DataError, match="is not a folder; expected one with"):
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
        ("random-100-negatives", "amazon-beauty/Beauty.txt", ["constant"]),
        pytest.param("random-100-negatives", "amazon-beauty/Beauty.txt", [], marks=pytest.mark.thorough),
        pytest.param("amazon-beauty", "amazon-beauty/Beauty.txt", [], marks=pytest.mark.thorough),
        ("movielens-100k", "ml-100k/u.data", []),
    ],
)
def test_the_published_figures_are_reproduced(name: str, path: str, only: list[str]) -> None:
    outcomes = list(rerun(TABLES[name], shared(path), only))
    assert [outcome for outcome in outcomes if outcome.passed is False] == []
    assert any(outcome.passed for outcome in outcomes)
