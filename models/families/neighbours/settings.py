"""Settings of the table of items that go together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cartwheel.core.settings import Settings


class ItemToItemSettings(Settings):
    """Neighbour tables of items, which are added to the scores of the retrieval model together with popularity.

    Linden, Smith and York, IEEE Internet Computing 2003, https://doi.org/10.1109/MIC.2003.1167344.
    """

    learner: Literal["auto", "none", "item_knn", "ease", "sequential_rules", "discounted_rules"] = "auto"
    """How the tables are fitted; ``auto`` fits all and weights them on validation, ``none`` uses the retrieval model alone."""
    factors: tuple[Literal["als", "bpr"], ...] = ("als", "bpr")
    """Factor models whose scores are added as well if validation supports it; they learn shoppers by their ids."""
    neighbours: Annotated[int, Field(gt=0, le=1000)] = 50
    """Neighbours kept of each item."""
