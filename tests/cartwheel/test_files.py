"""A reader sees the old content or the new one, never half of one."""

import hashlib
import os
from pathlib import Path

import pytest

from cartwheel.core.files import atomic_path, sha256, write_json, write_text


def write_half(aside: Path) -> None:
    aside.write_text("new")
    raise RuntimeError("halfway")


def write_folder(aside: Path) -> None:
    aside.mkdir()
    (aside / "new").write_text("new")


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError, match="halfway"), atomic_path(target) as aside:
        write_half(aside)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for name in ("first", "second"):
        with atomic_path(target) as aside:
            aside.mkdir()
            (aside / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["second"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("old")
    honest = os.replace

    def interrupted(source: Path, to: Path) -> None:
        if to == target and (source / "new").exists():
            raise KeyboardInterrupt
        honest(source, to)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as aside:
        write_folder(aside)
    assert [path.name for path in target.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_new_folder_that_cannot_be_put_in_its_place_leaves_nothing_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_source: Path, to: Path) -> None:
        raise PermissionError(f"{to.name} may not be written")

    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(PermissionError, match="folder may not be written"), atomic_path(tmp_path / "folder") as aside:
        write_folder(aside)
    assert not list(tmp_path.iterdir())


def test_json_of_equal_content_is_equal_to_the_byte(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "ä"})
    write_json(tmp_path / "b.json", {"a": "ä", "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_the_hash_of_a_folder_knows_names_and_contents(tmp_path: Path) -> None:
    one, other, renamed = (tmp_path / name for name in ("one", "other", "renamed"))
    for folder, name in ((one, "x"), (other, "x"), (renamed, "y")):
        folder.mkdir()
        (folder / name).write_text("content")
    assert sha256(one) == sha256(other) != sha256(renamed)
    assert sha256(one / "x") == "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_what_is_renamed_is_on_the_disk_before_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: bool
) -> None:
    """A power cut after the rename must not leave a file of that name without its content."""
    done: list[tuple[str, str]] = []
    flush, rename = os.fsync, os.replace

    def flushed(descriptor: int) -> None:
        done.append(("flush", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        flush(descriptor)

    def renamed(source: Path, to: Path) -> None:
        done.append(("rename", Path(to).name))
        rename(source, to)

    target = tmp_path / "shelf" / "target"
    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    with atomic_path(target) as aside:
        if folder:
            (aside / "deep").mkdir(parents=True)
            (aside / "deep" / "one").write_text("1")
            (aside / "two").write_text("2")
        else:
            aside.write_text("1")
    before = done[: done.index(("rename", "target"))]
    assert {name for _, name in before} == ({"one", "two"} if folder else {"target"})
    assert done[len(before) :] == [("rename", "target"), ("flush", "shelf")]


def test_a_large_file_is_hashed_whole(tmp_path: Path) -> None:
    content = os.urandom(100) * 30_000
    (tmp_path / "large").write_bytes(content)
    assert sha256(tmp_path / "large") == hashlib.sha256(content).hexdigest()
    other = bytearray(content)
    other[-1] ^= 1
    (tmp_path / "other").write_bytes(other)
    assert sha256(tmp_path / "other") != sha256(tmp_path / "large")


def test_the_hash_of_a_folder_knows_what_belongs_to_which_file(tmp_path: Path) -> None:
    """Names and contents that read alike one after the other are not alike."""
    for folder, files in {
        "one": {"a": "bc"},
        "two": {"ab": "c"},
        "deep": {"d/a": "bc"},
        "nested": {"d/x": "1", "y": "2"},
    }.items():
        for name, content in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    assert len({sha256(tmp_path / folder) for folder in ("one", "two", "deep", "nested")}) == 4


def test_parents_that_are_missing_are_made(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b" / "c.json", {"x": [1]})
    assert (tmp_path / "a" / "b" / "c.json").read_text() == '{\n  "x": [\n    1\n  ]\n}\n'
