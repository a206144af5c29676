"""Every example in a docstring, whichever room it is in."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("cartwheel", "workflows", "models", "evaluation", "serving", "benchmarks/leaders")


def modules() -> list[str]:
    """Modules that hold an example."""
    files = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    holding = [path for path in files if ">>> " in path.read_text(encoding="utf-8")]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in holding]


def test_there_are_examples_to_run() -> None:
    assert {"models.metrics.ranking", "models.metrics.curves", "cartwheel.notebook", "benchmarks.leaders.standing"} <= set(
        modules()
    )


@pytest.mark.parametrize("name", modules())
def test_examples_say_what_comes_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    module = importlib.import_module(name)
    assert any(each.examples for each in doctest.DocTestFinder().find(module))  # one that needs a server is found, and skipped
    assert doctest.testmod(module).failed == 0
