"""``cartwheel reproduce`` as a user meets it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cartwheel.core.errors import DataError, ReproductionError, UsageError
from evaluation.protocols.protocol import SAMPLED_WARNING, digest
from evaluation.reproduce import TABLES


def reproduce(*arguments: str) -> tuple[int, str, str]:
    """Arguments -> exit code, standard output, standard error."""
    command = [sys.executable, "-m", "cartwheel.cli.main", "reproduce", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Users whose items follow each other on a ring of 150."""
    path = tmp_path / "log.txt"
    path.write_text("".join(f"{user} {' '.join(str((user * 7 + n) % 150 + 1) for n in range(5))}\n" for user in range(200)))
    return path


def test_without_a_name_it_lists_the_tables_and_what_they_need() -> None:
    code, said, _ = reproduce()
    assert code == 0
    for name, table in TABLES.items():
        assert f"{name}: {table.title}" in said
        assert re.sub(r"\s+", "", table.data) in re.sub(r"\s+", "", said)
    listed = json.loads(reproduce("--json")[1])
    assert [each["name"] for each in listed] == list(TABLES)


def test_agreement_ends_with_0_and_difference_with_a_code_of_its_own(log: Path) -> None:
    code, said, _ = reproduce("random-100-negatives", "--data", str(log), "--only", "constant")
    assert code == 0
    assert "0.0990" in said
    assert "agrees" in said
    code, said, error = reproduce("random-100-negatives", "--data", str(log), "--only", "random", "--json")
    (outcome,) = json.loads(said)
    differs = abs(outcome["ours"] - 10 / 101) > 0.01
    assert outcome["difference"] == pytest.approx(outcome["ours"] - 10 / 101)
    assert code == (ReproductionError.exit_code if differs else 0)
    assert ("1 of 1 judged figures differ: random hit_rate@10 is" in error) == differs


def test_a_sampled_figure_is_warned_of_in_the_table_and_in_the_json(log: Path) -> None:
    arguments = ("random-100-negatives", "--data", str(log), "--only", "constant")
    assert f"warning: {SAMPLED_WARNING}" in " ".join(reproduce(*arguments)[1].split())
    (outcome,) = json.loads(reproduce(*arguments, "--json")[1])
    assert outcome["warning"] == SAMPLED_WARNING
    assert outcome["protocol"]["candidates"] == {"negatives": 100, "by": "uniform", "kind": "sampled"}
    assert digest(outcome["protocol"]) == outcome["hash"]


def test_a_page_is_written_though_a_figure_differs(log: Path, tmp_path: Path) -> None:
    page = tmp_path / "reproduced.md"
    code, said, _ = reproduce("random-100-negatives", "--data", str(log), "--write", str(page))
    text = page.read_text()
    for line in said.splitlines():
        if "hit_rate@10" in line:
            for cell in line.split("│")[1:4]:
                assert cell.strip() in text
    assert ("**not reproduced**" in text) == (code == ReproductionError.exit_code)
    assert "`cartwheel reproduce random-100-negatives --data log.txt --write reproduced.md`" in text
    assert "Python 3." in text
    assert "numpy 1." in text
    assert str(tmp_path) not in text, "a page tells nothing of the machine's folders"
    code, _, error = reproduce("--write", str(page))
    assert (code, "No table is given." in error) == (UsageError.exit_code, True)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nothing"], UsageError.exit_code, "There is no table 'nothing'. There are movielens-100k, "),
        (["movielens-100k"], UsageError.exit_code, "needs data. Give it with --data: u.data of MovieLens 100K"),
        (
            ["movielens-100k", "--data", "missing.data"],
            DataError.exit_code,
            "missing.data is not there; expected lines of user, item",
        ),
        (["--data", "x"], UsageError.exit_code, "No table is given."),
        (
            ["yoochoose", "--data", "x", "--write", "."],
            UsageError.exit_code,
            "--write is the folder .; expected a file. Give for example reproduced.md.",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(arguments: list[str], code: int, said: str) -> None:
    found, _, error = reproduce(*arguments)
    assert found == code
    assert said in error
    assert "Traceback" not in error


def test_a_bad_line_of_the_data_is_named(tmp_path: Path) -> None:
    path = tmp_path / "u.data"
    path.write_text("1\t2\t3\t4\nuser item rating\n")
    code, _, error = reproduce("movielens-100k", "--data", str(path))
    assert code == DataError.exit_code
    assert "u.data, line 2: 'user item rating'; expected user, item, rating and Unix time" in error
