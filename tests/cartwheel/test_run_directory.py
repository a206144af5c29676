"""The manifest tells what is finished; what was touched, killed or torn is not."""

from pathlib import Path

import polars as pl
import pytest

from cartwheel.errors import RunError
from cartwheel.run_directory import MANIFEST, RunDirectory, stage_key


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    output = directory.path / "out"
    output.mkdir(parents=True)
    pl.DataFrame({"x": [1, 2, 3]}).write_parquet(output / "table.parquet")
    (output / "note.txt").write_text("note")
    directory.finish("stage", "key", {"a": 1}, ["out", "absent"], 1.5)
    return directory


def test_a_finished_stage_is_done_under_its_key_only(run: RunDirectory) -> None:
    assert run.is_done("stage", "key")
    assert not run.is_done("stage", "other key")
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


def test_the_key_depends_on_settings_upstream_and_sources(tmp_path: Path) -> None:
    source = tmp_path / "events.csv"
    source.write_text("a")
    key = stage_key({"a": 1}, ["up"], [source])
    assert key == stage_key({"a": 1}, ["up"], [source])
    source.write_text("ab")
    others = [
        stage_key({"a": 2}, ["up"], [source]),
        stage_key({"a": 1}, ["down"], [source]),
        stage_key({"a": 1}, ["up"], [source]),
    ]
    assert key not in others
