"""The lock keeps to the declared ranges, and what the index answers about a cap is read aright; the index itself is not asked."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def caps() -> ModuleType:
    spec = importlib.util.spec_from_file_location("caps", ROOT / "scripts" / "caps.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["caps"] = module
    spec.loader.exec_module(module)
    return module


def test_the_lock_keeps_to_every_declared_range(caps: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = caps.locked_versions((ROOT / "requirements.lock").read_text())
    extras = project["optional-dependencies"]
    declared = caps.requirements(project) + [Requirement(text) for text in (*extras["dev"], *extras["redis"])]
    declared = [requirement for requirement in declared if requirement.name != project["name"]]  # an extra that names another
    assert len(declared) > 30
    for requirement in declared:
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


def test_the_lock_has_names_versions_and_hashes_and_no_addresses() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    assert "index-url" not in lock
    entries = lock.split("\n    --hash=sha256:")
    assert len(entries) > 1000
    for line in lock.splitlines():
        assert line.startswith(("#", "    --hash=sha256:")) or line.partition(" ;")[0].count("==") == 1, line


def test_what_is_not_capped_is_not_asked_for(caps: ModuleType) -> None:
    found = [Requirement("grpcio>=1.6"), Requirement("numpy>=1,<2"), Requirement("nvtabular==23.8.0")]
    locked = {"numpy": "1.26.4", "nvtabular": "23.8.0", "grpcio": "1.7"}
    assert [(cap.requirement.name, cap.locked) for cap in caps.caps(found, locked)] == [
        ("numpy", "1.26.4"),
        ("nvtabular", "23.8.0"),
    ]


def test_the_cause_is_one_sentence(caps: ModuleType) -> None:
    told = """error: No solution found when resolving dependencies:
      cause: Because nvidia-pytriton==0.7.0 depends on numpy>=1.21.0,<2.0.0 and only nvidia-pytriton<=0.7.0 is
             available, we can conclude that all versions depend on numpy<2.
             And because you require numpy>1.26.4, your requirements are unsatisfiable."""
    assert caps.cause(told, "numpy") == (
        "nvidia-pytriton==0.7.0 depends on numpy>=1.21.0,<2.0.0 and only nvidia-pytriton<=0.7.0 is available"
    )
    newest = "cause: Because only onnx<=1.23.2 is available and you require onnx>1.23.2, we can conclude that ..."
    assert caps.cause(newest, "onnx") == "it is the newest there is"
