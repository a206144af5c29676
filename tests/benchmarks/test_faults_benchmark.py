"""The whole command on a synthetic run, quickly; and that it notices what it is there to notice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.fault_cases import target
from benchmarks.fault_cases.case import AIM_SECONDS, Counts
from benchmarks.fault_cases.hostile import attack
from benchmarks.fault_cases.malformed import Malformed, cut_off, message, strings
from benchmarks.fault_cases.target import Server, shop_of
from benchmarks.faults import synthetic

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "faults.py"


def benchmark(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=280, check=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic(tmp_path_factory.mktemp("faults") / "run")


@pytest.fixture(scope="module")
def server(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(shop_of(run), tmp_path_factory.mktemp("faults") / "server", quick=True) as running:
        yield running


@pytest.mark.slow
def test_a_table_is_printed_and_the_aims_are_met(run: Path) -> None:
    result = benchmark("--quick", "--only", "strings cut off", "--run", run)
    assert result.returncode == 0, result.stdout + result.stderr
    for words in ("crashes", "hangs", "wrong", "seconds to recovery", "strings cut off", "back within 3 s: met"):
        assert words in result.stdout
    assert "cases: done, 1" in result.stderr


def test_cases_are_listed_and_a_name_of_none_is_refused() -> None:
    assert {"every malformed request", "huge requests"} <= set(benchmark("--list").stdout.splitlines())
    refused = benchmark("--only", "no such case")
    assert refused.returncode == 2
    assert "is in the name of no case" in refused.stderr


@pytest.mark.slow
def test_a_status_that_is_not_deserved_is_counted(server: Server) -> None:
    kinds = [
        Malformed("refused as it must", message("recommend", cut_off())),
        Malformed("answered, though it must not be", message("recommend", strings("user_id", b"u1"))),
        Malformed("refused, though it must not be", message("recommend", cut_off()), frozenset({"OK"})),
    ]
    counts = attack(server, kinds, attackers=1, honest=1)
    assert (counts.crashes, counts.hangs, counts.wrong) == (0, 0, 2)
    assert counts.requests > len(kinds)
    assert not counts.holds
    assert counts.notes[0].startswith("answered, though it must not be: OK")
    assert counts.notes[1].startswith("refused, though it must not be: INVALID_ARGUMENT")


def test_what_holds_is_without_fault_and_in_time() -> None:
    assert Counts(requests=9, seconds=AIM_SECONDS - 0.1).holds
    for wrong in (Counts(crashes=1), Counts(hangs=1), Counts(wrong=1), Counts(seconds=AIM_SECONDS)):
        assert not wrong.holds


@pytest.mark.slow
def test_a_process_that_ends_under_the_attack_is_counted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last test of this server, which need not come back."""
    monkeypatch.setattr(target, "GIVE_UP_SECONDS", 4.0)

    def killing() -> Iterator[Malformed]:
        yield Malformed("first", message("recommend", cut_off()))
        os.kill(server.triton, signal.SIGKILL)
        time.sleep(0.5)

    counts = attack(server, killing(), attackers=1, honest=1)
    assert counts.crashes >= 1
    assert not counts.holds
