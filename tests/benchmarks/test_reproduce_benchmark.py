"""The command that reruns published tables writes its page whatever comes out, and says what it left out."""

import subprocess
import sys
from pathlib import Path

from benchmarks.reproduce import PATHS
from cartwheel.core.errors import DataError, ReproductionError, UsageError
from evaluation.reproduce import TABLES

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "reproduce.py"


def rerun(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=300, check=False)


def test_it_knows_every_table() -> None:
    assert set(PATHS) == set(TABLES)


def test_the_page_holds_what_was_run_what_was_refused_and_what_is_missing(tmp_path: Path) -> None:
    log, page = tmp_path / "amazon-beauty/Beauty.txt", tmp_path / "reproduced.md"
    log.parent.mkdir()
    log.write_text("".join(f"{user} {' '.join(str((user * 7 + n) % 150 + 1) for n in range(5))}\n" for user in range(200)))
    done = rerun("--data", tmp_path, "--out", page, "--only", "random-100-negatives", "--only", "yoochoose")
    assert done.returncode in (0, ReproductionError.exit_code)
    text = page.read_text()
    assert "| constant | hit_rate@10 | 0.0990 |" in text
    assert "| `yoochoose` | not run: there is no yoochoose; it takes A folder with" in text
    assert "| `amazon-beauty` | not run: not asked for |" in text
    assert "`cartwheel reproduce random-100-negatives --data amazon-beauty/Beauty.txt`" in text
    assert "LEFT OUT: yoochoose" in done.stderr
    done = rerun("--data", tmp_path, "--out", page, "--only", "amazon-beauty")
    assert done.returncode == DataError.exit_code
    assert "| `amazon-beauty` | not run: amazon-beauty/Beauty.txt holds 1,000 interactions of 200 users" in page.read_text()
    assert str(tmp_path) not in page.read_text()


def test_an_unknown_table_is_one_sentence(tmp_path: Path) -> None:
    done = rerun("--only", "beauty", "--out", tmp_path / "page.md")
    assert done.returncode == UsageError.exit_code
    assert "error: --only is 'beauty'; expected a table. There are movielens-100k, amazon-beauty" in done.stderr
    assert not (tmp_path / "page.md").exists()
