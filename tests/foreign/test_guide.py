"""docs/from-merlin.md, run as it stands, from the notebook's end to answers that equal Merlin's."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

GUIDE = (Path(__file__).resolve().parents[2] / "docs/from-merlin.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)):
        exec(compile(code, f"docs/from-merlin.md, part {number}", "exec"), names)
    assert number == 2
    assert np.isfinite(names["scores"]).all()


def test_every_option_that_the_guide_names_is_one_of_the_command() -> None:
    from typer.testing import CliRunner

    from cartwheel.cli.main import app

    known = "".join(
        CliRunner().invoke(app, [command, "--help"]).output for command in ("serve-model", "convert-systems", "compile")
    )
    for option in set(re.findall(r"`(--[a-z-]+)", GUIDE)):
        assert option in known
