"""The whole command on a tiny shop: all sides train and are judged alike; how fast is never asserted."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.trainers.laps import Laps
from benchmarks.training import SIDES, Training, choose

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "training.py"


def benchmark(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=580, check=False)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("model", "accuracy", "chance"), [("dlrm", "best ROC AUC", 0.5), ("two_tower", "best recall at 20", 0.1)]
)
def test_all_sides_learn_from_the_same_rows(tmp_path: Path, model: str, accuracy: str, chance: float) -> None:
    result = benchmark("--quick", "--model", model, "--work", tmp_path / "work", "--json", tmp_path / "figures.json")
    assert result.returncode == 0, result.stderr
    for words in ("rows/CPU s", accuracy, "peak MB", "times the rows a second of Merlin's fit, by processor time"):
        assert words in result.stdout
    sides = json.loads((tmp_path / "figures.json").read_text())[model]
    assert set(sides) == set(SIDES)
    trained = [side["turns"][0] for side in sides.values()]
    rows, weights = [each["rows"] for each in trained], [each["weights"] for each in trained]
    assert max(rows) - min(rows) < 2048  # where the last batch is not whole
    assert max(weights) < 1.5 * min(weights)
    for each in trained:
        assert len(each["epochs"]) == 2
        assert max(reached for _, _, reached in each["epochs"]) > chance


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "three_tower"), "--model 'three_tower' is none of dlrm, two_tower."),
        (("--run", "nowhere"), "--run nowhere holds no features/train/ranking."),
    ],
)
def test_bad_options_are_refused_in_a_sentence(arguments: tuple[str, ...], message: str) -> None:
    result = benchmark(*arguments)
    assert result.returncode == 2
    assert message in result.stderr


def training(*epochs: tuple[float, float, float]) -> Training:
    return Training(rows=100, weights=1, build=(1.0, 2.0), epochs=list(epochs), peak_mb=1.0)


def test_the_first_epoch_counts_for_the_time_and_not_for_the_pace() -> None:
    one = training((10.0, 20.0, 0.5), (2.0, 4.0, 0.7), (4.0, 8.0, 0.8), (1.0, 1.0, 0.6))
    assert one.accuracy == 0.8
    assert (one.pace(0), one.pace(1)) == (50.0, 25.0)
    assert one.epochs_to(0.6) == 2
    assert (one.seconds_to(0.6, 0), one.seconds_to(0.6, 1)) == (13.0, 26.0)


def test_settings_are_chosen_for_the_time_to_an_accuracy_not_for_their_pace() -> None:
    exact, fast, hasty = {"batch_size": 1}, {"batch_size": 2}, {"batch_size": 3}
    tried = [
        (exact, training((9.0, 9.0, 0.800), (9.0, 9.0, 0.810))),
        (fast, training((5.0, 5.0, 0.700), (5.0, 5.0, 0.809))),
        (hasty, training((1.0, 1.0, 0.600), (1.0, 1.0, 0.650))),
    ]
    assert choose(tried, 0.002) is fast
    assert choose(tried, 0.0) is exact
    assert choose(tried, 0.5) is hasty


def test_judging_is_not_timed() -> None:
    laps = Laps()
    laps.built()

    def slow() -> float:
        time.sleep(0.5)
        return 0.25

    assert laps.epoch(slow) == 0.25
    laps.epoch(lambda: 0.5)
    content = laps.content(10, 3)
    assert [epoch["accuracy"] for epoch in content["epochs"]] == [0.25, 0.5]
    assert sum(epoch["seconds"] for epoch in content["epochs"]) < 0.5
    assert (content["rows"], content["weights"]) == (10, 3)
