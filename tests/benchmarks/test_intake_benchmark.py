"""The whole command at a small size: every way keeps all events, and a table comes out; how fast is never asserted."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "intake.py"


def test_every_way_is_measured(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--events", "200", "--json", tmp_path / "figures.json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "figures.json").read_text())
    assert set(content["figures"]) == {"plain SQLite", "Cartwheel, SQLite", "plain Redis", "Cartwheel, Redis"}
    assert all(each["events_a_second"] > 0 for sizes in content["figures"].values() for each in sizes.values())
    assert set(content["lookup_p50_us"]) == {"SQLite", "Redis"}
