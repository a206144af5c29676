"""A simulated shop whose truth is known: the embedded source of events, and the yardstick for models.

``simulate`` writes a log and, beside it, everything that the generator knows; ``workflows.simulate.truth`` turns that into an
oracle, so that a model can be placed between "most popular" and "perfect".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cartwheel.core.errors import ConfigError, UsageError
from workflows.simulate.settings import SimulateSettings

__all__ = ["SimulateSettings", "simulate"]


def simulate(settings: SimulateSettings, seed: int, folder: Path) -> None:
    """Simulate a shop; write ``folder/events.parquet`` (canonical events) and ``folder/truth/``.

    The same settings and seed give the same bytes on the same machine and package versions, whatever the number of threads.

    Args:
        settings: sizes and strengths.
        seed: a non-negative integer that fixes everything.
        folder: where to write; created if missing, an earlier simulation in it is replaced.

    Raises:
        ConfigError: a negative seed.
        UsageError: ``folder`` cannot be written.
    """
    from workflows.simulate.funnel import make_funnel
    from workflows.simulate.journeys import make_sessions, make_views
    from workflows.simulate.world import make_world
    from workflows.simulate.write import events_frame, truth_frames, write_shop

    if seed < 0:
        raise ConfigError(f"The seed is {seed}, but a seed is 0 or more.", "Choose a non-negative integer, for example 1.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: no folder can be made there ({error.strerror}).", "Choose another output folder.") from error
    # Streams of their own, so that a change in one part of the world leaves the draws of the others as they were.
    of_world, of_sessions, of_views, of_funnel = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4))
    world = make_world(settings, of_world)
    sessions = make_sessions(settings, world, of_sessions)
    views = make_views(settings, world, sessions, of_views)
    funnel = make_funnel(world, sessions, views, settings.days, of_funnel)
    write_shop(folder, settings, seed, truth_frames(world, sessions, views, funnel), events_frame(world, sessions, views, funnel))
