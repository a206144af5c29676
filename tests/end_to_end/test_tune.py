"""``cartwheel tune`` in a run whose test split is not there: it goes on where it stopped and hands over what it found."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from shop_runs import cartwheel

from cartwheel.config import load_settings
from cartwheel.core.files import sha256


@pytest.fixture(scope="module")
def untested(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of a copy of the small shop, without its test split."""
    folder = tmp_path_factory.mktemp("tune")
    shutil.copytree(shop.parent / "run", folder / "run", ignore=shutil.ignore_patterns("logs"))  # a server may be rotating them
    for name in ("examples", "features"):
        shutil.rmtree(folder / "run" / name / "test")
    config = folder / "shop.toml"
    config.write_text(shop.read_text().replace(str(shop.parent / "run"), "run"))
    return config


def done(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_a_baseline_is_tuned_goes_on_and_is_written(untested: Path) -> None:
    run, copy = untested.parent / "run", untested.parent / "tuned.toml"
    before = sha256(run / "models")
    first = done(cartwheel("tune", untested, "--model", "als", "--trials", "2"))
    assert "[evaluate.baseline_parameters.als]\nfactors = " in first
    result = cartwheel("tune", untested, "--model", "als", "--trials", "3", "--write", copy)
    assert "2 trials" in first
    assert "3 trials" in done(result)
    assert "als: goes on after 2 finished trials" in result.stderr
    assert result.stderr.count("NDCG@10") == 1  # the third alone was tried
    told = json.loads((run / "tuning" / "als.json").read_text())
    best = told["trials"][told["best"] - 1]
    assert best["value"] == max(trial["value"] for trial in told["trials"])
    assert load_settings(copy).evaluate.baseline_parameters == {"als": best["values"]}
    assert load_settings(copy).run == run
    assert sha256(run / "models") == before


@pytest.mark.thorough
def test_the_two_tower_is_tuned_where_there_is_no_test_split(untested: Path) -> None:
    result = cartwheel("tune", untested, "--minutes", "0.0001")
    assert "[two_tower]\ndimension = 16\n" in done(result)  # the one trial that begins is that of now
    assert "two_tower: trial 1: NDCG@10" in result.stderr
    assert "1 trial: 1 complete" in result.stdout


@pytest.mark.thorough
def test_what_cannot_be_tuned_is_one_sentence(untested: Path, tmp_path: Path) -> None:
    def refused(code: int, *arguments: str | Path) -> str:
        result = cartwheel("tune", *arguments)
        assert result.returncode == code, result.stderr
        return result.stderr.strip().splitlines()[-1]

    assert "no model 'most_popular' to tune" in refused(2, untested, "--model", "most_popular")
    assert "--minutes is 0.0" in refused(2, untested, "--minutes", "0")
    assert "the configuration" in refused(2, untested, "--write", untested)
    assert "relative paths would change" in refused(2, untested, "--write", tmp_path / "tuned.toml")
    other = untested.parent / "other.toml"
    other.write_text(untested.read_text().replace("days = 30", "days = 31"))
    assert "The stage 'events' has not been run" in refused(6, other)


@pytest.mark.slow
def test_the_test_split_of_a_run_was_judged_once(run: Path) -> None:
    told = json.loads((run / "evaluation" / "touched.json").read_text())
    assert len(told["configurations"]) == 1, "one configuration, however often it was judged again"
    assert told["other_splits"] == {}
