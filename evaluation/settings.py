"""What may be set about evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from models.retrieval.settings import TwoStageSettings

Baseline = Literal["popular_in_category", "item_knn", "vsknn", "ease", "als", "bpr", "markov_next_item"]


class EvaluateSettings(TwoStageSettings):
    """How models are judged."""

    cutoffs: tuple[Annotated[int, Field(gt=0)], ...] = (10, 20, 100)
    """Values of k."""
    bootstrap: Annotated[int, Field(ge=100)] = 500
    """Resamples of users behind each interval; for chances of purchase at least 500, which also test the lead in an area."""
    threshold: Literal["f1", "cost"] | Annotated[float, Field(ge=0.0, le=1.0)] = "f1"
    """The least chance that counts as a yes, for accuracy, precision, recall and F1: a number, or chosen for each model on the
    validation rows: ``"f1"`` has the highest F1 there, ``"cost"`` the lowest cost."""
    cost_of_false_positive: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    """With ``threshold = "cost"``: what a wrong yes costs."""
    cost_of_false_negative: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    """With ``threshold = "cost"``: what a wrong no costs, in the same unit."""
    baselines: tuple[Baseline, ...] = (
        "popular_in_category",
        "item_knn",
        "vsknn",
        "ease",
        "als",
        "bpr",
        "markov_next_item",
    )
    """What stands beside the models, fitted on what happened before the split; most popular and recently popular always do."""
    baseline_parameters: Mapping[Baseline, Mapping[str, bool | int | float | str]] = {}
    """``[evaluate.baseline_parameters.<baseline>]``: parameters of a baseline that are not its defaults, such as those that
    `cartwheel tune` found."""

    @model_validator(mode="after")
    def _costs_are_used(self) -> Self:
        costs = (self.cost_of_false_positive, self.cost_of_false_negative)
        if self.threshold == "cost" and None in costs:
            raise ValueError('threshold = "cost" needs cost_of_false_positive and cost_of_false_negative; set both')
        if self.threshold != "cost" and costs != (None, None):
            raise ValueError('cost_of_false_positive and cost_of_false_negative need threshold = "cost"; set it, or neither cost')
        return self
