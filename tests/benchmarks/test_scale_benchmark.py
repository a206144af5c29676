"""The whole command at a tiny size: every stage is measured, and a table comes out; how much is never asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.scale import app
from cartwheel.core.errors import UsageError

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "scale.py"


@pytest.mark.slow
def test_every_stage_of_each_size_is_measured(tmp_path: Path) -> None:
    sizes = ["--millions", "0.008,0.004", "--items", "60", "--last", "events", "--json", tmp_path / "figures.json"]
    result = subprocess.run([sys.executable, SCRIPT, *sizes], capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert list(figures) == ["0.004", "0.008"]
    for stages in figures.values():
        assert set(stages) == {"simulate", "events"}
        assert all(each["cpu_seconds"] > 0 and each["peak_mb"] > 10 and each["events"] > 1000 for each in stages.values())


@pytest.mark.parametrize(("given", "said"), [(["--millions", "many"], "holds no sizes"), (["--last", "cook"], "is no stage")])
def test_what_cannot_be_measured_is_one_sentence(given: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    result = CliRunner().invoke(app, given)
    assert result.exit_code == UsageError.exit_code
    assert said in capsys.readouterr().err + result.output
