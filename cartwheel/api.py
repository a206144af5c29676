"""The API for programs and notebooks: a run, opened from a configuration, its stages and their results.

    >>> import cartwheel
    >>> run = cartwheel.open_run({"run": "runs/tiny", "source": {"shoppers": 300, "items": 60, "days": 20}})
    >>> run.done
    ()

``run.prepare()``, ``run.train()``, ``run.evaluate()`` and ``run.export()`` do what the commands of these names do, and skip what is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from cartwheel.config import RunSettings, load_settings, parse_settings
from cartwheel.core.errors import RunError
from cartwheel.core.run_layout import RunLayout
from cartwheel.pipeline.run_directory import RunDirectory

if TYPE_CHECKING:
    import polars as pl

    from serving.local import LocalRepository

_NAME: Final = "configuration"
Config = str | Path | Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """A run directory and the configuration that made it, or will.

    Attributes:
        settings: the configuration, every path absolute.
    """

    settings: RunSettings

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.settings.run

    @property
    def layout(self) -> RunLayout:
        """Where each file of the run lies."""
        return RunLayout(self.path)

    @property
    def done(self) -> tuple[str, ...]:
        """Names of the stages that were run, in their order."""
        return tuple(RunDirectory(self.path).manifest().stages)

    def prepare(self) -> Run:
        """Check the events, build point-in-time examples and fit the features; return the run.

        Raises:
            CartwheelError: whatever is wrong with the configuration or the data, in a sentence.
        """
        return self._stages("prepare")

    def train(self) -> Run:
        """Train the models; return the run. Raises as ``prepare``."""
        return self._stages("train")

    def evaluate(self) -> Run:
        """Measure every model beside its baselines on the test split; return the run. Raises as ``prepare``."""
        return self._stages("evaluate")

    def export(self) -> Run:
        """Write the model repository, once its answers equal the offline ones; return the run. Raises as ``prepare``."""
        return self._stages("export")

    def all(self) -> Run:
        """Run every stage; return the run. Raises as ``prepare``."""
        return self._stages("prepare", "train", "evaluate", "export")

    def _stages(self, *commands: str) -> Run:
        from cartwheel.pipeline.stages import run_stages

        run_stages(self.settings, commands, Console(stderr=True))
        return self

    @property
    def metrics(self) -> pl.DataFrame:
        """Every metric of the evaluation, one row each, with the bounds of its interval and the hash of its protocol.

        Raises:
            RunError: if the run was not evaluated.
        """
        import polars as pl

        from evaluation.figures import Evaluation

        rows = [_flat(record.protocol.hash, vars(record)) for record in Evaluation.read(self.path).records]
        return pl.DataFrame(rows, infer_schema_length=None)

    def examples(self, split: str, table: str) -> pl.DataFrame:
        """Return raw examples: split ``train``, ``valid`` or ``test``; table ``recommend``, ``ranking``, ``cart`` or ``catalogue``.

        Raises:
            RunError: if the run has no such table.
        """
        from cartwheel.core.frames import read_frame

        return read_frame(self.layout.examples(split, table))

    def task_metrics(self, task: str) -> dict[str, Any]:
        """Return the metrics of a declared task.

        Raises:
            RunError: if it was not evaluated.
        """
        from cartwheel.core.tables import read_json

        return read_json(self.layout.task(task).metrics)

    def local(self) -> LocalRepository:
        """Return the exported repository, which answers requests in this process.

        Raises:
            RunError: if the run was not exported.
        """
        from serving.local import LocalRepository

        return LocalRepository(self.layout.repository)


def _flat(protocol: str, record: Mapping[str, Any]) -> dict[str, Any]:
    wanted = ("task", "model", "role", "metric", "k", "value", "low", "high", "n", "reason")
    return {name: record[name] for name in wanted} | {"protocol": protocol}


def open_run(config: Config) -> Run:
    """Open a run.

    Args:
        config: a configuration file; what one holds, as a mapping; or the folder of a run that has stages done.

    Raises:
        ConfigError: if the configuration has a key or value that is not known.
        RunError: if a folder holds no run.
    """
    if isinstance(config, Mapping):
        return Run(parse_settings(config, _NAME, Path.cwd()))
    path = Path(config).expanduser()
    if not path.is_dir():
        return Run(load_settings(path))
    stages = RunDirectory(path).manifest().stages
    if not stages:
        raise RunError(f"{path} does not contain a run.", "Give a configuration file, or the folder of a run that was prepared.")
    return Run(
        parse_settings({**_merged([record.settings for record in stages.values()]), "run": str(path.resolve())}, _NAME, path)
    )


def _merged(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what stages were run with, section by section; a path that was read from is not needed to read the run."""
    merged: dict[str, Any] = {}
    for record in settings:
        for section, value in record.items():
            merged[section] = {**merged.get(section, {}), **value} if isinstance(value, Mapping) else value
    return merged


def prepare(config: Config) -> Run:
    """Open a run and prepare it; see ``Run.prepare``."""
    return open_run(config).prepare()


def train(config: Config) -> Run:
    """Open a run and train its models; see ``Run.train``."""
    return open_run(config).train()


def evaluate(config: Config) -> Run:
    """Open a run and measure its models; see ``Run.evaluate``."""
    return open_run(config).evaluate()


def export(config: Config) -> Run:
    """Open a run and write its repository; see ``Run.export``."""
    return open_run(config).export()
