"""Memory that a stage has freed does not stay with the process."""

import os
import subprocess
import sys
from typing import Final

import pytest

from cartwheel.core.memory import give_back

ALLOCATE: Final = """
import os
from cartwheel.core.memory import give_back, give_back_at_once
if {at_once}:
    give_back_at_once()
import numpy as np
import polars as pl

def held():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines["RssAnon"].split()[0]) // 1024

before = held()
frame = pl.DataFrame({{"number": np.arange(20_000_000)}}).with_columns(pl.col("number").cast(pl.String).alias("text"))
there = held()
del frame
give_back()
print(before, there, held(), os.environ.get("_RJEM_MALLOC_CONF"))
"""


def run(*, at_once: bool, **environment: str) -> list[str]:
    command = [sys.executable, "-c", ALLOCATE.format(at_once=at_once)]
    inherited = {
        name: value for name, value in os.environ.items() if name != "_RJEM_MALLOC_CONF"
    }  # Polars sets it for its children
    variables = {**inherited, **environment}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True, timeout=120).stdout.split()


def test_what_polars_frees_goes_back_to_the_system() -> None:
    before, there, after, _ = (int(each) if each.isdigit() else each for each in run(at_once=True))
    assert isinstance(before, int)
    assert isinstance(there, int)
    assert isinstance(after, int)
    assert there - before > 300
    assert after - before < 0.5 * (there - before)


def test_what_the_user_has_set_stays() -> None:
    settings = run(at_once=True, _RJEM_MALLOC_CONF="narenas:3")[3].split(",")
    assert settings[-1] == "narenas:3"  # Polars puts its own before it
    assert "dirty_decay_ms:0" not in settings


def test_a_c_library_that_cannot_trim_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    give_back()
