"""The whole command at a small size: both systems answer alike and are measured; how fast is never asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "foreign.py"


@pytest.mark.thorough
def test_both_systems_are_measured(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--folder", tmp_path / "foreign", "--seconds", "0.5", "--ratings", "800"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "foreign" / "foreign.json").read_text())
    measured = {(each["system"], each["under_way"]) for each in content["measured"]}
    assert measured == {(system, count) for system in ("cartwheel", "python_backend") for count in (1, 8, 64)}
    assert all(each["per_second"] > 0 and each["megabytes"] > 0 for each in content["measured"])
