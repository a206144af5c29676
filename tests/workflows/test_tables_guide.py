"""The guide to own columns does what it says, and fits a page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from cartwheel.cli.main import app
from cartwheel.config import load_settings
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_json
from cartwheel.pipeline.work import events, tables
from workflows.features.column import Owner
from workflows.features.own import listed_items, own_family

GUIDE = (Path(__file__).parents[2] / "docs/tables.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    return str(found)


def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block("python"), "docs/tables.md", "exec"), {})
    Path("shop.toml").write_text(block("toml"))
    shown = CliRunner().invoke(app, ["features", "suggest", "shop.toml"], catch_exceptions=False).stdout
    assert shown == block("text")
    CliRunner().invoke(app, ["features", "suggest", "shop.toml", "--write"], catch_exceptions=False)
    settings = load_settings(Path("shop.toml"))
    events(settings.run, settings)
    tables(settings.run, settings)
    day = 86_400_000_000
    noon = 20_095 * day + day // 2  # 2025-01-07
    family = own_family(settings.run, Owner.ITEM)
    assert family is not None
    found = family.frame(pl.Series(["i00001", "i00001", "i90000"]), np.array([noon, noon + 9 * day, noon]))
    assert found["colour"].to_list() == ["blue", "black", ""]
    assert found["labels"].to_list() == [["new", "blue"], ["new"], []]
    calendar = own_family(settings.run, Owner.MOMENT)
    assert calendar is not None
    assert calendar.frame(pl.Series(["", ""]), np.array([noon, noon + day]))["sale"].to_list() == ["true", "false"]
    assert "i90000" not in listed_items(settings.run, noon)
    assert "i90000" in listed_items(settings.run, noon + 30 * day)
    summary = read_json(RunLayout(settings.run).tables_folder / "summary.json")
    assert summary["items"]["not_in_log"] >= 1


def test_it_fits_a_page() -> None:
    assert len(GUIDE.splitlines()) < 110
