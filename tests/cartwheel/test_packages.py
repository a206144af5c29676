"""Installed packages are held against the declared ranges, and two that write the same files are refused; metadata is laid on the path."""

import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cartwheel.cli.doctor import State, examine
from cartwheel.core import packages
from cartwheel.core.errors import MissingDependencyError
from cartwheel.core.packages import Fit, check, colliding, declared, extra_with, refuse_colliding


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages before all others."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


def install(site: Path, name: str, version: str) -> None:
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_an_extra_takes_in_those_that_it_names() -> None:
    names = {requirement.name for requirement in declared("train")}
    assert {"nvtabular", "tensorflow", "tf-keras", "pandas"} <= names
    assert not names & {"grpcio", "cudf-cu12", "ruff"}
    assert {"onnxruntime", "nvidia-pytriton"} <= {requirement.name for requirement in declared("serve")} <= names
    base = {requirement.name for requirement in declared()}
    assert "grpcio" in base
    assert not base & {"onnxruntime", "nvidia-pytriton", "polars"}
    assert "cudf-polars-cu12" in {requirement.name for requirement in declared("polars-gpu")}


def test_a_module_is_known_by_the_extra_that_brings_it() -> None:
    modules = {"onnxruntime": "serve", "pytriton.triton": "serve", "polars": "train", "sklearn": "train", "nothing": None}
    assert {module: extra_with(module) for module in modules} == modules


@pytest.mark.parametrize(
    ("version", "fit"), [("1.5", Fit.FITS), ("2.0", Fit.TOO_NEW), ("2.4.1", Fit.TOO_NEW), ("0.9", Fit.TOO_OLD), ("", Fit.MISSING)]
)
def test_a_release_fits_its_range_or_is_too_new_or_too_old(site: Path, version: str, fit: Fit) -> None:
    if version:
        install(site, "shop-part", version)
    [found] = check([Requirement("shop-part>=1,<2")])
    assert (found.fit, found.version) == (fit, version)


@pytest.mark.parametrize(("version", "fit"), [("24.12.0", Fit.FITS), ("25.2.0", Fit.TOO_NEW), ("24.10.1", Fit.TOO_OLD)])
def test_a_pinned_release_is_too_new_or_too_old(site: Path, version: str, fit: Fit) -> None:
    install(site, "shop-part", version)
    assert check([Requirement("shop-part==24.12.0")])[0].fit is fit


def test_the_doctor_names_what_is_too_new_with_what_was_declared(site: Path) -> None:
    install(site, "pandas", "3.0.1")
    [finding] = [finding for finding in examine() if finding.subject == "training packages"]
    assert finding.state is State.NOTE
    assert "too new: pandas 3.0.1 (declared: <2.3,>=2.2.3)" in finding.found
    assert "make install" in finding.fix


def test_cudf_and_the_gpu_engine_of_polars_are_never_together(site: Path) -> None:
    assert list(colliding()) == []
    install(site, "cudf-cu12", "24.12.0")
    install(site, "cudf-polars-cu12", "26.6.0")
    with pytest.raises(MissingDependencyError, match="cudf-cu12 and cudf-polars-cu12 want different releases of pylibcudf"):
        refuse_colliding()
    [finding] = [finding for finding in examine() if finding.subject == "packages together"]
    assert finding.state is State.UNFIT
    assert "an environment for each" in finding.fix


def test_tensorflow_twice_is_refused(site: Path) -> None:
    install(site, "tensorflow-cpu", "2.21.0")
    with pytest.raises(MissingDependencyError, match="tensorflow and tensorflow-cpu are the same files twice"):
        refuse_colliding()


def test_an_environment_without_the_project_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "PROJECT", "no-such-project")
    with pytest.raises(MissingDependencyError, match="no-such-project is not installed in the environment of"):
        declared()
