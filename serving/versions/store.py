"""The versions of a run: each export in a folder named by the hash of its content.

A version is never changed once it is there. Which one is served stands in ``active.json`` among the state of the run's servers; where
there is none, the newest export is.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from cartwheel.core.errors import CartwheelError, RunError, UsageError
from cartwheel.core.files import atomic_path, write_json
from cartwheel.core.run_layout import RunLayout
from serving.contract.version import METADATA, version_of
from serving.server.model_folders import checked_repository
from serving.server.state_folder import home_of, state_folder

ACTIVE: Final = "active.json"
_READ_ONLY: Final = 0o444
_FEWEST_DIGITS: Final = 4
_SHOWN: Final = 8


@dataclass(frozen=True)
class Version:
    """One version.

    Attributes:
        name: the hash of its content.
        path: its folder.
        filed: when it was.
        as_of: the instant of the end of its log, as the export writes it; empty where it does not say.
    """

    name: str
    path: Path
    filed: datetime
    as_of: str


class VersionStore:
    """The versions of one run.

    Args:
        run: folder that holds ``repository``.
    """

    def __init__(self, run: Path) -> None:
        self._run = run.absolute()
        self._layout = RunLayout(self._run)

    @classmethod
    def of(cls, repository: Path) -> VersionStore:
        """Return the store that a repository belongs to, a version or the export itself."""
        return cls(home_of(repository))

    @property
    def all(self) -> list[Version]:
        """All versions, the latest filed first."""
        folders = (path for path in self._layout.versions.glob("*") if not path.name.startswith(".") and path.is_dir())
        return sorted(map(_version, folders), key=lambda version: (version.filed, version.name), reverse=True)

    def add(self, repository: Path, keep: int = 0) -> Version:
        """File an export, unless it is there and whole.

        Args:
            repository: the export.
            keep: how many versions may remain, the latest; what is served, was served before it, or is filed now always does. 0 removes
                none.

        Raises:
            RunError: if it is not as it was exported, or cannot be written, for the disk is full, say.
        """
        name = version_of(checked_repository(repository))
        target = self._layout.versions / name
        if target != repository.absolute() and not self._is_whole(target):
            try:
                with atomic_path(target) as aside:
                    shutil.copytree(repository, aside)
                for path in target.rglob("*"):
                    if path.is_file():
                        path.chmod(_READ_ONLY)
                target.touch()
            except OSError as error:
                raise RunError(
                    f"The version {name} cannot be filed in {self._layout.versions}: {_why(error)}.",
                    "Make room or give the right to write there, then export or deploy again.",
                ) from error
        self._prune(keep, {name, *self.history[-2:]})
        return _version(target)

    def find(self, text: str) -> Version:
        """Return the version whose name begins with ``text``.

        Raises:
            UsageError: if there is none, or more than one.
        """
        found = [version for version in self.all if len(text) >= _FEWEST_DIGITS and version.name.startswith(text)]
        if len(found) != 1:
            known = ", ".join(version.name for version in self.all[:_SHOWN]) or "none"
            what = "no version" if not found else f"{len(found)} versions"
            raise UsageError(f"{text!r} is a prefix of {what} of {self._run}; there are {known}.", "See `cartwheel versions`.")
        return found[0]

    def newest(self) -> Version:
        """Return what was exported last, which is filed where it is not yet.

        Raises:
            RunError: if nothing was exported, or that is not as it was written.
        """
        if (self._layout.repository / METADATA).is_file():
            return self.add(self._layout.repository)
        if not self.all:
            raise RunError(f"There is no export in {self._run}.", "Write a repository with `cartwheel export`.")
        return self.all[0]

    def checked(self, version: Version) -> Version:
        """Return a version that is as it was filed.

        Raises:
            RunError: if it is not.
        """
        try:
            checked_repository(version.path)
            if (found := version_of(version.path)) != version.name:
                raise RunError(f"its content is that of {found}")
        except (CartwheelError, OSError) as error:
            why = error.found if isinstance(error, CartwheelError) else str(error)
            raise RunError(
                f"The version {version.name} is damaged: {why.rstrip('.')}.",
                "Deploy another one, or export it again.",
            ) from error
        return version

    @property
    def history(self) -> list[str]:
        """The names of the versions that were made active, the present one last."""
        content = self._read_active()
        return [str(name) for name in content.get("history", [])]

    def activate(self, version: Version, keep: int = 16) -> None:
        """Make a version the one that is served, and that a server that is started serves.

        Args:
            version: the version.
            keep: how many earlier ones are remembered.

        Raises:
            RunError: if that cannot be written.
        """
        history = [*self.history, version.name][-keep:]
        if self.history[-1:] == [version.name]:
            return
        try:
            write_json(self._active_file, {"history": history, "since": datetime.now(timezone.utc).isoformat(timespec="seconds")})
        except OSError as error:
            raise RunError(
                f"The active version cannot be written to {self._active_file}: {_why(error)}.",
                "Make room there, then try again.",
            ) from error

    def before(self, name: str) -> Version:
        """Return the version that was served before ``name``.

        Raises:
            UsageError: if none was, or it is no longer there.
        """
        earlier = [past for past in self.history if past != name]
        there = {version.name: version for version in self.all}
        for past in reversed(earlier):
            if past in there:
                return there[past]
        raise UsageError(
            f"No version was served before {name} that is still there.", "Name one of `cartwheel versions` to `cartwheel deploy`."
        )

    def to_serve(self) -> tuple[Path, list[str]]:
        """Return the repository to serve, the active one or else the newest, and sentences of what a person should know of it.

        Where that is damaged, it is the latest one that is whole.

        Raises:
            RunError: if there is none.
        """
        repository = self._layout.repository
        versions = {version.name: version.path for version in self.all}
        active = self.history[-1:]
        chosen = [versions[name] for name in active if name in versions]
        exported = [repository] if (repository / METADATA).is_file() else []
        filed = [versions[name] for name in [_name(repository)] if exported and name in versions]
        candidates = list(dict.fromkeys([*chosen, *filed, *exported, *versions.values()]))
        if len(candidates) <= 1:
            return (candidates or [repository])[0], []
        refused: list[CartwheelError] = []
        for path in candidates:
            try:
                if path == repository:
                    checked_repository(path)
                else:
                    self.checked(_version(path))
            except CartwheelError as error:
                refused.append(error)
                continue
            name = version_of(path)
            notes = [f"{error} The version {name} is served in its place." for error in refused[:1]]
            if chosen and not refused and exported and (newest := _name(repository)) not in (name, *self.history):
                notes.append(
                    f"The version {name} is served; {newest} was exported since: `cartwheel deploy {self._run}` deploys it."
                )
            return path, notes
        raise refused[0]

    @property
    def _active_file(self) -> Path:
        return state_folder(self._run) / ACTIVE

    def _read_active(self) -> dict[str, Any]:
        try:
            content = json.loads(self._active_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _is_whole(self, target: Path) -> bool:
        if not target.is_dir():
            return False
        with contextlib.suppress(CartwheelError):
            self.checked(_version(target))
            return True
        return False

    def _prune(self, keep: int, protected: set[str]) -> None:
        for version in self.all[keep:] if keep else ():
            if version.name not in protected:
                shutil.rmtree(version.path, ignore_errors=True)


def _version(path: Path) -> Version:
    try:
        as_of = json.loads((path / METADATA).read_text(encoding="utf-8")).get("as_of", "")
    except (OSError, ValueError, AttributeError):
        as_of = ""
    filed = (
        datetime.fromtimestamp(path.stat().st_mtime, timezone.utc) if path.exists() else datetime.fromtimestamp(0, timezone.utc)
    )
    return Version(path.name, path, filed, str(as_of))


def _name(repository: Path) -> str:
    try:
        return version_of(repository)
    except OSError:
        return ""


def _why(error: OSError) -> str:
    """Return the reason of a failure; copying a folder tells it of each file, the first of which is enough."""
    parts: Sequence[Any] = error.args[0] if error.args and isinstance(error.args[0], list) else ()
    if parts:
        return str(parts[0][-1]).partition(": ")[0]
    return str(error.strerror or error)
