"""What must be in a model repository before Triton is started on it."""

from __future__ import annotations

import re
from pathlib import Path

from cartwheel.errors import RunError

_PYTHON_BACKEND = re.compile(r'^\s*backend\s*:\s*"python"', re.MULTILINE)
_FILE_NAME = re.compile(r'^\s*default_model_filename\s*:\s*"([^"]+)"', re.MULTILINE)
_FIX = "Write the repository again with `cartwheel export`."


def checked_repository(repository: Path) -> Path:
    """Return the absolute path of a model repository that Triton can be started on.

    Triton tells most faults itself, but waits for ever for a Python model whose program file is missing, so that is found here.

    Raises:
        RunError: if the folder is missing, holds no model, or a Python model lacks its program.
    """
    if not repository.is_dir():
        raise RunError(f"There is no model repository at {repository}.", "Write it with `cartwheel export`.")
    configs = sorted(repository.glob("*/config.pbtxt"))
    if not configs:
        raise RunError(f"{repository} is no model repository: no folder in it holds a config.pbtxt.", _FIX)
    for config in configs:
        _check_model(config)
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
    for version in sorted(config.parent.glob("[0-9]*/")):
        if not (version / program).is_file():
            raise RunError(f"The model {config.parent.name} lacks its program {version / program}.", _FIX)


def linked_repository(repository: Path, workspace: Path) -> Path:
    """Return a folder that looks like ``repository`` and takes what serving writes beside the files, such as bytecode.

    So a repository stays, to the byte, as it was exported, and may lie on a disk that cannot be written.

    Args:
        repository: absolute path of a model repository.
        workspace: folder of this server.
    """
    view = workspace / repository.relative_to(repository.anchor)  # so that `ps` tells which repository is served
    for path in sorted(repository.rglob("*")):
        place = view / path.relative_to(repository)
        if path.is_file() and path.parent.name != "__pycache__":
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path)
    return view
