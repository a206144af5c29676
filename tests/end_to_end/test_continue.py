"""A run goes on from the version that is served: killed, resumed, compared, and brought in behind a server that answers all the while."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from shop_runs import CARTWHEEL, ROOT, SMALL_SHOP, cartwheel, serving

from cartwheel.cli.continuing import continue_run
from cartwheel.config import load_settings
from cartwheel.core.errors import ComparisonError
from cartwheel.core.run_layout import RunLayout
from cartwheel.pipeline.continuing.go_on import Continued
from cartwheel.pipeline.continuing.outcome import Outcome, next_run
from evaluation.successor import Successor
from serving.client.client import Client
from serving.versions.store import VersionStore
from workflows.prepare.features import vocabularies_of

NEW_ITEM, NEW_USER = "a-new-lamp", "zoe"
DEPLOY = "[deploy]\nshares = []\nlatency_milliseconds = 10000.0\n"


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    """The configuration of a copy of the small shop's run."""
    config = tmp_path / "shop.toml"
    config.write_text(SMALL_SHOP.format(run=tmp_path / "run") + DEPLOY)
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("server.json", "logs", "live", "continued"))
    return config


def land(run: Path, days: int = 6) -> None:
    """Land what happened after the log's end, as `cartwheel land` would: its last days once more, with a new user and a new item."""
    log = pl.read_parquet(RunLayout(run).events)
    last = log["timestamp"].max()
    again = log.filter(pl.col("timestamp") > last - timedelta(days=days)).with_columns(pl.col("timestamp") + timedelta(days=days))
    favourite = again["item_id"].mode().sort()[0]
    number = pl.int_range(pl.len())
    new = again.with_columns(
        item_id=pl.when((pl.col("item_id") == favourite) & (number % 2 == 0)).then(pl.lit(NEW_ITEM)).otherwise("item_id"),
        user_id=pl.when(number % 97 == 0).then(pl.lit(NEW_USER)).otherwise("user_id"),
        event_id=pl.format("e{}", number),
    )
    RunLayout(run).landed.mkdir()
    new.write_parquet(RunLayout(run).landed / f"events-{len(new):020d}.parquet")


def killed_at(config: Path, stage: str) -> None:
    """Continue, and kill the command when it begins a stage."""
    with subprocess.Popen([*CARTWHEEL, "run", str(config), "--continue"], stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        told = []
        for line in process.stderr:
            told.append(line)
            if line.strip() == stage:
                break
        else:
            raise AssertionError("".join(told))
        process.send_signal(signal.SIGKILL)


@pytest.mark.thorough
def test_a_shop_goes_on_and_its_server_with_it(copied: Path) -> None:
    home = load_settings(copied).run
    told = cartwheel("run", copied, "--continue")
    assert (told.returncode, told.stdout.partition(":")[0]) == (0, "There is nothing new"), told.stderr
    land(home)
    with serving(home) as (_, endpoint):
        killed_at(copied, "retrieval")
        begun = next_run(home)
        assert Outcome.read(begun).state == "begun"  # type: ignore[union-attr]
        before = Client(endpoint["grpc"])
        first = VersionStore(home).newest().name
        assert not any(item.score for item in before.similar_items(NEW_ITEM, k=5)), "an item that nobody knows"
        done = cartwheel("run", copied, "--continue", timeout=600)
        assert done.returncode == 0, done.stderr
        assert all(f"{stage}: already done, skipped" in done.stderr for stage in ("events", "examples", "features"))
        outcome = Outcome.read(begun)
        assert outcome is not None
        assert (outcome.state, outcome.before) == ("deployed", first)
        assert outcome.version in done.stdout
        assert VersionStore(home).history[-1] == outcome.version != first
        with before as client:
            nearest = client.similar_items(NEW_ITEM, k=5)
            assert any(item.score > 0 for item in nearest), "the new item has a vector, trained from the mean of its category"
            assert client.recommend(NEW_USER, k=3), "and the new user a history"
    _old_ids_are_kept(home, begun)
    again = cartwheel("run", copied, "--continue")
    assert (again.returncode, again.stdout.partition(":")[0]) == (0, "There is nothing new"), again.stderr
    copied.write_text(copied.read_text().replace("dimension = 16\nembedding", "dimension = 8\nembedding"))
    changed = cartwheel("run", copied, "--continue")
    assert changed.returncode == 3
    assert "two_tower.dimension is 8, was 16" in changed.stderr


def _old_ids_are_kept(home: Path, begun: Path) -> None:
    old, new = (vocabularies_of(RunLayout(run).workflow("recommend")) for run in (home, begun))
    assert all(list(new[domain])[: len(values)] == list(values) for domain, values in old.items())
    assert len(new["item_id"]) > len(old["item_id"]), "the days that validated then are trained on now"
    assert NEW_ITEM in pl.read_parquet(RunLayout(begun).snapshot("items"))["item_id"]
    report = json.loads(RunLayout(begun).comparison.read_text())
    ended = json.loads(RunLayout(home).state.read_text())["last_event_us"]
    judged = json.loads(RunLayout(begun).examples_report.read_text())["t_test"]
    assert report["since"] == judged
    assert pl.Series([judged]).str.to_datetime(time_zone="UTC").dt.epoch("us")[0] > ended, (
        "no question that the served one has seen"
    )


def test_there_must_be_a_run_to_continue(tmp_path: Path) -> None:
    config = tmp_path / "shop.toml"
    config.write_text(SMALL_SHOP.format(run=tmp_path / "run"))
    told = cartwheel("run", config, "--continue")
    assert told.returncode == 6
    assert "There is no finished run in" in told.stderr
    assert cartwheel("run", config, "--no-deploy").returncode == 2


@pytest.mark.parametrize(("low", "kept"), [(-0.006, True), (-0.005, False), (None, True)])
def test_what_is_not_shown_to_be_as_good_is_kept_beside(
    copied: Path, monkeypatch: pytest.MonkeyPatch, low: float | None, kept: bool
) -> None:
    settings = load_settings(copied)
    found = Successor("2025-02-01T00:00:00+00:00", 900, 300, 0.1, 0.098, -0.002, low, 0.002, 0.005)
    own = RunLayout(settings.run).continued / "0001"
    shutil.copytree(RunLayout(settings.run).repository, RunLayout(own).repository)
    version = VersionStore(settings.run).newest().name
    outcome = Outcome(base=".", before=version, settings={}, version=version, why=found.sentence)
    monkeypatch.setattr("cartwheel.pipeline.continuing.go_on.go_on", lambda *_: Continued(own, outcome, found.is_not_worse))
    if kept:
        with pytest.raises(ComparisonError, match=r"is kept beside what is served: NDCG@10 0\.0980, .*not shown to be as good"):
            continue_run(settings, None, copied, deploy=True)
    else:
        continue_run(settings, None, copied, deploy=True)
    told = Outcome.read(own)
    assert told is not None
    assert told.state == ("kept" if kept else "filed")
    assert (VersionStore(settings.run).history == []) is kept
