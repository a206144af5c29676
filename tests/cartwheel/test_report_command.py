"""``cartwheel report`` draws again what ``evaluate`` found, and leaves the stage finished."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from cartwheel.cli.main import main
from cartwheel.pipeline.run_directory import RunDirectory, StageRecord
from evaluation.figures import Evaluation, Protocol, record
from models.metrics.intervals import Interval

PROTOCOL = Protocol("test", "all 9 items", "half", {"anchors": 1200, "users": 300}, "nothing", "95%")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose manifest says that it was evaluated."""
    interval = Interval(0.2, 0.4)
    Evaluation((record("retrieval", "two_tower", "ndcg", 0.3, interval, PROTOCOL, n=9, role="model", k=10),)).write(tmp_path)
    (tmp_path / "evaluation/report.html").write_text("of an earlier version")
    stage = StageRecord(key="key", settings={"seed": 1}, seconds=0.0, files={})
    RunDirectory(tmp_path).finish("evaluate", stage, ["evaluation"], 1.0)
    return tmp_path


def cartwheel(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["cartwheel", *map(str, arguments)])
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_the_report_is_written_and_the_stage_stays_done(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cartwheel(monkeypatch, "report", run) == 0
    written = run / "evaluation/report.html"
    assert capsys.readouterr().out.strip() == str(written)
    assert written.read_text().startswith("<!DOCTYPE html>")
    assert RunDirectory(run).is_done("evaluate", "key")
    metrics = json.loads((run / "evaluation/metrics.json").read_text())
    assert metrics[0]["protocol"]["hash"] in written.read_text()


def test_a_run_that_the_manifest_does_not_hold_gets_no_stage(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "manifest.json").unlink()
    assert cartwheel(monkeypatch, "report", run) == 0
    assert not (run / "manifest.json").exists()


@pytest.mark.parametrize(("missing", "words"), [("", "There is no run directory"), ("evaluation/metrics.json", "is missing")])
def test_what_is_missing_is_one_sentence(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str, words: str
) -> None:
    if missing:
        (run / missing).unlink()
    assert cartwheel(monkeypatch, "report", run if missing else run / "nowhere") != 0
    said = capsys.readouterr().err.strip()
    assert words in said
    assert len(said.splitlines()) == 1
