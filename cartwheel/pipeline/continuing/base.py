"""Which run goes on: the one whose export is the version that is served, if the configuration is still what made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cartwheel.config import RunSettings
from cartwheel.core.errors import CartwheelError, ConfigError, RunError
from cartwheel.core.run_layout import RunLayout
from cartwheel.pipeline.continuing.outcome import Outcome, continuations
from cartwheel.pipeline.reads import fields_read, values_of, without_paths
from cartwheel.pipeline.run_directory import RunDirectory
from cartwheel.pipeline.stages import STAGES
from serving.contract.version import METADATA, version_of
from serving.versions.store import VersionStore

_FREE: Final = ("evaluate", "export", "task_evaluation")
"""Stages that say how a run is evaluated and written, which may change from one to the next."""
_NEEDED: Final = "export"


@dataclass(frozen=True)
class Base:
    """The run that goes on.

    Attributes:
        run: its directory.
        name: the same, relative to the run that the configuration names.
        version: its export.
        is_home: whether it is that run itself.
    """

    run: Path
    name: str
    version: str
    is_home: bool


def find_base(settings: RunSettings) -> Base:
    """Return the run whose export is served, or would be at the next start.

    Raises:
        RunError: if there is no finished run, or none that is still there exported what is served.
        ConfigError: if the configuration says something else of a run than when that one was made.
    """
    home = settings.run
    if _NEEDED not in RunDirectory(home).manifest().stages:
        raise RunError(f"There is no finished run in {home} to continue.", "Run `cartwheel run` with this configuration first.")
    active = _served(home)
    for run in (*reversed(continuations(home)), home):
        if _version(run) == active:
            base = Base(run, "." if run == home else run.relative_to(home).as_posix(), active, run == home)
            require_same_settings(settings, base)
            return base
    raise RunError(
        f"The version {active} is served, and no run in {home} that is still there exported it, so there is none to continue.",
        "Deploy a later version (`cartwheel versions` lists them), or run `cartwheel run` and deploy what it exports.",
    )


def said(settings: RunSettings) -> dict[str, Any]:
    """Return what a configuration says of all that makes a run, section -> field -> value, without paths that point out of it."""
    names = {name for stage in STAGES if stage.name not in _FREE for name in fields_read(stage.name, settings)}
    return without_paths(values_of(settings, sorted(names)))


def require_same_settings(settings: RunSettings, base: Base) -> None:
    """Check that a configuration says of a run what it said when the base was made.

    Raises:
        ConfigError: naming what differs.
    """
    outcome = Outcome.read(base.run)
    before = _recorded(base.run) if outcome is None else outcome.settings
    different = [line for line in _differences(before, said(settings)) if line]
    if different:
        raise ConfigError(
            f"The configuration differs from that of the run to continue, {base.run}: {'; '.join(different)}.",
            "Restore it, or run `cartwheel run` for a run with the new configuration.",
        )


def _recorded(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, record in RunDirectory(run).manifest().stages.items():
        if name not in _FREE:
            for section, value in without_paths(record.settings).items():
                known = found.get(section)
                found[section] = {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value
    return found


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    lines = []
    for section in sorted(before.keys() | now.keys()):
        old, new = before.get(section), now.get(section)
        if isinstance(old, Mapping) and isinstance(new, Mapping) and section != "tasks":
            names = [name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
            lines += [f"{section}.{name} is {new.get(name)!r}, was {old.get(name)!r}" for name in names]
        elif old != new:
            lines.append(f"{section} is {new!r}, was {old!r}")
    return lines


def _served(home: Path) -> str:
    """Return the name of the version that answers, or that the next server would start with."""
    store = VersionStore(home)
    path, _ = store.to_serve()
    return version_of(path)


def _version(run: Path) -> str:
    repository = RunLayout(run).repository
    if not (repository / METADATA).is_file():
        return ""
    try:
        return version_of(repository)
    except (OSError, CartwheelError):
        return ""
