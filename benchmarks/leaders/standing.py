"""What one run says of who leads: the rows of its table, the tests, and how the figures came about; kept as JSON beside the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmarks.leaders.data_sets import ROOT, Plan
from benchmarks.leaders.state import checkout
from benchmarks.machine import machine
from cartwheel.core.errors import RunError
from cartwheel.core.files import write_json
from cartwheel.pipeline.run_directory import RunDirectory
from evaluation.figures import DIFFERENCE, Evaluation, Record
from evaluation.report.names import ABSENT
from evaluation.report.terminal import Outcome, outcome
from evaluation.test_set_usage import read_touches
from workflows.tasks.task_names import RETRIEVAL, TWO_STAGE

SORTED_BY: Final = ("ndcg", 10)
METRICS: Final = (SORTED_BY, ("recall", 20), ("hit_rate", 10), ("coverage", 10))
"""The columns of a table: metric, cutoff."""
PIPELINE: Final = TWO_STAGE
ALONE: Final = RETRIEVAL
"""The tasks of ``evaluation/metrics.json`` that are read: both stages together, and the first by itself."""
MUST_BEAT: Final = ("most_popular", "item_knn", "bpr")
"""What retrieval alone has to beat."""

_SIZES: Final = ("anchors", "users", "truth_items", "catalogue_items")

Place = Literal["ours", "baseline", "oracle"]


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(_Kept):
    """A figure with its 95% interval, None where there is none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class Lead(Figure):
    """A model's NDCG@10 minus another's, paired, and whether it can be told from chance."""

    p_holm: float | None = None
    outcome: Outcome = "unknown"


class Row(_Kept):
    """One model of a table."""

    model: str
    place: Place
    figures: dict[str, Figure]
    """``metric@k`` -> figure."""
    lead: Lead | None = None
    """Of our best pipeline over this one; None for the pipeline itself and the oracle."""

    @property
    def ndcg(self) -> float:
        """NDCG@10, by which rows are sorted; below all where there is none."""
        value = self.figures[named(*SORTED_BY)].value
        return -1.0 if value is None else value


class Alone(_Kept):
    """A retrieval model by itself, and its lead over each of ``MUST_BEAT`` that was evaluated."""

    model: str
    ndcg: Figure
    leads: dict[str, Lead]


class Standing(_Kept):
    """Everything the report says of one data set."""

    name: str
    best: str
    """Our pipeline of the highest NDCG@10."""
    rows: list[Row]
    alone: list[Alone]
    split: str
    protocol: dict[str, str]
    """What a reader must know of how the table came about, in words."""
    settings: dict[str, Any]
    """The settings that are not the defaults."""
    seed: int
    seconds: dict[str, float]
    """Stage -> how long it took."""
    machine: str
    options: str
    """Of the command that made it."""
    quick: bool
    state: str = ""
    """Commit of the checkout that made it."""

    @property
    def rivals(self) -> list[Row]:
        """The baselines, best first."""
        return sorted((row for row in self.rows if row.place == "baseline"), key=lambda row: -row.ndcg)

    def row(self, model: str) -> Row:
        """Return the row of a model that has one."""
        return next(row for row in self.rows if row.model == model)

    def write(self, work: Path) -> None:
        """Write ``<work>/<name>.json``."""
        write_json(work / f"{self.name}.json", self.model_dump(mode="json"))

    @staticmethod
    def read(work: Path, name: str) -> Standing | None:
        """Read what an earlier command left in ``work``; None where there is nothing.

        Raises:
            RunError: if the file cannot be read as a standing.
        """
        path = work / f"{name}.json"
        try:
            return Standing.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise RunError(
                f"{path} is no standing of this version ({error.errors()[0]['msg']}).",
                f"Delete it and run the command with --only {name}: what is done of the run itself is kept.",
            ) from None


def named(metric: str, k: int) -> str:
    """Return how a figure is called in JSON.

    >>> named("ndcg", 10)
    'ndcg@10'
    """
    return f"{metric}@{k}"


