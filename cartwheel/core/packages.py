"""Which of the declared packages are installed, have another release than declared, or conflict."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from typing import Final

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from cartwheel.core.errors import MissingDependencyError

PROJECT: Final = "cartwheel"
INSTALL: Final = "In the checkout, run `make install`, or `uv pip install '.[{}]'` in an environment of yours."
"""What to do where an extra, by its name, is not there."""
_PACKAGES_OF: Final = {"sklearn": "scikit-learn", "pytriton": "nvidia-pytriton", "merlin": "merlin-core"}
"""Module -> package, where their names differ."""
_CUDF: Final = ("cudf-cu11", "cudf-cu12", "cudf-cu13")
_CUDF_POLARS: Final = ("cudf-polars-cu11", "cudf-polars-cu12", "cudf-polars-cu13")


def extra_with(module: str) -> str | None:
    """Return the extra that brings a module of Python: ``serve``, else ``train``; None where neither declares such a package.

    >>> extra_with("nothing_of_the_kind") is None
    True
    """
    top = canonicalize_name(_PACKAGES_OF.get(module.partition(".")[0], module.partition(".")[0]))
    for extra in ("serve", "train"):
        if top in {canonicalize_name(each.name) for each in declared(extra)}:
            return extra
    return None


class Fit(str, Enum):
    """How an installed release relates to the declared range."""

    FITS = "fits"
    MISSING = "missing"
    TOO_NEW = "too new"
    TOO_OLD = "too old"


@dataclass(frozen=True)
class Package:
    """A declared package.

    Attributes:
        requirement: its name and declared range.
        version: the installed release; "" where there is none.
        fit: how that relates to the range.
    """

    requirement: Requirement
    version: str
    fit: Fit


def declared(extra: str = "") -> list[Requirement]:
    """Return what the project declares.

    Args:
        extra: of this extra, with the extras that it takes in; "" for what is always needed.

    Raises:
        MissingDependencyError: if the project itself is not installed, so that nothing is known of what it declares.
    """
    try:
        told = metadata.requires(PROJECT) or []
    except metadata.PackageNotFoundError:
        raise MissingDependencyError(
            f"{PROJECT} is not installed in the environment of {sys.executable}.", "In the checkout, run `make install`."
        ) from None
    found: list[Requirement] = []
    environment = {key: str(value) for key, value in default_environment().items()}
    for requirement in map(Requirement, told):
        outside = requirement.marker is None or requirement.marker.evaluate({**environment, "extra": ""})
        inside = requirement.marker is not None and requirement.marker.evaluate({**environment, "extra": extra})
        if not (outside if not extra else inside and not outside):
            continue
        if canonicalize_name(requirement.name) == PROJECT:
            found += [each for name in sorted(requirement.extras) for each in declared(name)]
        else:
            found.append(requirement)
    return found


def check(requirements: list[Requirement]) -> list[Package]:
    """Compare declared packages with those that are installed."""
    return [_checked(requirement) for requirement in requirements]


def colliding() -> Iterator[tuple[str, str]]:
    """Return, for each pair of installed packages that write the same files, the pair and what to do."""
    tensorflow = [name for name in ("tensorflow", "tensorflow-cpu") if _version(name)]
    if len(tensorflow) == 2:
        yield (
            "tensorflow and tensorflow-cpu are the same files twice",
            "Uninstall both, then install tensorflow again: tf-keras asks for it.",
        )
    cudf, polars = ([name for name in names if _version(name)] for names in (_CUDF, _CUDF_POLARS))
    if cudf and polars:
        yield (
            f"{cudf[0]} and {polars[0]} want different releases of pylibcudf",
            "Make an environment for each: the extra gpu has cuDF under NVTabular, the extra polars-gpu the GPU engine of Polars.",
        )


def refuse_colliding() -> None:
    """Refuse to start where packages are installed that cannot stand together.

    Raises:
        MissingDependencyError: naming the two.
    """
    for found, fix in colliding():
        raise MissingDependencyError(f"In this environment {found}.", fix)


def _checked(requirement: Requirement) -> Package:
    version = _version(requirement.name)
    if not version:
        return Package(requirement, "", Fit.MISSING)
    if requirement.specifier.contains(version, prereleases=True):
        return Package(requirement, version, Fit.FITS)
    newer = any(part.operator in {"<", "<=", "==", "~="} and _exceeds(version, part.version) for part in requirement.specifier)
    return Package(requirement, version, Fit.TOO_NEW if newer else Fit.TOO_OLD)


def _exceeds(version: str, bound: str) -> bool:
    return Version(version) >= Version(bound.removesuffix(".*"))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
