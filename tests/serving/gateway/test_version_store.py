"""The versions of a run: filed once, never changed, found by name, and served where they are whole."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cartwheel.core.errors import CartwheelError, RunError, UsageError
from serving.contract.version import METADATA, version_of
from serving.export.repository import write_repository
from serving.settings import ExportSettings
from serving.versions.store import VersionStore


@pytest.fixture
def store(run: Path, tmp_path: Path) -> VersionStore:
    return VersionStore(
        Path(shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("server.json", "logs", "live")))
    )


def exported(store: VersionStore, number: int) -> Path:
    """Write the repository of the run as if it were another export: what names a version is the hash of this file."""
    metadata = store._run / "repository" / METADATA
    metadata.write_text(metadata.read_text().rstrip() + " " * number + "\n")
    return metadata.parent


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that takes no more: the kernel refuses what is written beyond ``size``."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_export_is_filed_once_under_the_hash_of_its_content_and_cannot_be_written_to(store: VersionStore) -> None:
    repository = store._run / "repository"
    first, again = store.newest(), store.add(repository)
    assert first == again
    assert first.name == version_of(repository) == version_of(first.path)
    assert [version.name for version in store.all] == [first.name]
    assert not any(path.stat().st_mode & 0o222 for path in first.path.rglob("*") if path.is_file())
    (first.path / METADATA).chmod(0o644)
    (first.path / METADATA).write_text("{}")
    with pytest.raises(RunError, match=f"The version {first.name} is damaged"):
        store.checked(first)
    assert store.checked(store.add(repository)) == store.all[0], "filed again, it is whole again"


def test_the_same_export_has_the_same_name_wherever_it_is_written(run: Path, store: VersionStore) -> None:
    write_repository(store._run, ExportSettings())
    assert version_of(store._run / "repository") == version_of(run / "repository")


def test_old_versions_go_but_never_what_is_served_or_was_before(store: VersionStore) -> None:
    made = []
    for number in range(6):
        made.append(store.add(exported(store, number)))
        os.utime(made[-1].path, (1_000_000 + number,) * 2)
        if number < 2:
            store.activate(made[-1])
    store.add(exported(store, 9), keep=2)
    left = {version.name for version in store.all}
    assert left == {made[0].name, made[1].name, made[5].name, store.newest().name}
    assert store.before(made[1].name).name == made[0].name
    with pytest.raises(UsageError, match="No version was served before"):
        VersionStore(store._run / "elsewhere").before(made[0].name)


def test_a_version_is_found_by_the_beginning_of_its_name(store: VersionStore) -> None:
    name = store.newest().name
    assert store.find(name[:6]).name == name
    for wrong in ("", name[:2], "zzzz", name + "0"):
        with pytest.raises(UsageError, match=f"there are {name}"):
            store.find(wrong)


def test_a_full_disk_is_told_in_a_sentence_and_leaves_nothing_half(store: VersionStore) -> None:
    repository = store._run / "repository"
    with largest_file(1000), pytest.raises(RunError) as refused:
        store.add(repository)
    assert "cannot be filed" in str(refused.value)
    assert "File too large" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert store.all == []
    version = store.newest()
    with largest_file(10), pytest.raises(RunError, match=r"The active version cannot be written to .*File too large"):
        store.activate(version)
    assert store.history == []


def test_what_is_served_is_the_active_version_else_the_newest_and_a_whole_one_where_that_is_damaged(store: VersionStore) -> None:
    repository = store._run / "repository"
    assert store.to_serve() == (repository, [])
    first = store.newest()
    assert store.to_serve() == (first.path, []), "which no later export replaces"
    second = store.add(exported(store, 1))
    assert store.to_serve() == (second.path, [])
    store.activate(first)
    path, [note] = store.to_serve()
    assert path == first.path
    assert f"{second.name} was exported since" in note
    damaged = next(first.path.glob("*/1/*.onnx"))
    damaged.chmod(0o644)
    damaged.write_bytes(b"")
    path, [note] = store.to_serve()
    assert path == second.path
    assert f"The version {second.name} is served in its place." in note
    for version in store.all:
        (version.path / METADATA).unlink()
    (repository / METADATA).write_text("{}")
    with pytest.raises(CartwheelError):
        store.to_serve()
