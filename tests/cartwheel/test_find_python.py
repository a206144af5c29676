"""make takes the Python that is asked for, else 3.11, else 3.12 with a compiler, and says what to install where there is none."""

import stat
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "find_python.sh"


def find(path: Path, python: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(path), "PYTHON": python}
    return subprocess.run(["/bin/sh", SCRIPT], env=environment, capture_output=True, text=True, check=False)


def program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def fake_python(folder: Path, name: str, version: str, fits: bool, has_wheel: bool = True) -> None:
    told = f'[ "$1" = --version ] && echo "Python {version}" && exit 0'
    program(folder, name, f'{told}\ncase "$2" in *ensurepip*) exit {int(not fits)};; *) exit {int(not has_wheel)};; esac')


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


def test_3_11_comes_before_3_12_which_needs_a_compiler(tmp_path: Path) -> None:
    fake_python(tmp_path, "python3.12", "3.12.1", fits=True, has_wheel=False)
    result = find(tmp_path)
    assert result.returncode == 1
    assert "Python 3.12.1, for which NVTabular is built from its source, and no C++ compiler" in result.stderr
    assert "apt install g++" in result.stderr
    program(tmp_path, "g++", "exit 0")
    assert find(tmp_path).stdout.strip() == str(tmp_path / "python3.12")
    fake_python(tmp_path, "python3.11", "3.11.9", fits=True)
    assert find(tmp_path).stdout.strip() == str(tmp_path / "python3.11")


def test_python_chooses_by_version_name_or_path(tmp_path: Path) -> None:
    fake_python(tmp_path, "python3.11", "3.11.9", fits=True)
    fake_python(tmp_path, "python3.12", "3.12.1", fits=True, has_wheel=False)
    program(tmp_path, "c++", "exit 0")
    for python in ("3.12", "python3.12", str(tmp_path / "python3.12")):
        assert find(tmp_path, python).stdout.strip() == str(tmp_path / "python3.12")


def test_another_python_than_the_one_asked_for_is_never_taken(tmp_path: Path) -> None:
    fake_python(tmp_path, "python3.11", "3.11.9", fits=True)
    program(tmp_path, "python3.12", "echo 'python3.12: command not found' >&2; exit 127")  # as pyenv leaves behind
    result = find(tmp_path, "3.12")
    assert (result.returncode, result.stdout) == (1, "")
    assert "PYTHON=3.12 is no Python that starts, where Cartwheel needs Python 3.10, 3.11 or 3.12" in result.stderr
    fake_python(tmp_path, "python3.13", "3.13.1", fits=False)
    result = find(tmp_path, "python3.13")
    assert (result.returncode, result.stdout) == (1, "")
    assert "PYTHON=python3.13 is Python 3.13.1" in result.stderr
