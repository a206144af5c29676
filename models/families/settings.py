"""Which family retrieves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import model_validator
from typing_extensions import Self

from cartwheel.core.settings import Settings


class RetrievalSettings(Settings):
    """Which model finds the candidates; the DLRM orders them, whichever it is."""

    model: Literal["two_tower", "als", "bpr"] = "two_tower"
    """The two-tower, or a factor model that may be better where histories say all: ``"als"`` (Hu, Koren and Volinsky, ICDM 2008,
    https://doi.org/10.1109/ICDM.2008.22) or ``"bpr"`` (Rendle et al., UAI 2009, https://arxiv.org/abs/1205.2618)."""
    parameters: Mapping[str, bool | int | float | str] = {}
    """``[retrieval.parameters]``: parameters of a factor model that are not its defaults, such as those that `cartwheel tune` found for
    the baseline of that name. The two-tower has a section of its own."""

    @model_validator(mode="after")
    def _parameters_are_used(self) -> Self:
        if self.model == "two_tower" and self.parameters:
            raise ValueError(
                f'parameters holds {", ".join(self.parameters)}, which model = "two_tower" does not read; '
                'set model = "als" or "bpr", or write settings of the two-tower into [two_tower]'
            )
        return self
