"""Settings of the retrieval family."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import model_validator
from typing_extensions import Self

from cartwheel.core.settings import Settings


class RetrievalSettings(Settings):
    """The retrieval model, whose candidates the second stage ranks."""

    model: Literal["two_tower", "als", "bpr"] = "two_tower"
    """The two-tower, or a factor model, which may be better if the interaction history is the only informative input: ``"als"`` (Hu, Koren
    and Volinsky, ICDM 2008, https://doi.org/10.1109/ICDM.2008.22) or ``"bpr"`` (Rendle et al., UAI 2009,
    https://arxiv.org/abs/1205.2618)."""
    parameters: Mapping[str, bool | int | float | str] = {}
    """``[retrieval.parameters]``: non-default parameters of a factor model, such as those found by `cartwheel tune` for the baseline of
    that name. The two-tower has a section of its own."""

    @model_validator(mode="after")
    def _parameters_are_used(self) -> Self:
        if self.model == "two_tower" and self.parameters:
            raise ValueError(
                f'parameters holds {", ".join(self.parameters)}, which model = "two_tower" does not read; '
                'set model = "als" or "bpr", or write settings of the two-tower into [two_tower]'
            )
        return self
