"""Files that are written whole or not at all, and the hashes that identify them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a path to write aside; on success it is flushed to disk and renamed onto ``target``.

    Works for a file or a folder: whichever the caller creates at the yielded path. On an exception the aside is removed and
    ``target`` is untouched, so a reader sees the old content or the new, never half of one.

    Args:
        target: the final path; its parent is created.

    Yields:
        A path beside ``target`` that does not exist yet.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    aside = holder / target.name
    try:
        yield aside
        _flush(aside)
        _replace(target, aside, holder / ".replaced")
        _flush_directory(target.parent)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def write_text(target: Path, text: str) -> None:
    """Write UTF-8 ``text`` to ``target`` atomically."""
    with atomic_path(target) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(target: Path, content: Any) -> None:
    """Write ``content`` as sorted, indented JSON to ``target`` atomically; equal content gives equal bytes."""
    write_text(target, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file, or of a folder's relative file names and contents in sorted order."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        if file != path:
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def _replace(target: Path, aside: Path, replaced: Path) -> None:
    """Rename ``aside`` onto ``target``; a folder, which cannot be renamed onto, is moved to ``replaced`` first, and back on failure."""
    try:
        if target.is_dir():
            os.replace(target, replaced)
        os.replace(aside, target)
    except BaseException:
        if replaced.exists() and not target.exists():
            os.replace(replaced, target)
        raise


def _flush(path: Path) -> None:
    for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
        with file.open("rb+") as stream:
            os.fsync(stream.fileno())


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
