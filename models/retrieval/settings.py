"""Settings of the two stages together."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cartwheel.core.settings import Settings


class TwoStageSettings(Settings):
    """How many candidates pass from retrieval to ranking, and on how many questions both are tried together."""

    candidates: Annotated[int, Field(gt=0)] = 200
    """Number of retrieved candidates that the second stage ranks, in evaluation and in serving."""
    max_two_stage_anchors: Annotated[int, Field(gt=0)] = 2_000
    """Number of test anchors on which the two stages are evaluated together."""
