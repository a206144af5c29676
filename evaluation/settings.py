"""Settings of the evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from models.retrieval.settings import TwoStageSettings

Baseline = Literal["popular_in_category", "item_knn", "vsknn", "ease", "als", "bpr", "markov_next_item"]


class EvaluateSettings(TwoStageSettings):
    """How models are evaluated."""

    cutoffs: tuple[Annotated[int, Field(gt=0)], ...] = (10, 20, 100)
    """Values of k."""
    bootstrap: Annotated[int, Field(ge=100)] = 500
    """Bootstrap resamples of users for each interval; for purchase probabilities at least 500, which are also used to test differences in
    an area under a curve."""
    threshold: Literal["f1", "cost"] | Annotated[float, Field(ge=0.0, le=1.0)] = "f1"
    """Decision threshold on the probability, for accuracy, precision, recall and F1: a number, or chosen for each model on the validation
    rows: ``"f1"`` maximises F1 there, ``"cost"`` minimises the cost."""
    cost_of_false_positive: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    """With ``threshold = "cost"``: cost of a false positive."""
    cost_of_false_negative: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    """With ``threshold = "cost"``: cost of a false negative, in the same unit."""
    baselines: tuple[Baseline, ...] = (
        "popular_in_category",
        "item_knn",
        "vsknn",
        "ease",
        "als",
        "bpr",
        "markov_next_item",
    )
    """Baselines to compare with, fitted on the events before the split; most popular and recently popular are always included."""
    baseline_parameters: Mapping[Baseline, Mapping[str, bool | int | float | str]] = {}
    """``[evaluate.baseline_parameters.<baseline>]``: non-default parameters of a baseline, such as those found by `cartwheel tune`."""

    @model_validator(mode="after")
    def _costs_are_used(self) -> Self:
        costs = (self.cost_of_false_positive, self.cost_of_false_negative)
        if self.threshold == "cost" and None in costs:
            raise ValueError('threshold = "cost" needs cost_of_false_positive and cost_of_false_negative; set both')
        if self.threshold != "cost" and costs != (None, None):
            raise ValueError('cost_of_false_positive and cost_of_false_negative need threshold = "cost"; set it, or neither cost')
        return self
