"""docs/protocols.md: its configuration prepares a run, its examples run on it one after the other, and print what it says."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from cartwheel.config import parse_settings
from cartwheel.core.tables import read_json
from cartwheel.pipeline import work
from evaluation.protocols.protocol import SAMPLED_WARNING

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = Path(__file__).parents[3] / "docs/protocols.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
FIGURE = re.compile(r"^([0-9a-f]{12}) fold (\d) (\w+): NDCG@10 (\d\.\d{4}) \[(\d\.\d{4}), (\d\.\d{4})\]$")


def of(language: str) -> list[str]:
    return [text for known, text in BLOCKS if known == language]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run like the demo's, a smaller shop, prepared with the configuration of the page."""
    folder = tmp_path_factory.mktemp("protocols")
    (config,) = of("toml")
    content: dict[str, Any] = tomllib.loads(config) | {"run": "runs/demo", "source": {"shoppers": 300, "items": 150}}
    settings = parse_settings(content, "docs/protocols.md", folder)
    settings.run.mkdir(parents=True)
    work.events(settings.run, settings)
    work.examples(settings.run, settings)
    return folder


def test_the_configuration_is_that_of_the_run(demo: Path) -> None:
    report = read_json(demo / "runs/demo/examples/report.json")
    assert (report["t_valid"], report["t_test"]) == ("2025-02-17T00:00:00+00:00", "2025-02-24T00:00:00+00:00")
    assert report["split"] == "by time: the events from 2025-02-24 on test, those from 2025-02-17 on validate, the rest trains"
    assert read_json(demo / "runs/demo/snapshot/state.json")["leave_out"] == "interacted"


def test_the_examples_run_and_print_what_the_page_says(
    demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(demo)
    names: dict[str, Any] = {}
    printed = []
    for number, example in enumerate(of("python"), start=1):
        exec(compile(example, f"docs/protocols.md, example {number}", "exec"), names)
        printed.append(capsys.readouterr().out)
    *tables, refusal = printed
    (told,) = of("text")
    assert " ".join(refusal.split()) == " ".join(told.split())
    found = [[match.groups() for line in text.splitlines() if (match := FIGURE.match(line))] for text in tables]
    assert [len(rows) for rows in found] == [2, 2 + 3 * 2, 2, 2, 2, 2]
    assert len({hashed for rows in found for hashed, *_ in rows}) == 7, "each protocol has a hash of its own"
    for rows in found:
        for *_, value, low, high in rows:
            assert float(low) <= float(value) <= float(high)
    assert [SAMPLED_WARNING in text for text in tables] == [False] * 5 + [True]
