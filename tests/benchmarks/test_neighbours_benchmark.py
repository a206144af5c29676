"""The whole command at a small size: both sides find the same neighbours, and a table comes out; how fast is never asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.counting.fits import OURS
from benchmarks.neighbours import PEER, agree
from cartwheel.core.errors import ParityError

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "neighbours.py"


@pytest.mark.thorough
def test_a_small_shop_is_measured_on_both_sides(tmp_path: Path) -> None:
    sizes = ["--shoppers", "60", "--items", "150", "--questions", "20"]
    command = [sys.executable, SCRIPT, *sizes, "--json", tmp_path / "figures.json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert result.returncode == 0, result.stderr
    assert "both find neighbours as near for every item" in result.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert set(figures) == {PEER, *OURS}
    assert all(each["cpu_seconds"] > 0 for each in figures.values())


def test_neighbours_that_are_not_as_near_end_the_command() -> None:
    assert agree([1.0, 0.0], [1.0 + 1e-12, 0.0]) < 1e-9
    with pytest.raises(ParityError, match=r"item 1 are 0.5 near in sum here and 0.6 there"):
        agree([1.0, 0.5], [1.0, 0.6])
