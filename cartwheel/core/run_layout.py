"""The layout of a run directory: the only place that defines the names of its files and folders.

A stage opens what it reads and writes through ``RunLayout``; nothing else joins paths of a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

SNAPSHOT: Final = "snapshot"
"""Beside ``train``, ``valid`` and ``test``, the split of what is known when the log ends, which the server answers from."""
ITEM_TO_ITEM: Final = "item_to_item"
"""Folder of the neighbours of items among the models."""


@dataclass(frozen=True)
class EventsLayout:
    """The folder of the checked events.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def events(self) -> Path:
        """The checked events, sorted by time."""
        return self.path / "events.parquet"

    @property
    def quarantine(self) -> Path:
        """The rows that were refused, each with its reason."""
        return self.path / "quarantine.parquet"

    @property
    def identity_quarantine(self) -> Path:
        """The rows of the table of visitors and customers that were refused, each with its reason."""
        return self.path / "identity.quarantine.parquet"

    @property
    def summary(self) -> Path:
        """What was read, kept and refused."""
        return self.path / "summary.json"


@dataclass(frozen=True)
class ExamplesLayout:
    """The folder of the raw examples.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def report(self) -> Path:
        """Instants of the split, numbers of rows and warnings."""
        return self.path / "report.json"

    @property
    def columns(self) -> Path:
        """JSON: the own columns of the run's items."""
        return self.path / "columns.json"

    def split(self, split: str) -> Path:
        """Return the folder of a split."""
        return self.path / split

    def table(self, split: str, name: str) -> Path:
        """Return the file of the raw rows of a table: of a task, or ``catalogue``."""
        return self.split(split) / f"{name}.parquet"


@dataclass(frozen=True)
class TablesLayout:
    """The folder of the checked side tables and of the own features made of them.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def summary(self) -> Path:
        """JSON: table -> what was read, kept and refused, and how its keys meet the log's."""
        return self.path / "summary.json"

    @property
    def own_features(self) -> Path:
        """JSON: the own features, each with its columns and where its values come from."""
        return self.path / "own.json"

    def table(self, name: str) -> Path:
        """Return the Parquet file of a checked table: ``key``, ``valid_from`` (null is always), then its columns."""
        return self.path / f"{name}.parquet"

    def quarantine(self, name: str) -> Path:
        """Return the Parquet file of the refused rows of a table, each with its reason."""
        return self.path / f"{name}.quarantine.parquet"

    def history(self, feature: str) -> Path:
        """Return the Parquet file that says from when on whose value of an own feature is which: ``key``, ``time``, ``code``."""
        return self.path / "own" / f"{feature}.history.parquet"

    def values(self, feature: str) -> Path:
        """Return the Parquet file of the distinct values of an own feature: ``raw`` as the shop has it, ``value``."""
        return self.path / "own" / f"{feature}.values.parquet"


@dataclass(frozen=True)
class SnapshotLayout:
    """The folder of what is known when the log ends.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def state(self) -> Path:
        """Instant and settings of the snapshot."""
        return self.path / "state.json"

    def table(self, name: str) -> Path:
        """Return the file of ``items``, ``users``, ``queries`` or ``requests``."""
        return self.path / f"{name}.parquet"


@dataclass(frozen=True)
class WorkflowLayout:
    """The folder of the fitted workflows and their ONNX graphs.

    Attributes:
        path: the folder.
    """

    path: Path

    def workflow(self, name: str) -> Path:
        """Return the folder of a saved NVTabular workflow."""
        return self.path / name

    def graph(self, name: str) -> Path:
        """Return the file of a compiled feature graph: ``query``, ``item``, ``cross`` or ``cart``."""
        return self.path / f"{name}.onnx"


@dataclass(frozen=True)
class FeaturesLayout:
    """The folder of the encoded tables.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def report(self) -> Path:
        """Cardinalities, numbers of rows and warnings."""
        return self.path / "report.json"

    def split(self, split: str) -> Path:
        """Return the folder of a split."""
        return self.path / split

    def table(self, split: str, name: str) -> Path:
        """Return the folder of an encoded table, row-aligned with the raw one of that name."""
        return self.split(split) / name


