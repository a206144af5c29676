"""Continues the run whose version is served, up to the deployment of the new version."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from cartwheel.config import RunSettings
from cartwheel.core.run_layout import RunLayout
from cartwheel.core.tables import read_json
from cartwheel.pipeline.continuing.arrivals import find_arrivals
from cartwheel.pipeline.continuing.base import Base, find_base, said
from cartwheel.pipeline.continuing.outcome import Outcome, continuations, next_run
from cartwheel.pipeline.continuing.plan import going_on, split_anew, stages_of
from cartwheel.pipeline.stages import COMMANDS, require_training_packages, run_stages
from serving.contract.version import version_of


@dataclass(frozen=True)
class Continued:
    """A run that went on, exported and compared.

    Attributes:
        run: its directory.
        outcome: so far.
        is_not_worse: whether it may be brought in.
    """

    run: Path
    outcome: Outcome
    is_not_worse: bool


def go_on(settings: RunSettings, landed: Path | None, console: Console) -> Continued | str:
    """Append, train on, compare and export; what is done and unchanged is skipped.

    Args:
        settings: the configuration; the run that it names holds all that went on from it.
        landed: folder that ``cartwheel land`` wrote to; None is ``landed`` of the run.
        console: where to say what is done.

    Returns:
        The run, or a sentence where there is nothing new to go on with.

    Raises:
        RunError: if there is no run to continue.
        ConfigError: if the configuration is no longer that of the run.
        CartwheelError: whatever a stage finds wrong.
    """
    require_training_packages()
    base = find_base(settings)
    run = next_run(settings.run)
    if told := _nothing_new(settings, base, run, landed):
        return told
    arrivals = find_arrivals(settings, base.run, landed)
    outcome = Outcome(base=base.name, before=base.version, settings=said(settings))
    run.mkdir(parents=True, exist_ok=True)
    outcome.write(run)
    console.print(f"{run} continues {base.run}, whose version {base.version} is served", highlight=False, soft_wrap=True)
    own = going_on(settings, base, run)
    stages = stages_of(own, base, arrivals)
    run_stages(own, (stages[0].command,), console, stages[:1])
    run_stages(split_anew(own, base), COMMANDS, console, stages)
    comparison = read_json(RunLayout(run).comparison)
    version = version_of(RunLayout(run).repository)
    outcome = outcome.model_copy(update={"version": version, "why": str(comparison["sentence"])})
    return Continued(run, outcome, bool(comparison["is_not_worse"]))


def _nothing_new(settings: RunSettings, base: Base, run: Path, landed: Path | None) -> str:
    """Return a sentence where the log of the base, or of a later run that was decided on, holds all that there is; else ""."""
    if not find_arrivals(settings, base.run, landed):
        return f"There is nothing new: {base.run}, whose version {base.version} is served, holds all events that there are."
    for later in reversed(continuations(settings.run)):
        outcome = Outcome.read(later)
        if later == run or outcome is None or outcome.before != base.version:
            continue
        if not find_arrivals(settings, later, landed):
            return f"There is nothing new since {later}, which went on from what is served. {outcome.sentence}"
    return ""
