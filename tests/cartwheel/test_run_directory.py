"""The manifest tells what is finished; what was touched, killed or torn is not."""

import os
import time
from pathlib import Path

import polars as pl
import pytest

from cartwheel import __version__
from cartwheel.core.errors import RunError
from cartwheel.core.files import sha256
from cartwheel.pipeline.run_directory import (
    MANIFEST,
    FileRecord,
    Manifest,
    RunDirectory,
    StageRecord,
    digest,
    stage_key,
    stamps,
    stopwatch,
)

RECORD = StageRecord(key="key", settings={"a": 1}, outside="of the source", seconds=0.0, files={})


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    output = directory.path / "out"
    output.mkdir(parents=True)
    pl.DataFrame({"x": [1, 2, 3]}).write_parquet(output / "table.parquet")
    (output / "note.txt").write_text("note")
    directory.finish("stage", RECORD, ["out", "absent"], 1.236)
    return directory


def test_a_finished_stage_is_done_under_its_key_only(run: RunDirectory) -> None:
    assert run.is_done("stage", "key")
    for other in ("other key", "kex", "kez"):  # lower and higher
        assert not run.is_done("stage", other)
    assert not run.is_done("other stage", "key")


def test_the_manifest_counts_rows_and_hashes_files(run: RunDirectory) -> None:
    files = run.manifest().stages["stage"].files
    assert list(files) == ["out/note.txt", "out/table.parquet"]
    assert files["out/table.parquet"].rows == 3
    assert files["out/note.txt"].rows is None


@pytest.mark.parametrize("name", ["note.txt", "table.parquet"])
def test_a_changed_or_missing_file_is_noticed(run: RunDirectory, name: str) -> None:
    file = run.path / "out" / name
    file.write_bytes(b"x" * file.stat().st_size)
    assert not run.is_done("stage", "key")
    file.unlink()
    assert run.changed_files(run.manifest().stages["stage"]) == [f"out/{name}"]


@pytest.mark.parametrize("content", ["", "{", '{"unknown": 1}', '{"stages": {"a": 3}}'])
def test_a_corrupt_manifest_is_one_sentence(run: RunDirectory, content: str) -> None:
    (run.path / MANIFEST).write_text(content)
    with pytest.raises(RunError, match=r"is corrupt: manifest\.json .* Delete .* to run every stage again"):
        run.manifest()


def test_two_processes_cannot_work_in_one_run(run: RunDirectory) -> None:
    with run.lock(), pytest.raises(RunError, match="Another process"), RunDirectory(run.path).lock():
        pytest.fail("the lock was given twice")
    with run.lock():
        pass


def test_a_run_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(RunError, match="cannot be written"), RunDirectory(path).lock():
        pytest.fail("a file was locked as a folder")
    with pytest.raises(RunError, match="is a file"):
        RunDirectory(path).manifest()


def test_the_manifest_holds_what_the_stage_was_and_took(run: RunDirectory) -> None:
    record = run.manifest().stages["stage"]
    assert (record.key, record.settings, record.outside, record.seconds) == ("key", {"a": 1}, "of the source", 1.24)
    assert run.manifest().cartwheel == __version__
    assert "numpy" in run.manifest().packages


def test_a_second_stage_is_written_beside_the_first(run: RunDirectory) -> None:
    (run.path / "single.txt").write_text("one file")
    run.finish("second", RECORD.model_copy(update={"key": "other"}), ["single.txt"], 0.0)
    assert run.is_done("stage", "key")
    assert run.is_done("second", "other")
    assert list(run.manifest().stages["second"].files) == ["single.txt"]


def test_a_file_that_another_command_wrote_again_still_counts(run: RunDirectory) -> None:
    note = run.path / "out" / "note.txt"
    note.write_text("written again")
    assert not run.is_done("stage", "key")
    run.rewritten("unknown", Path("out/note.txt"))
    assert not run.is_done("stage", "key")
    run.rewritten("stage", Path("out/note.txt"))
    assert run.is_done("stage", "key")
    assert run.manifest().stages["stage"].files["out/note.txt"] == FileRecord(
        sha256=sha256(note), bytes=len("written again"), rows=None
    )


def test_a_manifest_that_is_not_there_is_an_empty_one(tmp_path: Path) -> None:
    assert RunDirectory(tmp_path / "nothing").manifest() == Manifest()
    assert not RunDirectory(tmp_path / "nothing").is_done("stage", "key")


def test_a_file_as_long_as_before_with_other_content_is_noticed(run: RunDirectory) -> None:
    (run.path / "out" / "note.txt").write_text("eton")
    assert run.changed_files(run.manifest().stages["stage"]) == ["out/note.txt"]


def test_the_key_depends_on_settings_upstream_and_what_lies_outside() -> None:
    key = stage_key({"a": 1, "b": 2}, ["up"], "files")
    assert key == stage_key({"b": 2, "a": 1}, ["up"], "files")
    assert key == digest([__version__, {"a": 1, "b": 2}, ["up"], "files"])
    others = [
        stage_key({"a": 2, "b": 2}, ["up"], "files"),
        stage_key({"a": 1}, ["up"], "files"),
        stage_key({"a": 1, "b": 2}, ["down"], "files"),
        stage_key({"a": 1, "b": 2}, ["up", "up"], "files"),
        stage_key({"a": 1, "b": 2}, ["up"], "other files"),
        stage_key({"a": 1, "b": 2}, ["up"]),
    ]
    assert len({key, *others}) == 1 + len(others)


def test_files_are_stamped_by_name_size_and_time(tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "x.csv", tmp_path / "b" / "x.csv"
    for path in (one, other):
        path.parent.mkdir()
        path.write_text("abc")
        os.utime(path, ns=(5, 7))
    assert stamps([other, one]) == [("a/x.csv", 3, 7), ("b/x.csv", 3, 7)]
    assert stamps([one]) == [("x.csv", 3, 7)]
    assert stamps([]) == []


def test_the_stopwatch_counts_what_is_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    instants = iter([10.0, 12.5])
    monkeypatch.setattr(time, "monotonic", lambda: next(instants))
    with stopwatch() as seconds:
        assert seconds == []
    assert seconds == [2.5]


def test_a_run_directory_is_made_with_its_parents_and_taken_as_it_is(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "shelf" / "run")
    for _ in range(2):
        with directory.lock():
            assert directory.path.is_dir()