@dataclass(frozen=True)
class ModelLayout:
    """The folder of one trained model; which of the files there are depends on the model.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def scores(self) -> Path:
        """ONNX: encoded columns -> logits."""
        return self.path / "model.onnx"

    @property
    def query(self) -> Path:
        """ONNX of a retrieval model: encoded QUERY columns -> query vectors."""
        return self.path / "query.onnx"

    @property
    def item(self) -> Path:
        """ONNX of a retrieval model: encoded ITEM columns -> item vectors."""
        return self.path / "item.onnx"

    @property
    def item_vectors(self) -> Path:
        """NumPy array of the vectors of the snapshot's items, in its order."""
        return self.path / "item_vectors.npy"

    @property
    def offline(self) -> Path:
        """Scores of the first test rows by the framework that trained, which serving is compared with."""
        return self.path / "offline.parquet"

    @property
    def offline_queries(self) -> Path:
        """Query vectors of the snapshot's shoppers by the framework that trained, which serving is compared with."""
        return self.path / "offline_queries.parquet"

    @property
    def weights(self) -> Path:
        """NumPy archive of the weights."""
        return self.path / "weights.npz"

    @property
    def config(self) -> Path:
        """Settings, sizes and notes, from which the model is rebuilt."""
        return self.path / "config.json"

    @property
    def history(self) -> Path:
        """Losses and validation metrics by epoch."""
        return self.path / "history.json"

    @property
    def calibration(self) -> Path:
        """Slopes and intercepts that turn logits of cart lines into probabilities."""
        return self.path / "calibration.json"

    @property
    def head(self) -> Path:
        """Weights of the model of whole carts."""
        return self.path / "head.json"

    @property
    def fusion(self) -> Path:
        """Weights of retrieval and ranking in the final score."""
        return self.path / "fusion.json"

    @property
    def blend(self) -> Path:
        """Weights of what retrieval adds up."""
        return self.path / "blend.json"

    @property
    def checkpoint(self) -> Path:
        """Folder of a training that is not finished."""
        return self.path / ".checkpoint"

    @property
    def validation(self) -> ModelLayout:
        """The model before it was fitted again on the validation split, for what is chosen on that."""
        return ModelLayout(self.path / "validation")

    def neighbours(self, split: str, learner: str) -> Path:
        """Return the file of the neighbours that ``learner`` found in what precedes ``split``."""
        return self.path / f"{split}_{learner}.npz"

    def factor_scores(self, split: str, model: str) -> Path:
        """Return the file of the factor model that was learnt from what precedes ``split``."""
        return self.path / f"{split}_{model}.npz"

    def learnt(self, split: str, recommender: str) -> Path:
        """Return the file of all that ``recommender`` has learnt from what precedes ``split``, which evaluation judges as well."""
        return self.path / "learnt" / f"{split}_{recommender}.npz"


