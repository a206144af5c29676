"""The public names are there without importing what they need, and a run opens from a file, a mapping or its folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import cartwheel
from cartwheel.api import open_run

ROOT = Path(__file__).resolve().parents[2]
TINY = {"source": {"shoppers": 300, "items": 60, "days": 20}}


def test_every_public_name_is_there_and_documented() -> None:
    for name in cartwheel.__all__:
        assert getattr(cartwheel, name).__doc__, name
    assert set(cartwheel.__all__) <= set(dir(cartwheel))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cartwheel.nothing


def ask_python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )


def test_importing_cartwheel_imports_nothing_heavy(tmp_path: Path) -> None:
    heavy = "('tensorflow', 'polars', 'onnxruntime', 'nvtabular', 'pandas', 'pytriton', 'onnx', 'pyarrow')"
    code = f"import sys, cartwheel; cartwheel.Client; print([name for name in {heavy} if name in sys.modules])"
    done = ask_python(code, tmp_path)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_folder_that_hides_a_part_of_cartwheel_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").touch()
    done = ask_python(
        "import cartwheel\ntry:\n    cartwheel.open_run\nexcept Exception as error:\n    print(type(error).__name__, error)",
        tmp_path,
    )
    assert f"UsageError Python imports {tmp_path / 'models' / '__init__.py'} as 'models'" in done.stdout, done.stderr


def test_a_run_opens_from_a_mapping_and_from_a_file(tmp_path: Path) -> None:
    run = open_run({**TINY, "run": str(tmp_path / "shop")})
    assert run.path == tmp_path / "shop"
    assert run.done == ()
    (tmp_path / "shop.toml").write_text("seed = 3\n[source]\nshoppers = 300\nitems = 60\ndays = 20\n")
    assert open_run(tmp_path / "shop.toml").settings.seed == 3
    assert open_run(tmp_path / "shop.toml").path == tmp_path / "runs" / "shop"


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(cartwheel.RunError, match="does not contain a run"):
        open_run(tmp_path)


def test_a_setting_that_is_not_known_is_named() -> None:
    with pytest.raises(cartwheel.ConfigError, match=r"sauce is not a known key; did you mean 'source'\?"):
        open_run({"sauce": {}})


def test_a_prepared_run_opens_from_its_folder(tmp_path: Path) -> None:
    run = open_run({**TINY, "run": str(tmp_path / "shop"), "seed": 7}).prepare()
    again = open_run(tmp_path / "shop")
    assert again.done == run.done == ("events", *run.done[1:])
    assert again.settings.seed == 7
    assert again.examples("train", "recommend").height > 0
    with pytest.raises(cartwheel.RunError):
        _ = again.metrics
