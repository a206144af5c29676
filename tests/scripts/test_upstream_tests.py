"""The comparison of upstream's unit tests, on a checkout of a few tests that is made here."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import pytest

_SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "upstream_tests.py"
_PREPARE = """\
import os, sys
def install():
    assert "pytest" not in sys.modules
    os.environ["REPAIRED"] = "1"
def leave_out():
    pass
"""
_GOOD = """\
import os, pytest
from tests.conftest import EXPECTED
import merlin_like
@pytest.fixture
def broken():
    raise OSError("no such thing")
class TestGroup:
    def test_repaired(self):
        assert os.environ.get("REPAIRED") == EXPECTED, "not repaired\\nsecond line"
def test_installed(): assert merlin_like.WHERE == "installed"
def test_always_fails(): raise KeyError("divisions")
def test_skipped(): pytest.skip("needs a GPU")
def test_errs(broken): pass
"""
_DIES = """\
import os
import pytest
class TestGroup:
    @pytest.mark.parametrize("value", ["a b", "c"])
    def test_passes(self, value): pass
def test_fails(): assert not "second line"
def test_skips(): pytest.skip("not now")
def test_dies(): os.kill(os.getpid(), 11)
"""


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("upstream_tests", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["upstream_tests"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A checkout whose packages are not those installed, and two environments, the second without repairs."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # half of the time of so small a test
    files = {
        "checkout/merlin_like.py": 'WHERE = "checkout"',
        "checkout/tests/__init__.py": "",
        "checkout/tests/conftest.py": 'EXPECTED = "1"',
        "checkout/tests/unit/ops/test_good.py": _GOOD,
        "checkout/tests/unit/workflow/test_dies.py": _DIES,
        "checkout/tests/unit/workflow/test_needs.py": "import never_installed",
        "site/merlin_like.py": 'WHERE = "installed"',
        "site/repairs.py": _PREPARE,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    of_all = ["--nvtabular", str(tmp_path / "checkout"), "--results", str(tmp_path / "results"), "--path", str(tmp_path / "site")]
    pythons = ["--python", f"today={sys.executable}", "--python", f"next={sys.executable}"]
    return [*of_all, *pythons, "--prepare", "repairs:install", "--prepare", "next=repairs:leave_out"]


def test_counts_and_differences_are_reported(script: Any, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(arguments) == 1
    told = capsys.readouterr().out
    assert "| operators | today | 2 | 1 | 1 | 1 | 0 |" in told
    assert "| operators | next | 1 | 2 | 1 | 1 | 0 |" in told
    assert "| workflow | today | 2 | 1 | 1 | 1 | 1 |" in told
    assert "| all | next | 3 | 3 | 2 | 2 | 1 |" in told
    assert "- 1: ModuleNotFoundError: No module named 'never_installed'" in told
    assert "- 1: see the log: the process did not end" in told
    everywhere, some = told.split("Tests that fail in some only")
    assert "- 1: KeyError: 'divisions'" in everywhere
    assert re.search(r"- 1: the process died by SIGSEGV; last: .*test_dies", everywhere)
    assert "- passed, failed: AssertionError: not repaired\n  - tests/unit/ops/test_good.py::TestGroup::test_repaired" in some
    assert "second line" not in told
    assert "test_always_fails" not in some


def test_a_result_is_kept_until_it_is_asked_for_again(
    script: Any, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = [*arguments, "--part", "operators"]
    assert script.main([*one, "--no-run"]) == 0
    assert "today has no test, or no result, of 1 files: tests/unit/ops/test_good.py" in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.xml"))
    script.main(one)
    assert capsys.readouterr().out.count("[1/1]") == 2
    (tmp_path / "checkout/tests/unit/ops/test_good.py").write_text("def test_other(): pass", encoding="utf-8")
    assert script.main(one) == 1
    assert "[1/1]" not in capsys.readouterr().out
    assert script.main([*one, "--again"]) == 0
    assert "| operators | next | 1 | 0 | 0 | 0 | 0 |" in capsys.readouterr().out


def test_a_file_that_hangs_is_killed_with_what_it_started(
    script: Any, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hangs = 'import subprocess, sys\ndef test_hangs(): subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"])'
    (tmp_path / "checkout/tests/unit/ops/test_good.py").write_text(hangs, encoding="utf-8")
    assert script.main([*arguments, "--part", "operators", "--limit", "3"]) == 0
    told = capsys.readouterr().out
    assert "| operators | today | 0 | 0 | 0 | 0 | 1 |" in told
    assert "- 1: the process was killed after 3 s; last: " in told


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (["--python", "sys.executable"], "not of the form NAME=PATH"),
        (["--path", "other=folder"], "--path names other, which no --python does"),
        (["--prepare", "today=repairs:missing"], r"today: repairs:missing fails in [^\n]*\n(.*\n)*AttributeError"),
        (["--core", "."], "has no tests/unit, which the part core needs"),
    ],
)
def test_what_cannot_be_run_is_refused(
    script: Any, arguments: list[str], tmp_path: Path, changed: list[str], expected: str
) -> None:
    given = [str(tmp_path) if text == "." else text for text in changed]
    with pytest.raises(SystemExit, match=expected):
        script.main([*arguments, *given])
