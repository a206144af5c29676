"""Feature selection: by an L1 penalty, by mutual information, or by permutation on validation rows.

A number and the column that flags where it is missing stay or go together. At least one column stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from models.families.family import Fitted, Floats, TrainingData
from models.families.rows.design import Design
from models.families.rows.lightgbm import LightGBMLearner
from models.families.rows.one_feature import row_loss
from models.tasks.reasons import reason_groups
from models.training.tables import Table
from workflows.features.column import Column
from workflows.tasks.task import Answer

Method = Literal["none", "l1", "mutual_information", "permutation"]
Ints = npt.NDArray[np.int64]

SHUFFLES: Final = 20
"""Shuffled labels that a column must tell more of than of any: noise stays about once in 21 times."""
REPEATS: Final = 3
"""Times that a column is shuffled on validation rows."""
MAX_ROWS: Final = 50_000
"""Training rows that L1 and mutual information look at, sampled with the seed."""
_LEVELS: Final = 50
_MIN_ROWS: Final = 20
_BINS: Final = 10


@dataclass(frozen=True)
class Selection:
    """What selection kept.

    Attributes:
        kept: columns, in their order.
        dropped: column -> why.
    """

    kept: tuple[Column, ...]
    dropped: Mapping[str, str]


def select(data: TrainingData, method: Method, seed: int) -> Selection:
    """Choose columns.

    Args:
        data: training rows, and validation rows for permutation, without which it keeps all.
        method: how; ``none`` keeps all.
        seed: of samples and shuffles.
    """
    if method == "none" or (method == "permutation" and not len(data.valid)):
        return Selection(data.columns, {})
    groups = reason_groups(data.columns)
    kept, why = _METHODS[method](data, groups, seed)
    names = {name for group in kept for name in groups[group]}
    dropped = {group: why for group in groups if group not in kept}
    return Selection(tuple(column for column in data.columns if column.name in names), dropped)


Groups = Mapping[str, Sequence[str]]
"""Column -> the columns that stay or go with it."""


def _by_l1(data: TrainingData, groups: Groups, seed: int) -> tuple[list[str], str]:
    """Keep what has a weight in a linear model with the least L1 penalty under which none of ``SHUFFLES`` shuffled labels has any.

    The lasso (Tibshirani, 1996) of the label, or of log(1 + quantity), its penalty by Sabourin, Valdar and Nobel, "A permutation approach
    for selecting the penalty parameter in penalized model selection", Biometrics 2015, https://doi.org/10.1111/biom.12359.
    """
    from sklearn.linear_model import lasso_path

    rows = _sample(len(data.label), seed)
    design = Design.of(data.columns, data.train, _LEVELS, _MIN_ROWS)
    features = design.matrix(data.train.at(rows)).astype(np.float64)
    spread = features.std(axis=0)
    features = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    target = data.label[rows] if data.answer is Answer.PROBABILITY else np.log1p(data.label[rows])
    target = target - target.mean()
    rng = np.random.default_rng(seed)
    shuffled = np.stack([rng.permutation(target) for _ in range(SHUFFLES)], axis=1)
    penalty = float(np.abs(features.T @ shuffled).max()) / len(target)
    _, weights, _ = lasso_path(features, target, alphas=[penalty])
    strength = {group: float(np.abs(weights[_columns_of(design, names)]).max()) for group, names in groups.items()}
    alone = {group: float(np.abs(features[:, _columns_of(design, names)].T @ target).max()) for group, names in groups.items()}
    return _kept([group for group in groups if strength[group] > 0], alone), "an L1 penalty leaves it no weight"


def _by_information(data: TrainingData, groups: Groups, seed: int) -> tuple[list[str], str]:
    """Keep what shares more information with the label than with any of ``SHUFFLES`` shuffled labels."""
    rows = _sample(len(data.label), seed)
    design = Design.of(data.columns, data.train, _LEVELS, _MIN_ROWS)
    features, label = design.matrix(data.train.at(rows)), _codes(data.label[rows].astype(np.float32))
    rng = np.random.default_rng(seed)
    labels = [label, *(rng.permutation(label) for _ in range(SHUFFLES))]
    found = np.array([[_information(codes, each) for each in labels] for codes in map(_codes, features.T)])
    strength = {}
    for group, names in groups.items():
        inside = _columns_of(design, names)
        strength[group] = float(found[inside, 0].max() - found[inside, 1:].max())
    kept = _kept([group for group in groups if strength[group] > 0], strength)
    return kept, f"it shares no more information with the label than with {SHUFFLES} shuffled ones"


def _by_permutation(data: TrainingData, groups: Groups, seed: int) -> tuple[list[str], str]:
    """Keep what gradient boosting does worse without on validation rows, by more than one standard error (Breiman, 2001).

    Columns that tell the same stand in for each other, so what is dropped is dropped together only where a model without it all is as
    good; else the more important half of it is taken back, until it is.
    """
    learner = LightGBMLearner()
    whole = learner.fit(data, seed)
    loss = _loss(whole, data, data.valid)
    gain, error = _importance(whole, data, groups, loss, seed)
    dropped = sorted((group for group in groups if gain[group] <= error[group]), key=lambda group: gain[group])
    while dropped:
        kept = [group for group in groups if group not in dropped]
        if kept:
            names = {name for group in kept for name in groups[group]}
            part = replace(data, columns=tuple(column for column in data.columns if column.name in names))
            behind = _loss(learner.fit(part, seed), part, data.valid) - loss
            if behind.mean() <= behind.std() / np.sqrt(len(behind)):
                break
        dropped = dropped[: len(dropped) // 2]
    kept = [group for group in groups if group not in dropped]
    return kept, "gradient boosting does no worse on validation rows where it is shuffled"


_METHODS: Final = {"l1": _by_l1, "mutual_information": _by_information, "permutation": _by_permutation}


def _importance(
    model: Fitted, data: TrainingData, groups: Groups, loss: Floats, seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return column -> mean loss that shuffling it adds, and its standard error."""
    rng = np.random.default_rng(seed)
    gain, error = {}, {}
    for group, names in groups.items():
        added = np.zeros(len(loss))
        for _ in range(REPEATS):
            order = rng.permutation(len(loss))
            shuffled = {name: data.valid[name][order] for name in names}
            added += _loss(model, data, Table(data.valid.folder, {**data.valid.columns, **shuffled})) - loss
        added /= REPEATS
        gain[group], error[group] = float(added.mean()), float(added.std() / np.sqrt(len(added)))
    return gain, error


