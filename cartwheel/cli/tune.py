"""``cartwheel tune``: searches for better settings of one model on the validation split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cartwheel.core.errors import UsageError
from cartwheel.core.run_layout import RELATIVE, SNAPSHOT, RunLayout

if TYPE_CHECKING:
    from cartwheel.config import RunSettings
    from models.tuning.study import Tuned
    from models.tuning.subject import Subject

_NEEDS: Final = ("events", "examples", "features")
_TASK_NEEDS: Final = ("tasks",)
_TEST: Final = tuple(
    f"{folder.as_posix()}/"
    for folder in (
        RELATIVE.examples_split("test"),
        RELATIVE.features_split("test"),
        RELATIVE.features_split(SNAPSHOT),
        RELATIVE.simulation,
    )
)
"""Files that tuning does without."""
_SHOWN: Final = 5


def tune(
    config: Annotated[Path, typer.Argument(help="The configuration file of a prepared run.")] = Path("cartwheel.toml"),
    model: Annotated[
        str,
        typer.Option(
            help="two_tower, ranking, cart, a baseline (popular_in_category, item_knn, vsknn, ease, als, bpr, ...), or a learner of a "
            "declared task, such as churn.lightgbm."
        ),
    ] = "two_tower",
    trials: Annotated[
        Optional[int],  # noqa: UP045 - typer on 3.10
        typer.Option(help="Number of trials [default: 20, unless --minutes is given].", min=1),
    ] = None,
    minutes: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Start no trial after this many minutes of trials."),
    ] = None,
    write: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="Write a copy of the configuration with the best settings, in the same folder."),
    ] = None,
    run: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--run", help="Run directory, instead of the one in the configuration."),
    ] = None,
) -> None:
    """Search for better settings of a model on the validation split.

    Trials are trained on the train split and evaluated on the validation split, by NDCG@10 or, for probabilities, by log loss. They cannot
    see the test split: they work in a folder without it. The first trial uses the current configuration.

    The search is stored in tuning/ of the run. The same command resumes it, and --trials and --minutes include earlier calls.
    See docs/tuning.md for the search spaces.

    Example: cartwheel tune shop.toml --model two_tower --minutes 30 --write tuned.toml
    """
    from cartwheel.cli.tuned_config import section_text, write_copy
    from cartwheel.config import load_settings

    settings = load_settings(config)
    if run is not None:
        settings = settings.model_copy(update={"run": run.resolve()})
    _check(config, minutes, write)
    found = search(settings, model, trials, minutes, Console(stderr=True))
    console = Console()
    _show(found, console)
    values = found.best.values
    if write is not None:
        write_copy(config, write, found.subject.section, values, settings.run)
        console.print(
            f"Written to {write}. Continue with `cartwheel train {write}`.", markup=False, highlight=False, soft_wrap=True
        )
    else:
        console.print("Add this to the configuration:\n")
        print(section_text(found.subject.section, values))


def search(settings: RunSettings, model: str, trials: int | None, minutes: float | None, console: Console) -> Tuned:
    """Tune one model of a prepared run.

    Args:
        settings: the configuration; ``settings.run`` is the run directory.
        model: a trained model, a baseline, or a learner of a declared task (``churn.lightgbm``).
        trials: how many, those of earlier searches counted; None with ``minutes`` for no limit.
        minutes: how long, as ``Budget``.
        console: where progress goes.

    Raises:
        UsageError: if there is nothing to tune by that name.
        RunError: if the run is not prepared with these settings, or another process works in it.
        DataError: if the validation split has nothing to judge by.
    """
    from cartwheel.pipeline.run_directory import RunDirectory
    from cartwheel.pipeline.stages import require_done, require_training_packages
    from models.tuning.space import space_of
    from models.tuning.study import TRIALS, Budget
    from models.tuning.study import tune as search_settings

    of_task = "." in model
    if not of_task:
        space_of(model)
    require_training_packages()
    run = RunDirectory(settings.run)
    budget = Budget(TRIALS if trials is None and minutes is None else trials, minutes)

    def tell(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    with run.lock():
        require_done(settings, run, _TASK_NEEDS if of_task else _NEEDS, without=_TEST)
        return search_settings(_subject(settings, model), RunLayout(settings.run).tuning, budget, settings.seed, tell)


def _subject(settings: RunSettings, model: str) -> Subject:
    from models.tuning.space import MODELS
    from models.tuning.subjects import baseline_subject, dlrm_subject, two_tower_subject
    from models.tuning.validation import lay_out

    if "." in model:
        return _task_subject(settings, *model.split(".", 1))
    data = lay_out(settings.run, RunLayout(settings.run).tuning_data, events=model not in MODELS)
    if model == "two_tower":
        return two_tower_subject(data, settings.two_tower, settings.seed)
    if model in MODELS:
        return dlrm_subject(data, model, getattr(settings, model), settings.seed)
    parameters: Mapping[Any, Mapping[str, Any]] = settings.evaluate.baseline_parameters
    return baseline_subject(data, model, parameters.get(model, {}), settings.seed)


def _task_subject(settings: RunSettings, task: str, learner: str) -> Subject:
    from models.tuning.task_subject import task_subject
    from workflows.encoding.task_graph import Encoding

    if task not in settings.tasks:
        raise UsageError(f"There is no task {task!r} to tune.", f"Declared tasks: {', '.join(settings.tasks) or 'none'}.")
    layout = RunLayout(settings.run).task(task)
    encoding, current = Encoding.read(layout), settings.tasks[task].parameters.get(learner, {})
    about = encoding.columns, encoding.sizes
    return task_subject(layout, *about, learner, current, settings.seed, settings.folder, encoding.scales)


def _check(config: Path, minutes: float | None, write: Path | None) -> None:
    if minutes is not None and not minutes > 0:
        raise UsageError(f"--minutes is {minutes}.", "Give a number above 0.")
    if write is None:
        return
    if write.resolve() == config.resolve():
        raise UsageError(f"--write names the configuration {config} itself.", "Name another file; the original is not modified.")
    if write.resolve().parent != config.resolve().parent:
        raise UsageError(
            f"--write names {write}, which is not in the folder of {config}; relative paths would change.",
            f"Name a file in {config.resolve().parent}.",
        )


def _show(found: Tuned, console: Console) -> None:
    """Print the best trials, and what came of the others."""
    best = found.ranked[:_SHOWN]
    table = Table("", *(f"trial {trial.number}" for trial in best), title=f"{found.subject.name}: best on the validation split")
    table.add_row(found.subject.metric, *(f"{trial.value:.4f}" for trial in best), end_section=True)
    for name in found.subject.space:
        table.add_row(name, *(escape(_told(trial.values[name])) for trial in best))
    console.print(table)
    ended = [trial.outcome for trial in found.trials]
    counts = ", ".join(f"{ended.count(each)} {each}" for each in ("complete", "pruned", "diverged") if each in ended)
    console.print(
        f"{len(ended)} trial{'s' * (len(ended) != 1)}: {counts}. The metrics are from the split used for selection and too optimistic; "
        "`cartwheel evaluate` evaluates the choice on the test split.",
        markup=False,
        highlight=False,
    )


def _told(value: Any) -> str:
    return "none" if value is None else str(list(value) if isinstance(value, list | tuple) else value)
