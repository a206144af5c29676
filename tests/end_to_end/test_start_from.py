"""A run may start from what an earlier one learnt only if that has seen nothing of what it judges with, and its ids are the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cartwheel.core.errors import DataError, RunError
from cartwheel.core.run_layout import RunLayout
from models.training.warm_start import require_earlier


@pytest.fixture
def earlier(run: Path, tmp_path: Path) -> RunLayout:
    """What is looked at of an earlier run, which a test may alter."""
    copy = RunLayout(tmp_path / "earlier")
    shutil.copytree(RunLayout(run).workflow_folder, copy.workflow_folder)
    copy.examples_folder.mkdir()
    shutil.copyfile(RunLayout(run).examples_report, copy.examples_report)
    return copy


def test_a_run_may_start_from_one_whose_log_and_ids_its_own_go_on(run: Path, earlier: RunLayout) -> None:
    require_earlier(RunLayout(run), earlier)


@pytest.mark.parametrize(("instant", "words"), [("t_valid", "validates from"), ("t_test", "tests from")])
def test_what_an_earlier_run_has_seen_is_not_judged_with(run: Path, earlier: RunLayout, instant: str, words: str) -> None:
    report = json.loads(earlier.examples_report.read_text())
    earlier.examples_report.write_text(json.dumps({**report, instant: "2999-01-01T00:00:00+00:00"}))
    with pytest.raises(DataError, match=f"have learnt from events up to 2999-01-01T00:00:00.*but this run {words}"):
        require_earlier(RunLayout(run), earlier)
    earlier.examples_report.unlink()
    with pytest.raises(RunError, match=r"report\.json does not tell t_valid"):
        require_earlier(RunLayout(run), earlier)
