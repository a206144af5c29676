"""Settings of the candidate ranker."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cartwheel.core.settings import Settings


class RankerSettings(Settings):
    """The candidate ranker, trained on the candidates of windows before validation (LambdaRank on LightGBM's trees)."""

    trees: Annotated[int, Field(ge=0, le=2000)] = 100
    """Number of trees; 0 disables the ranker."""
    leaves: Annotated[int, Field(ge=2, le=256)] = 15
    """Maximum number of leaves per tree."""
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    """Shrinkage applied to each tree."""
    min_rows: Annotated[int, Field(ge=1)] = 100
    """Minimum number of candidates in a leaf."""
    l2: Annotated[float, Field(ge=0.0)] = 20.0
    """Weight of the squared leaf values."""
    feature_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Share of the features that each tree may split on, drawn with the seed."""
