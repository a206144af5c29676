"""A run directory and its manifest, which records the finished stages.

A stage is done when the manifest holds its key: a hash of its settings, of the versions that matter and of the stages it
builds on. A stage whose key and files are unchanged is skipped; one that was killed has no key and runs again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from cartwheel import __version__
from cartwheel.core import files
from cartwheel.core.errors import RunError
from cartwheel.core.run_layout import RELATIVE, RunLayout

MANIFEST: Final = RELATIVE.manifest


class FileRecord(BaseModel):
    """What the manifest knows of one file."""

    model_config = ConfigDict(extra="forbid")

    sha256: str
    bytes: int
    rows: int | None = None


class StageRecord(BaseModel):
    """What the manifest knows of one finished stage."""

    model_config = ConfigDict(extra="forbid")

    key: str
    settings: dict[str, Any]
    outside: str = ""
    """Digest of what the stage read from outside the run; empty where it reads nothing there."""
    seconds: float
    files: dict[str, FileRecord]


class Manifest(BaseModel):
    """Lineage of a run: versions, and for each finished stage its settings and files."""

    model_config = ConfigDict(extra="forbid")

    cartwheel: str = __version__
    packages: dict[str, str] = {}
    stages: dict[str, StageRecord] = {}


class RunDirectory:
    """A run on disk.

    Args:
        path: the folder; it is created when a stage first writes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def manifest(self) -> Manifest:
        """Read the manifest; a run that has not begun has an empty one.

        Raises:
            RunError: if the file is there but is not a manifest.
        """
        file = self.path / MANIFEST
        try:
            return Manifest.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            return Manifest()
        except NotADirectoryError:
            raise RunError(
                f"The run directory {self.path} is a file.", "Give a folder, or a path that does not exist yet."
            ) from None
        except ValidationError as error:
            raise RunError(
                f"The run directory {self.path} is corrupt: {MANIFEST} is not a manifest ({error.errors()[0]['msg']}).",
                f"Delete {file} to run every stage again, or give another run directory.",
            ) from None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process.

        Raises:
            RunError: if another process holds it, or the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            stream = RunLayout(self.path).lock.open("w")
        except OSError as error:
            raise RunError(
                f"The run directory {self.path} cannot be written: {error.strerror}.", "Give a folder that you may write to."
            ) from None
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(
                    f"Another process is working in the run directory {self.path}.", "Wait for it to end, or give another --run."
                ) from None
            yield

    def is_done(self, stage: str, key: str) -> bool:
        """Whether ``stage`` finished with this key and every file it wrote is still as it wrote it."""
        record = self.manifest().stages.get(stage)
        return record is not None and record.key == key and not self.changed_files(record)

    def changed_files(self, record: StageRecord) -> list[str]:
        """Return the files of a finished stage that are missing or differ from what it wrote, sorted."""
        return sorted(name for name, file in record.files.items() if not self._is_intact(name, file))

    def _is_intact(self, name: str, record: FileRecord) -> bool:
        file = self.path / name
        return file.is_file() and file.stat().st_size == record.bytes and files.sha256(file) == record.sha256

    def finish(self, stage: str, record: StageRecord, outputs: Sequence[Path], seconds: float) -> None:
        """Write into the manifest that ``stage`` is done.

        Args:
            stage: name of the stage.
            record: its key, the settings it ran with and the digest of what it read from outside the run; its files are those found now.
            outputs: files and folders that it wrote, relative to the run directory; those that are absent are left out.
            seconds: how long it took.
        """
        written = sorted(file for output in outputs for file in _files_below(self.path / output))
        records = {file.relative_to(self.path).as_posix(): _record(file) for file in written}
        manifest = self.manifest()
        done = record.model_copy(update={"seconds": round(seconds, 2), "files": records})
        stages = {**manifest.stages, stage: done}
        content = Manifest(packages=_package_versions(), stages=stages)
        files.write_json(self.path / MANIFEST, content.model_dump(mode="json"))

    def rewritten(self, stage: str, name: Path) -> None:
        """Write into the manifest that a file of a finished stage was written again, so that the stage still counts as done.

        Args:
            stage: name of the stage; one that the manifest does not hold stays unknown.
            name: the file, relative to the run directory.
        """
        manifest = self.manifest()
        if stage in manifest.stages:
            manifest.stages[stage].files[name.as_posix()] = _record(self.path / name)
            files.write_json(self.path / MANIFEST, manifest.model_dump(mode="json"))


def stage_key(settings: Mapping[str, Any], upstream: Sequence[str], outside: str = "") -> str:
    """Return the key under which a stage counts as done.

    Args:
        settings: the values of the settings that the stage reads, as JSON values.
        upstream: keys of the stages that it reads from.
        outside: digest of the files from outside the run that it reads.
    """
    return digest([__version__, dict(settings), list(upstream), outside])


def digest(content: object) -> str:
    """Return the hex SHA-256 of JSON values; the order of the keys of an object does not count."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def stamps(paths: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Return what identifies files that are too large to be read for it: name, size and time of change, in nanoseconds.

    A name is relative to the folder that all of them lie in, so that files may move together, but not from one folder to another.
    """
    if not paths:
        return []
    common = Path(os.path.commonpath([path.resolve().parent for path in paths]))
    return sorted((path.resolve().relative_to(common).as_posix(), path.stat().st_size, path.stat().st_mtime_ns) for path in paths)


@contextlib.contextmanager
def stopwatch() -> Iterator[list[float]]:
    """Yield a list that holds the seconds spent inside once the block has ended."""
    started = time.monotonic()
    seconds: list[float] = []
    yield seconds
    seconds.append(time.monotonic() - started)


def _files_below(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [file for file in path.rglob("*") if file.is_file()]


def _record(file: Path) -> FileRecord:
    rows = None
    if file.suffix == ".parquet":
        import pyarrow.parquet

        rows = pyarrow.parquet.read_metadata(file).num_rows
    return FileRecord(sha256=files.sha256(file), bytes=file.stat().st_size, rows=rows)


def _package_versions() -> dict[str, str]:
    from importlib import metadata

    names = (
        "nvtabular",
        "merlin-models",
        "tensorflow",
        "tf-keras",
        "polars",
        "onnx",
        "onnxruntime",
        "nvidia-pytriton",
        "numpy",
    )
    found: dict[str, str] = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
