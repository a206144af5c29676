"""Where the only Python is too new, make says what to install."""

import stat
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "find_python.sh"


def find(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/sh", SCRIPT], env={"PATH": str(path)}, capture_output=True, text=True, check=False)


def fake_python(folder: Path, name: str, version: str, fits: bool) -> None:
    path = folder / name
    path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "Python {version}" && exit 0\nexit {0 if fits else 1}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_python_that_is_too_new_is_named_with_what_to_install(tmp_path: Path) -> None:
    fake_python(tmp_path, "python3", "3.13.1", fits=False)
    result = find(tmp_path)
    assert result.returncode == 1
    assert "found: Python 3.13.1" in result.stderr
    assert "apt install python3.11" in result.stderr


def test_a_fitting_python_is_found_under_any_name(tmp_path: Path) -> None:
    fake_python(tmp_path, "python3", "3.10.14", fits=True)
    assert find(tmp_path).stdout.strip() == str(tmp_path / "python3")
    fake_python(tmp_path, "python3.11", "3.11.9", fits=True)
    assert find(tmp_path).stdout.strip() == str(tmp_path / "python3.11")
