"""Search spaces: the settings of each model, with their bounds.

The bounds are wide enough to hold what the literature and the defaults use, and narrow enough that a dozen trials say something.
Searched on a log scale is what acts by its order of magnitude. Numbers are rounded to three digits before they are tried, so that what is
printed is exactly what was tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from cartwheel.core.errors import UsageError

_DIGITS: Final = 3


class Dimension(Protocol):
    """One setting and its bounds."""

    def suggest(self, trial: Any, name: str) -> Any:
        """Ask an ``optuna.Trial`` for a value of the setting ``name``."""

    def stored(self, value: Any) -> Any:
        """Return ``value`` as Optuna knows it, or None where it lies outside the bounds."""

    def holding(self, value: Any) -> Dimension:
        """Return the dimension with its bounds moved so that they hold ``value``, where it is of its kind."""


@dataclass(frozen=True)
class Real:
    """A number in ``low`` ... ``high``, on a log scale where ``log``."""

    low: float
    high: float
    log: bool = True

    def suggest(self, trial: Any, name: str) -> float:
        """Ask for a number, and round it."""
        return float(f"{trial.suggest_float(name, self.low, self.high, log=self.log):.{_DIGITS}g}")

    def stored(self, value: Any) -> float | None:
        """Return the number if it is within the bounds and is what rounding leaves."""
        inside = isinstance(value, int | float) and self.low <= value <= self.high
        return float(value) if inside and float(f"{value:.{_DIGITS}g}") == value else None

    def holding(self, value: Any) -> Real:
        """Move a bound; a log scale cannot reach 0."""
        if not isinstance(value, int | float) or (self.log and value <= 0):
            return self
        return replace(self, low=min(self.low, value), high=max(self.high, value))


@dataclass(frozen=True)
class Whole:
    """A whole number in ``low`` ... ``high``, on a log scale where ``log``."""

    low: int
    high: int
    log: bool = False

    def suggest(self, trial: Any, name: str) -> int:
        """Ask for a number."""
        return int(trial.suggest_int(name, self.low, self.high, log=self.log))

    def stored(self, value: Any) -> int | None:
        """Return the number if it is within the bounds."""
        return value if isinstance(value, int) and self.low <= value <= self.high else None

    def holding(self, value: Any) -> Whole:
        """Move a bound; a log scale cannot reach 0."""
        if not isinstance(value, int) or (self.log and value <= 0):
            return self
        return replace(self, low=min(self.low, value), high=max(self.high, value))


@dataclass(frozen=True)
class Choice:
    """One of a few values; Optuna knows each by its text, since it stores no tuples."""

    options: tuple[Any, ...]

    def suggest(self, trial: Any, name: str) -> Any:
        """Ask for one of them."""
        by_text = {str(option): option for option in self.options}
        return by_text[trial.suggest_categorical(name, list(by_text))]

    def stored(self, value: Any) -> str | None:
        """Return the text if the value is one of them."""
        return str(self.options[self.options.index(value)]) if value in self.options else None

    def holding(self, value: Any) -> Choice:
        """Add the value."""
        return self if value in self.options else replace(self, options=(*self.options, value))


Space = Mapping[str, Dimension]

_DLRM: Final[Space] = {
    "learning_rate": Real(1e-4, 1e-2),
    "embedding_dimension": Choice((8, 16, 32, 64)),
    "bottom": Choice(((32,), (64,), (128,), (128, 64))),
    "top": Choice(((32,), (64, 32), (128, 64), (256, 128, 64))),
    "id_dropout": Real(0.0, 0.7, log=False),
}

MODELS: Final[Mapping[str, Space]] = {
    "two_tower": {
        "dimension": Choice((16, 32, 64, 128)),
        "temperature": Real(0.02, 0.5),
        "learning_rate": Real(3e-4, 3e-2),
        "batch_size": Choice((128, 256, 512, 1024, 2048)),
        "id_dropout": Real(0.0, 0.7, log=False),
        "embedding_l2": Choice((0.0, 1e-6, 1e-5, 1e-4, 1e-3)),
        "hidden": Choice(((64,), (128,), (256,), (128, 64), (256, 128))),
        "history": Choice(("pooling", "attention", "gru")),
        "dropout": Real(0.0, 0.5, log=False),
        "uniform_negatives": Choice((0, 256, 1024, 4096)),
        "hard_negatives": Choice((0, 128, 512)),
    },
    "ranking": _DLRM,
    "cart": _DLRM,
}
"""What is searched for each trained model: fields of its settings."""

BASELINES: Final[Mapping[str, Space]] = {
    "popular_in_category": {"last": Whole(1, 20, log=True)},
    "item_knn": {
        "neighbours": Whole(10, 500, log=True),
        "similarity": Choice(("cosine", "jaccard", "lift")),
        "shrinkage": Real(0.1, 100.0),
        "half_life_days": Choice((None, 1.0, 7.0, 30.0)),
        "unit": Choice(("user", "session")),
    },
    "vsknn": {
        "neighbours": Whole(20, 500, log=True),
        "sample": Whole(200, 5000, log=True),
        "similarity": Choice(("dot", "cosine")),
        "decay": Choice((True, False)),
        "idf": Real(0.0, 5.0, log=False),
    },
    "ease": {"l2": Real(1.0, 10_000.0)},
    "als": {
        "factors": Choice((16, 32, 64, 128)),
        "l2": Real(0.1, 200.0),
        "alpha": Real(1.0, 100.0),
        "iterations": Whole(5, 30),
    },
    "bpr": {
        "factors": Choice((16, 32, 64, 128)),
        "learning_rate": Real(0.003, 0.2),
        "l2": Real(1e-4, 0.1),
        "iterations": Whole(20, 200, log=True),
    },
    "markov_next_item": {"prior": Real(0.01, 100.0)},
}
"""What is searched for each baseline: its parameters."""

TUNABLE: Final = (*MODELS, *BASELINES)


def space_of(model: str) -> Space:
    """Return what is searched for a model or a baseline.

    Raises:
        UsageError: if there is none of that name, or none that has anything to tune.
    """
    if model not in TUNABLE:
        raise UsageError(f"There is no model {model!r} to tune.", f"Give one of {', '.join(TUNABLE)}.")
    return {**MODELS, **BASELINES}[model]


def holding(space: Space, values: Mapping[str, Any]) -> Space:
    """Return a space with the bounds moved so that they hold the settings of now, which are tried first.

    >>> holding({"factors": Choice((16, 32)), "l2": Real(0.1, 10.0)}, {"factors": 24, "l2": 1.0})
    {'factors': Choice(options=(16, 32, 24)), 'l2': Real(low=0.1, high=10.0, log=True)}
    """
    return {name: dimension.holding(values[name]) for name, dimension in space.items()}
