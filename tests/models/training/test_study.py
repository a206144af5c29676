"""The search itself, over a function that is known: it resumes, repeats what was lost, prunes and keeps to its budget."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cartwheel.core.errors import RunError, UsageError
from models.tuning.space import TUNABLE, Choice, Real, Whole, space_of
from models.tuning.study import Budget, Trial, Tuned, tune
from models.tuning.subject import DivergedError, Report, Subject

SPACE = {"x": Real(0.1, 10.0), "n": Whole(1, 8), "widths": Choice(((8,), (8, 4)))}


class Killed(BaseException):
    """Stands for a process that ends in the middle."""


def quadratic(values: Mapping[str, Any], folder: Path, report: Report) -> float:
    del folder
    value = (values["x"] - 2.0) ** 2 + values["n"] + len(values["widths"])
    report(0, value)
    return float(value)


def subject_of(attempt: Callable[[Mapping[str, Any], Path, Report], float] = quadratic) -> Subject:
    current = {"x": 1.0, "n": 4, "widths": (8,)}
    return Subject("toy", "toy", SPACE, current, "loss", "minimize", "0123456789abcdef", attempt)


def said(found: Tuned) -> list[tuple[dict[str, Any], float | None, str]]:
    return [(trial.values, trial.value, trial.outcome) for trial in found.trials]


def search(folder: Path, trials: int, attempt: Callable[..., float] = quadratic, seed: int = 5) -> Tuned:
    return tune(subject_of(attempt), folder, Budget(trials), seed, lambda line: None)


@pytest.fixture(scope="module", autouse=True)
def three_random_trials() -> Iterator[None]:
    """TPE and pruning begin after three trials, so that a few show both."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.tuning.study._RANDOM_TRIALS", 3)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """Six trials in one go."""
    return search(tmp_path_factory.mktemp("whole"), 6)


def test_the_settings_of_now_come_first_and_the_best_is_better(whole: Tuned) -> None:
    assert whole.trials[0].values == {"x": 1.0, "n": 4, "widths": [8]}
    assert whole.best.value is not None
    assert whole.best.value == min(
        trial.value for trial in whole.trials if trial.value is not None and trial.outcome == "complete"
    )
    assert whole.best.value < 6.0  # what the first came to
    assert all(
        0.1 <= trial.values["x"] <= 10 and float(f"{trial.values['x']:.3g}") == trial.values["x"] for trial in whole.trials
    )


def test_one_seed_tries_the_same_and_another_does_not(whole: Tuned, tmp_path: Path) -> None:
    assert said(search(tmp_path / "same", 5)) == said(whole)[:5]
    assert said(search(tmp_path / "other", 2, seed=6))[1:] != said(whole)[1:2]


def test_a_search_in_pieces_is_the_search_in_one(whole: Tuned, tmp_path: Path) -> None:
    for trials in (1, 4, 6):
        found = search(tmp_path, trials)
        assert len(found.trials) == trials
    assert said(found) == said(whole)


@pytest.mark.parametrize("lost", [0, 4])
def test_a_killed_trial_is_repeated(whole: Tuned, tmp_path: Path, lost: int) -> None:
    begun: list[Mapping[str, Any]] = []

    def fragile(values: Mapping[str, Any], folder: Path, report: Report) -> float:
        begun.append(values)
        folder.mkdir(parents=True)
        (folder / "half").touch()
        if len(begun) == lost + 1:
            raise Killed
        return quadratic(values, folder, report)

    with pytest.raises(Killed):
        search(tmp_path, 6, fragile)
    left = [file for file in tmp_path.rglob("half") if file.parent.name == f"{lost:04d}"]
    assert len(left) == 1
    found = search(tmp_path, 6, fragile)
    assert begun[lost + 1] == begun[lost]
    assert said(found) == said(whole)
    assert not left[0].exists()


def test_a_finished_search_only_tells(whole: Tuned, tmp_path: Path) -> None:
    search(tmp_path, 2)

    def refuse(values: Mapping[str, Any], folder: Path, report: Report) -> float:
        raise AssertionError(values)

    lines: list[str] = []
    found = tune(subject_of(refuse), tmp_path, Budget(2), 5, lines.append)
    assert said(found) == said(whole)[:2]
    assert lines == [f"toy: goes on after 2 finished trials in {tmp_path / 'toy.db'}"]


def test_minutes_end_a_search_and_count_what_is_done(tmp_path: Path) -> None:
    instant = Budget(None, minutes=1e-9)
    assert len(tune(subject_of(), tmp_path, instant, 5, lambda line: None).trials) == 1
    assert len(tune(subject_of(), tmp_path, instant, 5, lambda line: None).trials) == 1
    assert Budget(None, 2.0).left(1000, 119.9)
    assert not Budget(None, 2.0).left(1, 120.0)
    assert not Budget(3, 2.0).left(3, 1.0)
    assert Budget(3, 2.0).left(2, 1.0)


