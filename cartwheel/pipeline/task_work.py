"""What the stages of declared tasks do, and what they read from outside the run: the shop's own tables and modules."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from cartwheel.config import RunSettings
from cartwheel.core.hooks import module_file
from cartwheel.core.run_layout import RunLayout
from cartwheel.pipeline.run_directory import stamps
from cartwheel.pipeline.work import warn

if TYPE_CHECKING:
    from workflows.tasks.task import Task


def tasks_from(settings: RunSettings) -> object:
    """Return what identifies what declared tasks read from outside the run: their tables and the shop's own modules.

    Raises:
        ConfigError: if a module cannot be imported.
        DataError: if a table is not there.
    """
    from workflows.prepare.task_inputs import task_inputs

    return {
        task.name: stamps(task_inputs(task, settings.tasks[task.name].python, settings.folder)) for task in _declared(settings)
    }


def learners_from(settings: RunSettings) -> object:
    """Return what identifies the modules of the shop's own learners, each checked before anything is trained.

    Raises:
        ConfigError: if a task names a learner that there is not, or that cannot answer it, or a setting is not accepted.
    """
    if not settings.tasks:
        return {}
    from models.families.row_registry import learners_for

    found = {}
    for task in _declared(settings):
        where = f"tasks.{task.name}.learners"
        if task.answer is not None:
            learners_for(task.answer, task.learners, settings.tasks[task.name].parameters, where, settings.folder)
        found[task.name] = stamps([module_file(each, where, settings.folder) for each in task.learners if ":" in each])
    return found


def metrics_from(settings: RunSettings) -> object:
    """Return what identifies the modules of the shop's own metrics, each checked before anything is measured.

    Raises:
        ConfigError: if a task names a metric that there is not, or that does not judge its answer.
    """
    if not any(task.python or task.metrics for task in settings.tasks.values()):
        return {}
    from evaluation.metric import added_metrics

    found = {}
    for task in _declared(settings):
        where = f"tasks.{task.name}.metrics"
        if task.answer is not None:
            added_metrics(task.metrics, task.answer, where, settings.folder)
        found[task.name] = stamps([module_file(each, where, settings.folder) for each in task.metrics if ":" in each])
    return found


def tasks(run: Path, settings: RunSettings) -> None:
    """Build and encode the examples of the declared tasks; those of tasks that are no longer declared go."""
    layout = RunLayout(run)
    shutil.rmtree(layout.tasks_folder, ignore_errors=True)
    if not settings.tasks:
        return
    from workflows.encoding.task_graph import encode_task
    from workflows.features.own import own_families
    from workflows.prepare.tasks import build_tasks

    made = build_tasks(run, _declared(settings), settings.prepare, settings.seed, own_families(run), settings.folder)
    for name, examples in made.items():
        encode_task(layout.task(name), examples.columns, settings.features.engine)
        warn(examples.spec.get("warnings", ()))


def task_models(run: Path, settings: RunSettings) -> None:
    """Fit every learner of every declared task, and choose on validation which is served."""
    layout = RunLayout(run)
    shutil.rmtree(layout.task_models_folder, ignore_errors=True)
    if not settings.tasks:
        return
    from models.tasks.train import TaskTrainingSettings, train_task
    from workflows.encoding.task_graph import Encoding

    for name, task in settings.tasks.items():
        encoding = Encoding.read(layout.task(name))
        chosen = TaskTrainingSettings(select=task.select, interval=task.interval)
        files = layout.task(name)
        board = train_task(
            files, encoding.columns, encoding.sizes, settings.seed, chosen, task.parameters, settings.folder, encoding.scales
        )
        Console(stderr=True).print(f"{name}: {board.served} is served, {board.reason}", highlight=False)


def task_evaluation(run: Path, settings: RunSettings) -> None:
    """Measure every learner of every declared task on its test split; draw their page."""
    layout = RunLayout(run)
    shutil.rmtree(layout.task_evaluation_folder, ignore_errors=True)
    if not settings.tasks:
        return
    from evaluation.report.task_page import write_task_page
    from evaluation.task_metrics import evaluate_task

    resamples, seed, folder = settings.evaluate.bootstrap, settings.seed, settings.folder
    found = [evaluate_task(layout.task(name), resamples, seed, folder) for name in settings.tasks]
    write_task_page(layout.task_report, found)
    Console(stderr=True).print(f"report: {layout.task_report}", soft_wrap=True)


def _declared(settings: RunSettings) -> tuple[Task, ...]:
    if not settings.tasks:
        return ()
    from workflows.tasks.settings import declared_tasks

    return declared_tasks(settings.tasks, settings.prepare, settings.folder)
