"""Validation of predicted effects: the ranking loss, and whether the treatment was random."""

from __future__ import annotations

from typing import Final

import numpy as np

from models.families.family import Floats, TrainingData
from models.families.rows.design import Design
from models.families.rows.lightgbm import LightGBMLearner, LightGBMSettings
from models.metrics.classification import roc_auc
from workflows.tasks.task import Answer

ALIKE: Final = 0.55
"""ROC AUC of a model of who was treated, on validation rows, up to which treatment counts as given at random."""
_LEVELS: Final = 50
_MIN_ROWS: Final = 20


def row_targeting_loss(data: TrainingData, effect: Floats, seed: int) -> Floats:
    """Return [M] of each validation row its score of the effect, times how far below the middle the predicted effect stands in order.

    The mean is the negative of the area between the Qini curve and its diagonal, as an average over rows (Yadlowsky et al., "Evaluating
    treatment prioritization rules via rank-weighted average treatment effects", JASA 2024, https://doi.org/10.1080/01621459.2024.2393466):
    0 where all effects are alike, below it where those who are moved more stand higher. The score of a row is its label, less what trees
    expect of it whether or not it is treated, over the probability of its arm, with the sign of the arm.

    Args:
        data: with the arms of both splits.
        effect: [M] predicted for the validation rows.
        seed: of the trees.
    """
    assert data.treated is not None
    assert data.valid_treated is not None
    logistic = bool(np.isin(data.label, (0.0, 1.0)).all())
    plain = TrainingData(
        data.task,
        Answer.PROBABILITY if logistic else Answer.QUANTITY,
        data.columns,
        data.sizes,
        data.train,
        data.label,
        data.valid.head(0),
        data.valid_label[:0],
    )
    settings = LightGBMSettings(leaves=8, min_rows=100, l2=10.0, rounds_without_validation=60)
    score = LightGBMLearner(settings).fit(plain, seed).scores(data.valid)
    mean = 1.0 / (1.0 + np.exp(-score)) if logistic else score
    share = float(data.treated.mean())
    found = (data.valid_label - mean) * (data.valid_treated - share) / (share * (1.0 - share))
    _, place, counts = np.unique(effect, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2.0) / len(effect)
    return np.asarray(found * (0.5 - middle[place]), np.float64)


def given_at_random(data: TrainingData, seed: int) -> str:
    """Return a sentence where the columns tell who was treated, so that effects are not to be trusted; "" where they do not."""
    from sklearn.linear_model import LogisticRegression

    del seed
    if data.treated is None or data.valid_treated is None or len(np.unique(data.valid_treated)) < 2:
        return ""
    design = Design.of(data.columns, data.train, _LEVELS, _MIN_ROWS, filled=True)
    model = LogisticRegression(max_iter=300).fit(design.matrix(data.train), data.treated.astype(np.int64))
    area = float(roc_auc(data.valid_treated.astype(np.int64), model.decision_function(design.matrix(data.valid))))
    if area <= ALIKE:
        return ""
    return f"the columns tell who was treated (ROC AUC {area:.2f} on validation rows): it was not given at random, so effects may be wrong"