def _loss(model: Fitted, data: TrainingData, rows: Table) -> Floats:
    return row_loss(data.valid_label, model.scores(rows), data.answer)


def _kept(kept: list[str], strength: Mapping[str, float]) -> list[str]:
    return kept or [max(strength, key=lambda group: strength[group])]


def _sample(number: int, seed: int) -> Ints:
    return np.sort(np.random.default_rng(seed).permutation(number)[:MAX_ROWS])


def _columns_of(design: Design, names: Sequence[str]) -> Ints:
    """Return the columns of the matrix that some columns became."""
    owner = np.repeat([block.column.name for block in design.blocks], [block.width for block in design.blocks])
    return np.flatnonzero(np.isin(owner, list(names)))


def _codes(values: npt.NDArray[np.float32]) -> Ints:
    """Return the number of each value's bin: of equal values, or of as many rows where there are many values."""
    distinct, codes = np.unique(values, return_inverse=True)
    if len(distinct) <= _BINS:
        return codes.astype(np.int64)
    edges = np.unique(np.quantile(values, np.linspace(0.0, 1.0, _BINS + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def _information(first: Ints, second: Ints) -> float:
    """Return the mutual information of two codes in nats, by their frequencies.

    >>> round(_information(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])), 4)
    0.6931
    """
    width = int(second.max()) + 1
    joint = np.bincount(first * width + second, minlength=(int(first.max()) + 1) * width).reshape(-1, width) / len(first)
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    return float(np.sum(joint[there] * np.log(joint[there] / apart[there])))
