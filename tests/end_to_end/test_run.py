"""A run: complete, skipped where done, resumed where killed, and the same twice."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from shop_runs import CARTWHEEL, ROOT, cartwheel, serving, small_shop

from cartwheel.core.files import sha256
from cartwheel.pipeline.stages import STAGES

NOTHING_DECLARED = {"tables", "tasks", "task_models", "task_evaluation"}
"""Stages that write nothing where a shop declares neither tables nor tasks."""


def metrics(run: Path) -> list[dict[str, object]]:
    return json.loads((run / "evaluation" / "metrics.json").read_text())


def figure(run: Path, **wanted: object) -> float:
    [record] = [r for r in metrics(run) if all(r[key] == value for key, value in wanted.items())]
    value = record["value"]
    assert isinstance(value, float)
    return value


def test_every_stage_left_its_files_and_the_manifest_knows_them(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    assert list(manifest["stages"]) == sorted(stage.name for stage in STAGES)
    assert {name for name, stage in manifest["stages"].items() if not stage["files"]} <= NOTHING_DECLARED
    assert manifest["stages"]["events"]["files"]["events/events.parquet"]["rows"] > 1000


def test_every_figure_carries_its_protocol_and_interval(run: Path) -> None:
    for record in metrics(run):
        assert {"split", "candidate_set", "tie_rule", "sample_size"} <= set(record["protocol"])  # type: ignore[call-overload]
        # The calibration error is biased upwards, which its mirrored interval takes off: a small one may lie above it.
        if record["value"] is not None and record["metric"] != "calibration_error":
            assert record["low"] - 1e-9 <= record["value"] <= record["high"] + 1e-9, record  # type: ignore[operator]


def test_the_models_stand_between_most_popular_and_the_oracle(run: Path) -> None:
    recall = {
        model: figure(run, task="retrieval", model=model, metric="recall", k=20)
        for model in ("two_tower", "most_popular", "oracle")
    }
    assert recall["most_popular"] < recall["two_tower"] < recall["oracle"]


def test_a_finished_run_skips_everything(shop: Path, run: Path) -> None:
    before = (run / "manifest.json").read_bytes()
    result = cartwheel("run", shop)
    assert result.returncode == 0
    assert result.stderr.count("already done, skipped") == len(STAGES)
    assert (run / "manifest.json").read_bytes() == before


def test_a_stage_can_be_run_again_alone_with_the_same_figures(shop: Path, run: Path) -> None:
    before = (run / "evaluation" / "metrics.json").read_bytes()
    (run / "evaluation" / "metrics.json").unlink()
    result = cartwheel("evaluate", shop)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("already done, skipped") == 1, "that of declared tasks"
    assert (run / "evaluation" / "metrics.json").read_bytes() == before


def test_the_repository_is_self_contained(run: Path) -> None:
    files = [file for file in (run / "repository").rglob("*") if file.is_file()]
    assert not [file for file in files if file.suffix in {".pkl", ".pickle"}]
    for file in files:
        content = file.read_bytes()
        assert str(run).encode() not in content, f"{file} holds an absolute path"
        assert not any(word in content for word in (b"import tensorflow", b"import nvtabular", b"import pandas"))


def test_a_repository_for_any_triton_holds_the_same_models_and_no_python(shop: Path, run: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "run"
    shutil.copytree(run, elsewhere, ignore=shutil.ignore_patterns("server.json", "logs"))
    result = cartwheel("export", shop, "--run", elsewhere, "--target", "native")
    assert result.returncode == 0, result.stderr
    native, embedded = elsewhere / "repository", run / "repository"
    assert not list(native.rglob("*.py"))
    graphs = [{sha256(path) for path in repository.rglob("*.onnx")} for repository in (native, embedded)]
    assert graphs[0] == graphs[1]
    assert len(graphs[0]) == 7
    assert 'backend: "onnxruntime"' in (native / "recommend_retrieve" / "config.pbtxt").read_text()


def test_a_killed_run_resumes_to_the_same_models(tmp_path: Path, run: Path) -> None:
    """That the same models give the same figures, another test holds; what comes before the models is that of the whole run."""
    config = small_shop(tmp_path)
    other = tmp_path / "run"
    shutil.copytree(
        run, other, ignore=shutil.ignore_patterns("server.json", "logs", "models", "evaluation", "repository", "versions")
    )
    manifest = json.loads((run / "manifest.json").read_text())
    whole, before = manifest["stages"], ("events", "tables", "examples", "features", "tasks")
    (other / "manifest.json").write_text(json.dumps({**manifest, "stages": {name: whole[name] for name in before}}))
    process = subprocess.Popen(
        [*CARTWHEEL, "run", str(config)], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    assert any(line.strip() == "retrieval" for line in process.stderr), "the stage did not begin"
    process.kill()
    process.communicate()
    finished = json.loads((other / "manifest.json").read_text())["stages"]
    assert set(finished) == set(before)
    result = cartwheel("train", config)
    assert result.returncode == 0, result.stderr
    resumed = json.loads((other / "manifest.json").read_text())["stages"]
    assert {name: resumed[name] for name in finished} == finished, "what was done is not done again"
    for name in ("retrieval", "item_to_item", "ranking", "cart"):
        # ONNX files name their nodes in passing; what was answered with them is in the others.
        files = {path for path in whole[name]["files"] if not path.endswith(".onnx")}
        assert {path: resumed[name]["files"][path] for path in files} == {path: whole[name]["files"][path] for path in files}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_cleanly_and_leaves_no_orphan(run: Path, tmp_path: Path, number: signal.Signals) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "repository").symlink_to(run / "repository")
    with serving(moved) as (process, _):
        children = descendants(process.pid)
        assert children
        process.send_signal(number)
        assert process.wait(timeout=30) == 0
    assert not [child for child in children if alive(child)]
    assert not (moved / "server.json").exists()


def test_a_server_whose_owner_is_killed_does_not_survive_it(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "repository").symlink_to(run / "repository")
    with serving(moved) as (process, _):
        children = descendants(process.pid)
        process.kill()
        process.wait()
    deadline = time.monotonic() + 20
    while any(alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [child for child in children if alive(child)]


def descendants(parent: int) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(status[1]) == parent:
                found += [int(entry.name), *descendants(int(entry.name))]
    return found


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = (Path("/proc") / str(process) / "stat").read_text().rsplit(")", 1)[1].split()[0]
    return state != "Z"
