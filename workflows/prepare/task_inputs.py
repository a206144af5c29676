"""The files from outside a run that a declared task is made of: the table that it brings, and the shop's own modules."""

from __future__ import annotations

from pathlib import Path

from cartwheel.core.hooks import load_hook
from workflows.events.sources import open_source
from workflows.settings import SourceSettings
from workflows.tasks.settings import TaskSettings


def task_inputs(name: str, task: TaskSettings, folder: Path) -> list[Path]:
    """Return the files of a task, none where it reads the run's events alone.

    Args:
        name: of the task, for messages.
        task: its section.
        folder: of the configuration file.

    Raises:
        ConfigError: if a module cannot be imported.
        DataError: if the table is not there.
    """
    files = [_module_of(task.python, f"tasks.{name}.python", folder)] if task.python else []
    files += [_module_of(hook, f"tasks.{name}.features", folder) for hook in task.features or () if ":" in hook]
    if task.table:
        files += open_source(SourceSettings(kind="table", path=folder / task.table), folder).inputs()
    return files


def _module_of(hook: str, where: str, folder: Path) -> Path:
    import sys

    load_hook(hook, where, folder)
    file = sys.modules[hook.partition(":")[0]].__file__
    assert file is not None
    return Path(file)
