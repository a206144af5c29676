"""What may be set about the table of items that go together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cartwheel.core.settings import Settings


class ItemToItemSettings(Settings):
    """The tables of items that go together, which are added to the scores of the retrieval model with what is popular.

    Linden, Smith and York, IEEE Internet Computing 2003, https://doi.org/10.1109/MIC.2003.1167344.
    """

    learner: Literal["auto", "none", "item_knn", "ease", "sequential_rules", "discounted_rules"] = "auto"
    """What they are learnt by; ``auto`` tries all and weighs them on validation, ``none`` leaves the retrieval model alone."""
    factors: tuple[Literal["als", "bpr"], ...] = ("als", "bpr")
    """Factor models whose scores may be added as well, where validation finds them worth it; they learn shoppers by their ids."""
    neighbours: Annotated[int, Field(gt=0, le=1000)] = 50
    """Neighbours kept of each item."""
