"""Tuning subjects of the trained models and baselines, evaluated on the validation split."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from cartwheel.core.errors import ConfigError, DataError
from cartwheel.core.files import write_json
from cartwheel.core.run_layout import RELATIVE, ModelLayout, RunLayout
from cartwheel.core.tables import has_table
from models.families.dlrm.settings import DLRMSettings
from models.families.two_tower.settings import TwoTowerSettings
from models.metrics.ranking import Ints, Numbers
from models.training.loop import Learner, remove_checkpoint
from models.training.tables import Array
from models.tuning.space import BASELINES, MODELS, holding
from models.tuning.subject import Attempt, DivergedError, Report, Subject
from models.tuning.validation import SPLIT, K, ValidationLists, fingerprint

NDCG: Final = f"NDCG@{K}"
LOG_LOSS: Final = "log loss"
_NDCG_KEY: Final = f"ndcg_{K}"


def two_tower_subject(data: Path, settings: TwoTowerSettings, seed: int) -> Subject:
    """Tune the retrieval model by NDCG@10 over the whole catalogue, at the epoch that training would keep.

    Args:
        data: folder of ``lay_out``.
        settings: what is not searched stays as it is here.
        seed: of every training.

    Raises:
        DataError: if the validation split has nothing to ask.
        RunError: if a file is missing.
    """
    lists = ValidationLists(data, seed)
    queries, catalogue = lists.tables()

    def attempt(values: Mapping[str, Any], folder: Path, report: Report) -> float:
        from models.families.two_tower.train import fit_two_tower

        def ndcg(learner: Any, _: Mapping[str, float]) -> float:
            tower = learner.tower
            vectors = np.zeros((int(lists.anchors.row.max()) + 1, tower.settings.dimension), np.float32)
            vectors[lists.anchors.row] = tower.encode_queries(queries)
            items = tower.encode_items(catalogue)
            if not (np.isfinite(vectors).all() and np.isfinite(items).all()):
                return math.nan

            def scores(rows: Ints) -> Numbers:
                return np.asarray(vectors[rows] @ items.T)

            return lists.ndcg(scores)

        tried = settings.model_copy(update=dict(values))
        with _workplace(folder):
            fitted = fit_two_tower(
                RunLayout(data), folder, tried, seed, lambda learner: _Watched(learner, _NDCG_KEY, ndcg, report)
            )
            write_json(ModelLayout(folder).history, fitted.history.content())
            return fitted.history.best[_NDCG_KEY]

    read = (
        RELATIVE.features("train", "recommend"),
        *(RELATIVE.features(SPLIT, table) for table in ("recommend", "catalogue")),
        RELATIVE.examples_split(SPLIT),
    )
    about = fingerprint(data, *read)
    return _trained("two_tower", settings, seed, about, NDCG, attempt)


def dlrm_subject(data: Path, name: str, settings: DLRMSettings, seed: int) -> Subject:
    """Tune the ``ranking`` or the ``cart`` model by log loss, of the weights that training would keep.

    Args:
        data: folder of ``lay_out``.
        name: ``ranking`` or ``cart``.
        settings: what is not searched stays as it is here.
        seed: of every training.

    Raises:
        DataError: if there are no rows to train or to validate on.
    """
    for split in ("train", SPLIT):
        if not has_table(RunLayout(data).features(split, name)):
            raise DataError(f"The {split} split has no rows for the {name} model.", "Tune on a longer log, or another model.")

    def attempt(values: Mapping[str, Any], folder: Path, report: Report) -> float:
        from models.families.dlrm.train import fit_dlrm

        def log_loss(_: Any, figures: Mapping[str, float]) -> float:
            if not figures:
                raise DataError(f"The validation split has no rows for the {name} model.", "Tune on a longer log.")
            return figures["log_loss"]

        tried = settings.model_copy(update=dict(values))
        with _workplace(folder):
            fitted = fit_dlrm(
                RunLayout(data), folder, name, tried, seed, lambda learner: _Watched(learner, "log_loss", log_loss, report)
            )
            write_json(ModelLayout(folder).history, fitted.history.content())
            return -fitted.score

    from models.families.dlrm.train import TABLES

    about = fingerprint(data, *(RELATIVE.features(split, table) for split in ("train", SPLIT) for table in TABLES[name]))
    return _trained(name, settings, seed, about, LOG_LOSS, attempt)


def baseline_subject(data: Path, name: str, parameters: Mapping[str, Any], seed: int) -> Subject:
    """Tune a baseline by NDCG@10 over the whole catalogue, fitted on what happened before the validation split.

    Args:
        data: folder of ``lay_out`` with events.
        name: of ``models.families.registry.BASELINES``.
        parameters: its parameters of now, those that are not its defaults.
        seed: of its own draws.

    Raises:
        DataError: if the validation split has nothing to ask.
        ConfigError: if a parameter is not known or not accepted.
        RunError: if a file is missing.
    """
    from models.families.registry import make_baseline
    from models.questions.run_log import read_interactions, read_questions
    from models.retrieval.run_scorer import RunScorer

    now = make_baseline(name, seed, parameters)
    lists = ValidationLists(data, seed)
    log = read_interactions(data)
    questions = read_questions(data, SPLIT, log)

    def attempt(values: Mapping[str, Any], folder: Path, report: Report) -> float:
        del folder, report  # nothing is written, and there are no epochs
        made = make_baseline(name, seed, {**parameters, **values})
        return lists.ndcg(RunScorer(made, data, SPLIT, log, questions))

    current = {key: getattr(now, key) for key in BASELINES[name]}
    space = holding(BASELINES[name], current)
    fixed = {key: value for key, value in parameters.items() if key not in space}
    read = (
        RELATIVE.examples_split(SPLIT),
        RELATIVE.examples_report,
        RELATIVE.events_folder,
        RELATIVE.state,
    )
    return Subject(
        name=name,
        section=f"evaluate.baseline_parameters.{name}",
        space=space,
        current=current,
        metric=NDCG,
        direction="maximize",
        fingerprint=_hashed([name, repr(space), fixed, seed, fingerprint(data, *read)]),
        attempt=attempt,
    )


def _trained(
    name: str, settings: TwoTowerSettings | DLRMSettings, seed: int, about: str, metric: str, attempt: Attempt
) -> Subject:
    told = settings.model_dump(mode="json")
    current = {key: getattr(settings, key) for key in MODELS[name]}
    space = holding(MODELS[name], current)
    fixed = {key: value for key, value in told.items() if key not in space}
    return Subject(
        name=name,
        section=name,
        space=space,
        current=current,
        metric=metric,
        direction="minimize" if metric == LOG_LOSS else "maximize",
        fingerprint=_hashed([name, repr(space), fixed, seed, about]),
        attempt=attempt,
    )


def _hashed(about: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


class _Watched:
    """A learner whose validation is told to a search; the epoch that training keeps is chosen as ever.

    Args:
        learner: the model with its data.
        key: how the history calls the figure.
        figure: computes it from the learner and what its own validation found.
        report: where the figure goes.
    """

    def __init__(self, learner: Any, key: str, figure: Callable[[Any, Mapping[str, float]], float], report: Report) -> None:
        self.title: str = learner.title
        self.examples: int = learner.examples
        self.variables: Sequence[Any] = learner.variables
        self.optimizer = learner.optimizer
        self._learner: Learner = learner
        self._key, self._figure, self._report = key, figure, report
        self._epoch = 0

    def steps(self, rows: Array, rng: np.random.Generator) -> Array:
        """Learn from the rows of some steps."""
        return self._learner.steps(rows, rng)

    def validate(self) -> dict[str, float]:
        """Validate, and report."""
        figures = self._learner.validate()
        value = self._figure(self._learner, figures)
        if not math.isfinite(value):
            raise DivergedError(f"{self._key} became {value} in epoch {self._epoch + 1}")
        self._report(self._epoch, value)
        self._epoch += 1
        return {**figures, self._key: value}


@contextlib.contextmanager
def _workplace(folder: Path) -> Iterator[None]:
    """Free what a training holds when it is over, however it ends: a search trains dozens in one process."""
    from cartwheel.merlin_compat import tf

    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except ConfigError as error:  # of a fit, whose settings are checked already: the loss was no number
        raise DivergedError(error.found) from error
    finally:
        remove_checkpoint(folder)
        tf.keras.backend.clear_session()
        gc.collect()
