"""The whole command on a tiny shop: both sides are held equal, then timed; how fast is never asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "serving.py"
LEVELS = ("1", "4")


def benchmark(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=280, check=False)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny shop, made and measured once; only the last test that reads it spoils it."""
    work = tmp_path_factory.mktemp("benchmark")
    result = benchmark("--work", work, "--items", "250", "--seconds", "0.2", "--check", "50", "--concurrency", ",".join(LEVELS))
    assert result.returncode == 0, result.stderr
    (work / "output.txt").write_text(result.stdout)
    return work


@pytest.mark.thorough
def test_equality_is_verified_and_a_table_is_printed(shop: Path) -> None:
    output = (shop / "output.txt").read_text()
    assert "all gave the same items for 50 questions" in output
    for words in (
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "requests/s",
        "refused",
        "cartwheel",
        "through the gateway",
        "peer, one by one",
        "peer, together",
        "ratio to",
    ):
        assert words in output
    figures = json.loads((shop / "250" / "serving.json").read_text())["figures"]
    assert [row["concurrency"] for row in figures] == [int(level) for level in LEVELS]
    for row in figures:
        for who in ("recommend", "gateway", "peer_one_by_one", "peer_together"):
            # A machine that is busy with something else makes a server refuse; what it refuses is counted.
            assert row[who]["requests"] + row[who]["refused"] >= row["concurrency"]
            assert (row[who]["p50_ms"] is None) == (row[who]["requests"] == 0)


@pytest.mark.thorough
def test_nothing_is_timed_where_the_answers_differ(shop: Path) -> None:
    fusion = shop / "250" / "run" / "models" / "ranking" / "fusion.json"
    content = json.loads(fusion.read_text())
    fusion.write_text(json.dumps({**content, "retrieval_weight": content["retrieval_weight"] + 1.0}))
    result = benchmark("--run", shop / "250" / "run", "--seconds", "0.2", "--check", "50")
    assert result.returncode == 9, result.stderr
    assert "disagree: question 0" in result.stderr
    assert "requests/s" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--concurrency", "1,x"), 2, "--concurrency '1,x' is no list of whole numbers above 0. Give for example 1,8,64."),
        (("--run", "nowhere"), 6, "nowhere/repository is not a Cartwheel repository"),
    ],
)
def test_bad_options_are_refused_in_a_sentence(arguments: tuple[str, str], code: int, message: str) -> None:
    result = benchmark(*arguments)
    assert result.returncode == code
    assert message in result.stderr