@dataclass(frozen=True)
class TaskLayout:
    """The files of one declared task.

    Examples and features, models, and metrics lie in a folder of the run each, so that each stage writes one whole folder.

    Attributes:
        run: the run directory.
        name: the task.
    """

    run: Path
    name: str

    @property
    def folder(self) -> Path:
        """Folder of the examples and features."""
        return self.run / "tasks" / self.name

    @property
    def spec(self) -> Path:
        """JSON: entity, answer, columns, rows of each split, instants, costs and warnings."""
        return self.folder / "task.json"

    def examples(self, split: str) -> Path:
        """Return the Parquet file of a split: ``entity``, ``anchor``, ``label`` and the raw columns."""
        return self.folder / "examples" / f"{split}.parquet"

    @property
    def stored(self) -> Path:
        """Parquet file: ``entity`` and the raw columns as of the end of the log, which the server answers from."""
        return self.folder / "stored.parquet"

    @property
    def workflow(self) -> Path:
        """Folder of the saved NVTabular workflow."""
        return self.folder / "workflow"

    @property
    def graph(self) -> Path:
        """ONNX: raw columns -> encoded columns."""
        return self.folder / "encode.onnx"

    @property
    def encoding(self) -> Path:
        """JSON: the encoded columns, and how many ids each column of ids has."""
        return self.folder / "encoding.json"

    def features(self, split: str) -> Path:
        """Return the folder of the encoded rows of a split, row-aligned with its examples."""
        return self.folder / "features" / split

    @property
    def models(self) -> Path:
        """Folder of the fitted models."""
        return self.run / "task_models" / self.name

    @property
    def leaderboard(self) -> Path:
        """JSON: the learners by their validation metric, and which one is served."""
        return self.models / "leaderboard.json"

    def model(self, learner: str) -> ModelLayout:
        """Return the folder of a fitted model."""
        return ModelLayout(self.models / learner)

    @property
    def metrics(self) -> Path:
        """JSON: metrics of every learner and rule on the test split."""
        return self.run / "task_evaluation" / f"{self.name}.json"


