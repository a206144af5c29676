"""The files from outside a run that a declared task is made of: the table that it brings, and the shop's own modules."""

from __future__ import annotations

from pathlib import Path

from cartwheel.core.hooks import module_file
from workflows.events.sources import open_source
from workflows.settings import SourceSettings
from workflows.tasks.task import Task


def task_inputs(task: Task, python: str, folder: Path) -> list[Path]:
    """Return the files that the examples of a task are made of, none where they are of the run's events alone.

    Args:
        task: the task.
        python: ``module:name`` that it came from; empty for one of the configuration.
        folder: of the configuration file.

    Raises:
        ConfigError: if a module cannot be imported.
        DataError: if the table is not there.
    """
    files = [module_file(python, f"tasks.{task.name}.python", folder)] if python else []
    files += [module_file(hook, f"tasks.{task.name}.features", folder) for hook in task.families if ":" in hook]
    if task.table:
        files += open_source(SourceSettings(kind="table", path=Path(task.table.path)), folder).inputs()
    return files
