"""What must be in a model repository before Triton is started on it, and the copy of it that Triton is started on."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

from cartwheel.core.errors import RunError, UsageError
from cartwheel.core.files import sha256
from serving.contract.limits import with_limits
from serving.contract.queues import with_queue
from serving.contract.triton_config import with_processes
from serving.local import METADATA, read_metadata
from serving.settings import ServeSettings

_PYTHON_BACKEND = re.compile(r'^\s*backend\s*:\s*"python"', re.MULTILINE)
_FILE_NAME = re.compile(r'^\s*default_model_filename\s*:\s*"([^"]+)"', re.MULTILINE)
_ENVIRONMENT = re.compile(r'"EXECUTION_ENV_PATH"')
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")
_PLAIN_PATH: Final = re.compile(r"/[A-Za-z0-9_./-]*")
_LONGEST_PLACE: Final = 48
"""Characters of a place for temporary files; the whole path of a Unix socket may have 107."""
_CONFIG: Final = "config.pbtxt"
_FIX = "Write the repository again with `cartwheel export`."


def checked_repository(repository: Path) -> Path:
    """Return the absolute path of a model repository that Triton can be started on.

    Triton tells most faults itself, but waits for ever for a Python model whose program file is missing, so that is found here.
    It also hands the names of models and programs to a shell, so they must be plain.

    Raises:
        RunError: if the folder is missing, holds no model, a Python model lacks its program, a name is not plain, or a file is
            not as the export wrote it.
    """
    if not repository.is_dir():
        raise RunError(f"There is no model repository at {repository}.", "Write it with `cartwheel export`.")
    configs = sorted(repository.glob(f"*/{_CONFIG}"))
    if not configs:
        raise RunError(f"{repository} is not a model repository: no folder in it has a {_CONFIG}.", _FIX)
    for config in configs:
        _check_model(config)
    _check_content(repository)
    return repository.absolute()


def _check_model(config: Path) -> None:
    try:
        text = config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{config} cannot be read ({error}).", _FIX) from error
    if not _PYTHON_BACKEND.search(text):
        return
    named = _FILE_NAME.search(text)
    program = named[1] if named else "model.py"
    for name in (config.parent.name, program):
        if not _PLAIN_NAME.fullmatch(name):
            raise RunError(f"{config.parent} names {name!r}; Triton hands the names of models and programs to a shell.",
                           "Name it with letters, digits, '_', '-' and '.' alone.")  # fmt: skip
    if _ENVIRONMENT.search(text):
        raise RunError(f"{config} names an EXECUTION_ENV_PATH, which Triton hands to a shell.", _FIX)
    for version in sorted(config.parent.glob("[0-9]*/")):
        if not (version / program).is_file():
            raise RunError(f"The model {config.parent.name} lacks its program {version / program}.", _FIX)


def _check_content(repository: Path) -> None:
    """Hold every file against what the export wrote of it; a repository that was written by hand says nothing to hold it against."""
    if not (repository / METADATA).is_file():
        return
    expected = _checksums(repository)
    for name, digest in sorted(expected.items()):
        path = repository / name
        if not path.is_file():
            raise RunError(f"{path} is missing, which `cartwheel export` wrote.", _FIX)
        found = sha256(path)
        if found != digest:
            raise RunError(f"{path} is not as `cartwheel export` wrote it: its SHA-256 is {found}, expected {digest}.", _FIX)
    for name in _files(repository):
        if "/" in name and name not in expected:
            raise RunError(f"{repository / name} was not written by `cartwheel export`: {METADATA} does not list it.",
                           "Take it out of the repository, or write the repository again with `cartwheel export`.")  # fmt: skip


def _checksums(repository: Path) -> dict[str, str]:
    files: Any = read_metadata(repository).get("files")
    if not isinstance(files, dict) or not files or not all(map(_is_inside, files)):
        raise RunError(f"{repository / METADATA} does not tell the SHA-256 of the repository's files.", _FIX)
    return {name: str(digest) for name, digest in files.items()}


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _files(repository: Path) -> Iterator[str]:
    """Yield the files of a repository; hidden ones and Python's compiled ones are none of Triton's business."""
    for path in sorted(repository.rglob("*")):
        name = path.relative_to(repository)
        hidden = any(part.startswith(".") for part in name.parts) and path.name != ".keep"
        if path.is_file() and not hidden and "__pycache__" not in name.parts:
            yield name.as_posix()


def workspace(name: str) -> Path:
    """Make a folder for one server whose path is plain, because Triton's Python backend hands paths below it to a shell, and short.

    Raises:
        UsageError: if there is no place for one.
    """
    for place in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108 - mkdtemp makes the folder for this user alone
        if _PLAIN_PATH.fullmatch(place) and len(place) <= _LONGEST_PLACE and os.access(place, os.W_OK):
            return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=place))
    raise UsageError(
        f"No folder for temporary files ({tempfile.gettempdir()}) can be written whose path is"
        f" of at most {_LONGEST_PLACE} letters, digits, '_', '-', '.' and '/'.",
        "Set the environment variable TMPDIR to one.",
    )


def staged_repository(repository: Path, folder: Path, settings: ServeSettings) -> Path:
    """Return a folder that looks like ``repository`` and takes what serving writes beside the files, such as bytecode.

    So a repository stays, to the byte, as it was exported, and may lie on a disk that cannot be written, at any path. The
    configurations are copies, which hold the limits that the settings set.

    Args:
        repository: absolute path of a model repository.
        folder: folder of this server, whose path is plain.
        settings: what may be asked, and how much of it may wait.
    """
    staged = folder / "repository"
    for name in _files(repository):
        source, place = repository / name, staged / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.name == _CONFIG:
            place.write_text(_with_settings(source, settings), encoding="utf-8")
        else:
            place.symlink_to(source)
    return staged


def _with_settings(config: Path, settings: ServeSettings) -> str:
    try:
        return with_queue(with_processes(with_limits(config.read_text(encoding="utf-8"), settings), settings), settings)
    except ValueError as error:
        raise RunError(f"{config} cannot be read ({error}).", _FIX) from error
