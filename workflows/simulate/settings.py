"""How large the simulated shop is, and how strong the forces in it are."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Final

from pydantic import Field, ValidationError

from cartwheel.core.errors import ConfigError
from cartwheel.core.settings import Settings
from workflows.settings import SourceSettings

START: Final = datetime(2025, 1, 6, tzinfo=timezone.utc)
"""The first instant of every simulated log: a Monday, and never "now", so that a seed means the same bytes every day."""

_LARGEST_SIZE: Final = 100_000_000
_LONGEST_DAYS: Final = 3650


class SimulateSettings(Settings):
    """What a simulated shop may be asked to be."""

    shoppers: Annotated[int, Field(gt=0, le=_LARGEST_SIZE)] = 4000
    """How many shoppers the shop ever has, those who join over time among them."""
    items: Annotated[int, Field(gt=1, le=_LARGEST_SIZE)] = 2000
    """How many items the shop ever sells, those that are launched over time among them."""
    days: Annotated[int, Field(gt=6, le=_LONGEST_DAYS)] = 60
    """How many days the log covers."""
    sessions_per_week: Annotated[float, Field(gt=0.0, le=70.0)] = 1.6
    """Mean number of sessions of an active shopper in a week; shoppers differ by a heavy tail."""
    views_per_session: Annotated[float, Field(ge=1.0, le=15.0)] = 5.0
    """Mean of the geometric number of views in a session (cut at 25)."""
    categories: Annotated[int, Field(gt=0, le=1000)] | None = None
    """How many categories there are; None means one for every 100 items, from 2 to 40. Never more than items."""
    taste: Annotated[float, Field(ge=0.0, le=5.0)] = 1.0
    """How much personal taste weighs in the choice of an item; at 0 all shoppers differ by category and price alone."""
    joined: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """Share of the shoppers who join over time; the others are customers on the first day."""
    launched: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.25
    """Share of the items that are launched over time."""
    drift: Annotated[float, Field(ge=0.0, le=10.0)] = 1.0
    """How strongly the popularity of items rises and falls with their seasons."""
    promotions: bool = True
    """Whether campaigns lower prices for a few days."""

    @property
    def category_count(self) -> int:
        """The number of categories that the catalogue really gets."""
        wanted = self.categories if self.categories is not None else max(2, min(40, self.items // 100))
        return min(wanted, self.items)

    @property
    def brand_count(self) -> int:
        """The number of brands: one for every 20 items, at least 2."""
        return max(2, self.items // 20)

    @classmethod
    def of(cls, source: SourceSettings) -> SimulateSettings:
        """Take the sizes from the ``[source]`` section of a configuration.

        Raises:
            ConfigError: a size that the simulator cannot honour.
        """
        try:
            return cls(shoppers=source.shoppers, items=source.items, days=source.days)
        except ValidationError as error:
            problem = error.errors()[0]
            field = ".".join(str(part) for part in problem["loc"])
            raise ConfigError(
                f"source.{field} is {problem['input']!r}, which the simulated shop cannot honour: {problem['msg']}.",
                f"Choose shoppers and items up to {_LARGEST_SIZE:,} (at least 2 items) and 7 to {_LONGEST_DAYS} days.",
            ) from error
