"""The search: Optuna's TPE sampler with a median pruner, over a study that is stored on disk after every trial.

The settings of a trial depend on the seed and on the trials that are finished, and on nothing else. So a search that is killed and
started again repeats the trial that it lost and goes on as if nothing had happened.

TPE: Bergstra et al., "Algorithms for hyper-parameter optimization", NeurIPS 2011. Median pruning: Golovin et al., "Google Vizier", KDD
2017, https://doi.org/10.1145/3097983.3098043. Library: Akiba et al., KDD 2019, https://doi.org/10.1145/3292500.3330701.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from cartwheel.core.errors import MissingDependencyError, RunError
from cartwheel.core.files import write_json
from cartwheel.core.packages import INSTALL
from models.tuning.subject import DivergedError, Subject

TRIALS: Final = 20
"""Trials of a search that is given no budget."""
_RANDOM_TRIALS: Final = 8
"""Trials before TPE begins and before any trial is pruned."""
_WARM_EPOCHS: Final = 2
"""Epochs that every trial may finish."""
_VALUES: Final = "values"
_DIVERGED: Final = "diverged"


@dataclass(frozen=True)
class Budget:
    """When a search ends; what an earlier process spent on the same search counts.

    Attributes:
        trials: finished trials; None for no limit.
        minutes: minutes spent in finished trials; a trial that has begun is finished, so the last one may run over. None for no limit.
    """

    trials: int | None = TRIALS
    minutes: float | None = None

    def left(self, trials: int, seconds: float) -> bool:
        """Whether another trial may begin after so many that took so long."""
        return (self.trials is None or trials < self.trials) and (self.minutes is None or seconds < 60.0 * self.minutes)

    def seconds_left(self, trials: int, seconds: float) -> float | None:
        """Estimate from the trials so far how long the search goes on; None where there is no trial yet."""
        if not trials:
            return None
        by_trials = None if self.trials is None else (self.trials - trials) * seconds / trials
        by_minutes = None if self.minutes is None else 60.0 * self.minutes - seconds
        return max(0.0, min(value for value in (by_trials, by_minutes) if value is not None))


@dataclass(frozen=True)
class Trial:
    """A finished trial.

    Attributes:
        number: 1 for the first that was finished.
        values: the settings searched.
        value: the figure on validation, of a pruned trial the last that it reported; None where it diverged before any.
        outcome: ``complete``, ``pruned`` (worse than the median of the earlier trials at the same epoch) or ``diverged``.
        seconds: how long it took.
    """

    number: int
    values: dict[str, Any]
    value: float | None
    outcome: str
    seconds: float


@dataclass(frozen=True)
class Tuned:
    """What a search has found.

    Attributes:
        subject: what was tuned.
        trials: the finished trials, in order.
    """

    subject: Subject = field(repr=False)
    trials: tuple[Trial, ...]

    @property
    def ranked(self) -> list[Trial]:
        """The complete trials, best first; of equal ones the earlier."""
        sign = -1.0 if self.subject.direction == "maximize" else 1.0
        complete = [trial for trial in self.trials if trial.outcome == "complete" and trial.value is not None]
        return sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

    @property
    def best(self) -> Trial:
        """The best complete trial.

        Raises:
            RunError: if there is none.
        """
        if not self.ranked:
            raise RunError(
                f"None of {len(self.trials)} trials of {self.subject.name} came to a figure.",
                "Give more --trials or --minutes, or begin from other settings.",
            )
        return self.ranked[0]

    def write(self, folder: Path) -> None:
        """Write ``<model>.json``: the metric, the split, and every trial; equal searches give equal bytes but for the seconds."""
        content = {
            "model": self.subject.name,
            "split": "valid",
            "metric": self.subject.metric,
            "direction": self.subject.direction,
            "best": self.best.number,
            "trials": [vars(trial) for trial in self.trials],
        }
        write_json(folder / f"{self.subject.name}.json", content)


def tune(subject: Subject, folder: Path, budget: Budget, seed: int, tell: Callable[[str], None]) -> Tuned:
    """Search until the budget is spent, from where an earlier process stopped.

    Args:
        subject: what to tune.
        folder: holds ``<model>.db``, ``<model>.json`` and ``trials/``.
        budget: when to stop.
        seed: fixes which settings are tried.
        tell: is given one line a trial.

    Returns:
        All finished trials, those of earlier processes included.

    Raises:
        MissingDependencyError: if Optuna is not installed.
        RunError: if the study cannot be read, or no trial came to a figure.
        CartwheelError: whatever an attempt finds wrong.
    """
    with _study(subject, folder) as study:
        trials = folder / "trials" / study.study_name
        for lost in _of_state(study, "RUNNING"):
            shutil.rmtree(trials / f"{lost.number:04d}", ignore_errors=True)
            study.tell(lost.number, state=_states().FAIL)
        found = _found(subject, study)
        if found.trials:
            tell(f"{subject.name}: goes on after {len(found.trials)} finished trials in {folder / (subject.name + '.db')}")
        while budget.left(len(found.trials), _seconds(found)):
            _one(subject, study, trials, len(found.trials), seed, tell)
            found = _found(subject, study)
            tell(_progress(found, budget))
        found.write(folder)
    return found


def _one(subject: Subject, study: Any, folder: Path, finished: int, seed: int, tell: Callable[[str], None]) -> None:
    """Run a trial; if it is interrupted it stays open, and the next process repeats it."""
    import optuna

    own = int(np.random.SeedSequence([seed, finished]).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=own, n_startup_trials=_RANDOM_TRIALS)
    if not finished:
        _enqueue_current(subject, study, tell)
    trial = study.ask()
    values = {name: dimension.suggest(trial, name) for name, dimension in subject.space.items()}
    trial.set_user_attr(_VALUES, values)

    def report(epoch: int, value: float) -> None:
        trial.report(value, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        value = subject.attempt(values, folder / f"{trial.number:04d}", report)
    except optuna.TrialPruned:
        study.tell(trial, state=_states().PRUNED)
    except DivergedError as error:
        trial.set_user_attr(_DIVERGED, str(error))
        study.tell(trial, state=_states().PRUNED)
    else:
        study.tell(trial, value)


def _enqueue_current(subject: Subject, study: Any, tell: Callable[[str], None]) -> None:
    """Have the settings of now tried first, so that what tuning ends with is never worse on validation than what it began with."""
    if _of_state(study, "WAITING"):
        return
    stored = {name: dimension.stored(subject.current[name]) for name, dimension in subject.space.items()}
    outside = [f"{name} = {subject.current[name]}" for name, value in stored.items() if value is None]
    if outside:
        tell(f"{subject.name}: the settings of now are not tried, for the search does not hold {', '.join(outside)}")
    else:
        study.enqueue_trial(stored)


@contextlib.contextmanager
def _study(subject: Subject, folder: Path) -> Iterator[Any]:
    """Open the study of a subject in its SQLite file; other data, seeds and fixed settings have studies of their own there."""
    try:
        import optuna
        from sqlalchemy import URL
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError as error:
        raise MissingDependencyError(
            f"Tuning needs a package that is not installed: {error.name}.",
            INSTALL.format("train"),
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{subject.name}.db"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = optuna.storages.RDBStorage(str(URL.create("sqlite", database=os.fspath(file.resolve()))))
        study = optuna.create_study(
            storage=storage,
            study_name=f"{subject.name}-{subject.fingerprint[:12]}",
            direction=subject.direction,
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_RANDOM_TRIALS, n_warmup_steps=_WARM_EPOCHS),
        )
    except (SQLAlchemyError, RuntimeError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(f"{file} cannot be read as a study ({reason}).", "Delete it to restart the search.") from error
    try:
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _states() -> Any:
    import optuna

    return optuna.trial.TrialState


def _of_state(study: Any, *states: str) -> list[Any]:
    return list(study.get_trials(deepcopy=False, states=tuple(_states()[state] for state in states)))


def _found(subject: Subject, study: Any) -> Tuned:
    trials = []
    for number, each in enumerate(_of_state(study, "COMPLETE", "PRUNED"), start=1):
        outcome = _DIVERGED if _DIVERGED in each.user_attrs else each.state.name.lower()
        trials.append(Trial(number, each.user_attrs[_VALUES], each.value, outcome, each.duration.total_seconds()))
    return Tuned(subject, tuple(trials))


def _seconds(found: Tuned) -> float:
    return sum(trial.seconds for trial in found.trials)


def _progress(found: Tuned, budget: Budget) -> str:
    """Say what the last trial found, the best so far, the rate and the time left."""
    last, done, seconds = found.trials[-1], len(found.trials), _seconds(found)
    of = f" of {budget.trials}" if budget.trials is not None else ""
    said = last.outcome if last.value is None else f"{found.subject.metric} {last.value:.4f}"
    said += f" ({last.outcome})" if last.outcome != "complete" and last.value is not None else ""
    best = f", best {found.best.value:.4f} of trial {found.best.number}" if found.ranked else ""
    rate = f"{60.0 * done / seconds:.1f} trials/min" if seconds else ""
    left = budget.seconds_left(done, seconds) or 0.0
    return f"{found.subject.name}: trial {last.number}{of}: {said}{best}; {last.seconds:.1f} s, {rate}, {_told(left)} left"


def _told(seconds: float) -> str:
    return time.strftime("%-H h %M min" if seconds >= 3600 else "%-M min %S s", time.gmtime(seconds))