def test_time_left_is_the_shorter_of_both_budgets() -> None:
    assert Budget(10, None).seconds_left(4, 20.0) == 30.0
    assert Budget(10, 0.5).seconds_left(4, 20.0) == 10.0
    assert Budget(10, None).seconds_left(0, 0.0) is None


def test_each_trial_is_told_with_best_rate_and_time_left(tmp_path: Path) -> None:
    lines: list[str] = []
    tune(subject_of(), tmp_path, Budget(2), 5, lines.append)
    assert lines[0].startswith("toy: trial 1 of 2: loss 6.0000, best 6.0000 of trial 1; ")
    assert "trials/min" in lines[0]
    assert lines[1].endswith("0 min 00 s left")


def test_what_is_worse_than_the_median_is_pruned(tmp_path: Path) -> None:
    epochs: list[int] = []

    def worse_and_worse(values: Mapping[str, Any], folder: Path, report: Report) -> float:
        epochs.append(0)
        for epoch in range(6):
            epochs[-1] = epoch
            report(epoch, float(len(epochs)))
        return float(len(epochs))

    found = search(tmp_path, 5, worse_and_worse)
    assert [trial.outcome for trial in found.trials] == ["complete"] * 3 + ["pruned"] * 2
    assert epochs == [5] * 3 + [2, 2]
    assert found.trials[-1].value == 5.0
    assert found.best.number == 1


def test_what_diverges_is_a_finished_trial_and_never_the_best(tmp_path: Path) -> None:
    def diverging(values: Mapping[str, Any], folder: Path, report: Report) -> float:
        if values["x"] != 1.0:
            raise DivergedError("the loss became nan")
        return 3.0

    found = search(tmp_path, 3, diverging)
    assert [trial.outcome for trial in found.trials] == ["complete", "diverged", "diverged"]
    assert (found.best.number, found.trials[1].value) == (1, None)


def test_a_search_of_nothing_but_divergence_is_told(tmp_path: Path) -> None:
    def diverging(values: Mapping[str, Any], folder: Path, report: Report) -> float:
        raise DivergedError("the loss became nan")

    with pytest.raises(RunError, match="None of 2 trials of toy came to a figure"):
        search(tmp_path, 2, diverging)


def test_other_data_begin_a_search_of_their_own(tmp_path: Path) -> None:
    search(tmp_path, 2)
    other = replace(subject_of(), fingerprint="fedcba9876543210")
    assert len(tune(other, tmp_path, Budget(1), 5, lambda line: None).trials) == 1
    assert len(search(tmp_path, 1).trials) == 2


def test_the_outcome_is_a_file(whole: Tuned, tmp_path: Path) -> None:
    found = search(tmp_path, 2)
    told = json.loads((tmp_path / "toy.json").read_text())
    assert (told["split"], told["metric"], told["best"]) == ("valid", "loss", found.best.number)
    assert [trial["values"] for trial in told["trials"]] == [trial.values for trial in found.trials]


def test_a_study_that_is_no_study_is_told(tmp_path: Path) -> None:
    (tmp_path / "toy.db").write_bytes(b"no database " * 100)
    with pytest.raises(RunError, match=r"toy\.db cannot be read as a study"):
        search(tmp_path, 1)


def test_odd_names_of_folders_hold_a_study(tmp_path: Path) -> None:
    folder = tmp_path / "a b?c%20#d"
    assert len(search(folder, 1).trials) == 1
    assert (folder / "toy.db").is_file()


def test_equal_figures_go_to_the_earlier_trial() -> None:
    trials = tuple(Trial(number, {}, value, "complete", 1.0) for number, value in ((1, 0.2), (2, 0.4), (3, 0.4)))
    most = replace(subject_of(), direction="maximize")
    assert [trial.number for trial in Tuned(most, trials).ranked] == [2, 3, 1]
    assert [trial.number for trial in Tuned(subject_of(), trials).ranked] == [1, 2, 3]


def test_bounds_move_to_hold_the_settings_of_now() -> None:
    assert Real(0.1, 1.0).holding(3.0) == Real(0.1, 3.0)
    assert Real(0.1, 1.0).holding(0.0) == Real(0.1, 1.0)  # no log of 0
    assert Whole(2, 5).holding(1) == Whole(1, 5)
    assert Choice((1, 2)).holding(7) == Choice((1, 2, 7))
    assert Choice((None, 1.0)).stored(None) == "None"
    assert Real(0.1, 1.0).stored(0.12345) is None
    assert Real(0.1, 1.0).stored(0.123) == 0.123


def test_settings_of_now_that_no_bound_can_hold_are_told(tmp_path: Path) -> None:
    lines: list[str] = []
    subject = replace(subject_of(), current={"x": 0.0, "n": 4, "widths": (8,)})
    tune(subject, tmp_path, Budget(1), 5, lines.append)
    assert lines[0] == "toy: the settings of now are not tried, for the search does not hold x = 0.0"


def test_only_what_has_settings_can_be_tuned() -> None:
    assert all(space_of(model) for model in TUNABLE)
    with pytest.raises(UsageError, match=r"no model 'most_popular' to tune.*two_tower"):
        space_of("most_popular")
