"""One stage of a run as work to measure, made in the process that is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.encoding.child import Stages
from cartwheel.config import load_settings
from cartwheel.pipeline.reads import handed
from cartwheel.pipeline.stages import STAGES, needs

WITH_TENSORFLOW: Final = frozenset({"retrieval", "ranker", "ranking", "cart", "task_models", "evaluate", "export"})


def one(config: str, stage: str) -> Stages:
    """Return one stage of the run that a configuration names; those before it have been run."""
    settings = load_settings(Path(config))
    [found] = [each for each in STAGES if each.name == stage]
    return [(stage, lambda: found.work(settings.run, handed(settings, needs(found, settings))))]


def simulated(out: str, shoppers: int, items: int, days: int, seed: int) -> Stages:
    """Return the simulation of a shop."""
    from cartwheel.pipeline.work import simulate_shop

    return [("simulate", lambda: simulate_shop(Path(out), shoppers, items, days, seed))]