@dataclass(frozen=True)
class RunLayout:
    """The files and folders of a run.

    Attributes:
        path: the run directory.
    """

    path: Path

    @property
    def simulation(self) -> Path:
        """Folder of the simulated shop and its truth."""
        return self.path / "simulation"

    @property
    def simulated_events(self) -> Path:
        """The events of the simulated shop before they are checked."""
        return self.simulation / "events.parquet"

    @property
    def events_folder(self) -> Path:
        """Folder of the checked events."""
        return self.path / "events"

    @property
    def events(self) -> Path:
        """The checked events, sorted by time."""
        return EventsLayout(self.events_folder).events

    @property
    def quarantine(self) -> Path:
        """The rows that were refused, each with its reason."""
        return EventsLayout(self.events_folder).quarantine

    @property
    def events_summary(self) -> Path:
        """What was read, kept and refused."""
        return EventsLayout(self.events_folder).summary

    @property
    def tables_folder(self) -> Path:
        """Folder of the checked side tables and of the own features."""
        return self.path / "tables"

    def table(self, name: str) -> Path:
        """Return the file of a checked side table."""
        return TablesLayout(self.tables_folder).table(name)

    @property
    def examples_folder(self) -> Path:
        """Folder of the raw examples."""
        return self.path / "examples"

    @property
    def examples_report(self) -> Path:
        """Instants of the split, numbers of rows and warnings."""
        return ExamplesLayout(self.examples_folder).report

    @property
    def columns(self) -> Path:
        """JSON: the own columns of the run's items."""
        return ExamplesLayout(self.examples_folder).columns

    @property
    def snapshot_folder(self) -> Path:
        """Folder of what is known when the log ends."""
        return self.path / SNAPSHOT

    @property
    def state(self) -> Path:
        """Instant and settings of the snapshot."""
        return SnapshotLayout(self.snapshot_folder).state

    def examples_split(self, split: str) -> Path:
        """Return the folder of the raw examples of a split."""
        return ExamplesLayout(self.examples_folder).split(split)

    def examples(self, split: str, table: str) -> Path:
        """Return the file of the raw rows of a table: of a task, or ``catalogue``."""
        return ExamplesLayout(self.examples_folder).table(split, table)

    def snapshot(self, table: str) -> Path:
        """Return the file of ``items``, ``users``, ``queries`` or ``requests`` of the snapshot."""
        return SnapshotLayout(self.snapshot_folder).table(table)

    @property
    def workflow_folder(self) -> Path:
        """Folder of the fitted workflows and their ONNX graphs."""
        return self.path / "workflow"

    @property
    def features_folder(self) -> Path:
        """Folder of the encoded tables."""
        return self.path / "features"

    @property
    def features_report(self) -> Path:
        """Cardinalities, numbers of rows and warnings."""
        return FeaturesLayout(self.features_folder).report

    def workflow(self, name: str) -> Path:
        """Return the folder of a saved NVTabular workflow."""
        return WorkflowLayout(self.workflow_folder).workflow(name)

    def graph(self, name: str) -> Path:
        """Return the file of a compiled feature graph: ``query``, ``item``, ``cross`` or ``cart``."""
        return WorkflowLayout(self.workflow_folder).graph(name)

    def features_split(self, split: str) -> Path:
        """Return the folder of the encoded tables of a split."""
        return FeaturesLayout(self.features_folder).split(split)

    def features(self, split: str, table: str) -> Path:
        """Return the folder of an encoded table, row-aligned with the raw one of that name."""
        return FeaturesLayout(self.features_folder).table(split, table)

    @property
    def models_folder(self) -> Path:
        """Folder of the trained models."""
        return self.path / "models"

    @property
    def item_to_item(self) -> ModelLayout:
        """The neighbours of items, and how much they count."""
        return self.model(ITEM_TO_ITEM)

    def model(self, name: str) -> ModelLayout:
        """Return the folder of a trained model."""
        return ModelLayout(self.models_folder / name)

    @property
    def evaluation_folder(self) -> Path:
        """Folder of the metrics and the report."""
        return self.path / "evaluation"

    @property
    def metrics(self) -> Path:
        """All metrics with their protocols."""
        return self.evaluation_folder / "metrics.json"

    @property
    def details(self) -> Path:
        """What the report draws beside the metrics."""
        return self.evaluation_folder / "details.json"

    @property
    def report(self) -> Path:
        """The report as a page."""
        return self.evaluation_folder / "report.html"

    @property
    def test_set_usage(self) -> Path:
        """How often the test split was evaluated, and with which configurations."""
        return self.evaluation_folder / "touched.json"

    def task(self, name: str) -> TaskLayout:
        """Return the files of a declared task."""
        return TaskLayout(self.path, name)

    @property
    def tasks_folder(self) -> Path:
        """Folder of the examples and features of declared tasks."""
        return self.path / "tasks"

    @property
    def task_models_folder(self) -> Path:
        """Folder of the models of declared tasks."""
        return self.path / "task_models"

    @property
    def task_report(self) -> Path:
        """The evaluation of declared tasks as a page."""
        return self.task_evaluation_folder / "report.html"

    @property
    def task_evaluation_folder(self) -> Path:
        """Folder of the metrics of declared tasks."""
        return self.path / "task_evaluation"

    @property
    def repository(self) -> Path:
        """The exported model repository."""
        return self.path / "repository"

    @property
    def versions(self) -> Path:
        """Folder of the exports that were filed, each under the hash of its content."""
        return self.path / "versions"

    @property
    def continued(self) -> Path:
        """Folder of the runs that went on from this one, each laid out like a run."""
        return self.path / "continued"

    @property
    def landed(self) -> Path:
        """Folder in which ``cartwheel run --continue`` looks for what ``cartwheel land`` wrote."""
        return self.path / "landed"

    @property
    def outcome(self) -> Path:
        """Of a run that went on from another: from which, and what came of it."""
        return self.path / "continued.json"

    @property
    def inputs(self) -> Path:
        """Of a run that went on from another: the files whose events are in its log."""
        return self.events_folder / "inputs.json"

    @property
    def comparison(self) -> Path:
        """Of a run that went on from another: its lists beside those of the version that was served."""
        return self.path / "comparison.json"

    @property
    def tuning(self) -> Path:
        """Folder of studies and their trials."""
        return self.path / "tuning"

    @property
    def tuning_data(self) -> Path:
        """What trials may read of the run, laid out like one."""
        return self.tuning / "data"

    @property
    def manifest(self) -> Path:
        """Which stages are done, with which settings, and the hashes of their files."""
        return self.path / "manifest.json"

    @property
    def lock(self) -> Path:
        """Held by the process that runs stages."""
        return self.path / ".lock"


RELATIVE: Final = RunLayout(Path())
"""The same names relative to any run directory, as the manifest writes them."""