def read_standing(plan: Plan, options: str, *, quick: bool) -> Standing:
    """Read who leads in a run after evaluation.

    Whatever was evaluated as a model in one of both tasks is ours, and so is what has its name or begins its name (the two-tower alone,
    which stands among the baselines of both stages together); every other baseline is a rival.

    Args:
        plan: of the run.
        options: of the command, to be told beside the table.
        quick: whether the run is a tiny one.

    Raises:
        RunError: if the run has not been evaluated, or has no figures of recommendation.
    """
    run = plan.settings.run
    evaluation = Evaluation.read(run)
    figures = [record for record in evaluation.records if (record.task, record.metric, record.k) == (PIPELINE, *SORTED_BY)]
    ours = [record for record in figures if record.role == "model" and record.value is not None]
    if not ours:
        why = next((record.reason for record in figures if record.reason), "no model was judged")
        raise RunError(f"{run} has no NDCG@10 of both stages: {why}.", "Give a log in which more shoppers come back.")
    best = max(ours, key=lambda record: record.value or 0.0)
    stems = {_stem(record.model) for record in evaluation.records if record.role == "model" and record.task in (PIPELINE, ALONE)}
    manifest = RunDirectory(run).manifest()
    return Standing(
        name=plan.data_set.name,
        best=best.model,
        rows=sorted((_row(evaluation, record, best.model, stems) for record in figures), key=lambda row: -row.ndcg),
        alone=_alone(evaluation),
        split=plan.split,
        protocol=_protocol(evaluation, best, run),
        settings=plan.changed,
        seed=plan.settings.seed,
        seconds={stage: record.seconds for stage, record in manifest.stages.items() if stage != "export"},
        machine=machine(["numpy", "polars", "nvtabular", "merlin-models", "onnxruntime"]),
        options=options,
        quick=quick,
        state=checkout(ROOT),
    )


def _stem(model: str) -> str:
    """Return what the first stage of a model is called: ``two_tower`` of ``two_tower+dlrm``."""
    return model.partition("+")[0]


def _row(evaluation: Evaluation, record: Record, best: str, stems: set[str]) -> Row:
    found = {(metric, k): evaluation.find(PIPELINE, record.model, metric, k) for metric, k in METRICS}
    place: Place = "oracle" if record.role == "oracle" else "ours" if _stem(record.model) in stems else "baseline"
    return Row(
        model=record.model,
        place=place,
        figures={named(*key): _figure(figure) for key, figure in found.items()},
        lead=_lead(evaluation, PIPELINE, best, record.model) if record.role != "oracle" and record.model != best else None,
    )


def _alone(evaluation: Evaluation) -> list[Alone]:
    judged = [record for record in evaluation.records if (record.task, record.metric, record.k) == (ALONE, *SORTED_BY)]
    beside = [baseline for baseline in MUST_BEAT if any(record.model == baseline for record in judged)]
    return [
        Alone(
            model=record.model,
            ndcg=_figure(record),
            leads={baseline: _lead(evaluation, ALONE, record.model, baseline) for baseline in beside},
        )
        for record in judged
        if record.role == "model"
    ]


def _lead(evaluation: Evaluation, task: str, model: str, other: str) -> Lead:
    metric, k = SORTED_BY
    record = evaluation.find(task, model, metric + DIFFERENCE + other, k)
    if record is None:
        return Lead()
    return Lead(**_figure(record).model_dump(), p_holm=record.p_holm, outcome=outcome(record))


def _figure(record: Record | None) -> Figure:
    return Figure() if record is None else Figure(value=record.value, low=record.low, high=record.high)


def _protocol(evaluation: Evaluation, best: Record, run: Path) -> dict[str, str]:
    protocol = best.protocol
    reachable = evaluation.find(PIPELINE, "catalogue", "reachable")
    sizes = [kind for kind in _SIZES if kind in protocol.sample_size]
    sample = ", ".join(f"{protocol.sample_size[kind]:,} {kind.replace('_', ' ')}" for kind in sizes)
    if reachable is not None and reachable.value is not None:
        sample += f"; {reachable.value:.1%} of the truth is among the candidates"
    return {
        "candidates": protocol.candidate_set,
        "of our pipeline": protocol.remark or "nothing more",
        "left out": protocol.excluded,
        "ties": protocol.tie_rule,
        "sample": sample,
        "intervals": protocol.interval,
        "hash": protocol.hash,
        "versions": _versions(run),
        "looks at the test split": read_touches(run).sentence,
    }


def _versions(run: Path) -> str:
    manifest = RunDirectory(run).manifest()
    return ", ".join(f"{name} {version}" for name, version in {"cartwheel": manifest.cartwheel, **manifest.packages}.items())


def ranked(rows: Sequence[Row]) -> list[tuple[str, Row]]:
    """Return each row with its rank, the oracle's being a dash; equal NDCG@10 is one rank."""
    competing = [row.ndcg for row in rows if row.place != "oracle"]
    return [(ABSENT if row.place == "oracle" else str(1 + sum(other > row.ndcg for other in competing)), row) for row in rows]
