"""A reader sees the old content or the new one, never half of one."""

import os
from pathlib import Path

import pytest

from cartwheel.files import atomic_path, sha256, write_json, write_text


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
