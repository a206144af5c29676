"""Metrics of a declared task on its test split: every learner and simple rule, the decision at the stated costs, and feature importance."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from cartwheel.core.errors import RunError
from cartwheel.core.files import write_json
from cartwheel.core.onnx_model import OnnxModel
from cartwheel.core.run_layout import TaskLayout
from cartwheel.core.tables import read_json
from evaluation.added_metrics import Answers, added_records
from evaluation.effects import Arms, Policy, effect_records, policy_outcome
from evaluation.figures import Protocol, Record
from evaluation.metric import Metric, added_metrics
from evaluation.metric import Outcome as Predictions
from evaluation.probabilities import Forecast, probability_records
from evaluation.quantities import Quantities, quantity_records
from evaluation.report.details import Calibration
from evaluation.settings import EvaluateSettings
from evaluation.task_decisions import CostCurve, Outcome, Ranges, cost_curve, outcome_of, ranges_of, rounded
from evaluation.thresholds import Threshold
from models.families.row_registry import BASELINES
from models.metrics.classification import Floats
from models.metrics.curves import reliability
from models.metrics.intervals import UserBootstrap
from models.tasks.leaderboard import Leaderboard
from models.tasks.reasons import reasons
from models.tasks.rows import Rows, inputs_of, read_rows
from models.tasks.spec import TaskSpec
from models.tasks.train import TaskModel, read_model
from workflows.tasks.task import Answer, declared_answer

SPLIT: Final = "test"
SUSPECT_AREA: Final = 0.75
"""A column is suspect that reaches this ROC AUC by itself, where it also passes the next two."""
SUSPECT_SHARE: Final = 0.8
"""How much of what all columns together have above a coin it has by itself."""
SUSPECT_LEAD: Final = 0.05
"""How far it is ahead of the next best column; one that several others come close to is an ordinary strong column, such as recency."""
_WRITTEN: Final = ("records", "decision", "calibration", "added", "costs", "ranges", "policy")
"""Attributes of an evaluation that are written by hand."""
_REASON_ROWS: Final = 2000
"""Test rows over which reasons are averaged."""


@dataclass(frozen=True)
class AddedMetric:
    """A metric of the shop's own, for readers of its records.

    Attributes:
        name: in the records.
        title: for readers.
        meaning: what it measures.
        better: ``higher`` or ``lower``.
    """

    name: str
    title: str
    meaning: str
    better: str


@dataclass(frozen=True)
class TaskEvaluation:
    """What is known of a declared task after evaluation.

    Attributes:
        task: name.
        title: for readers.
        entity: who or what it is about.
        answer: what answers it.
        served: the learner that answers.
        reason: why it does.
        rows: test rows.
        entities: distinct entities among them.
        base_rate: mean label of the test rows.
        records: metrics with intervals and protocol of each learner and rule, and paired differences from the rules.
        decision: at the stated costs; None for quantities.
        calibration: predicted and observed probabilities of the served learner; None for quantities.
        importance: column -> mean distance by which it moves the served learner's score from that of its typical value, largest first.
        suspects: sentences about columns that predict too well.
        notes: sentences about learners.
        added: the metrics that the shop added.
        costs: mean cost of a row by how many are decided yes; None for quantities.
        ranges: intervals and orders; of quantities alone.
        policy: what treating by the served learner is worth; of effects alone.
    """

    task: str
    title: str
    entity: str
    answer: Answer
    served: str
    reason: str
    rows: int
    entities: int
    base_rate: float
    records: tuple[Record, ...]
    decision: Outcome | None
    calibration: Calibration | None
    importance: dict[str, float]
    suspects: tuple[str, ...]
    notes: tuple[str, ...]
    added: tuple[AddedMetric, ...] = ()
    costs: CostCurve | None = None
    ranges: Ranges | None = None
    policy: Policy | None = None

    def find(self, model: str, metric: str) -> Record | None:
        """Return the record of a metric, or None."""
        return next((each for each in self.records if (each.model, each.metric) == (model, metric)), None)

    def write(self, layout: TaskLayout) -> None:
        """Write the task's metrics; equal evaluations give equal bytes."""
        records = [{**asdict(each), "protocol": {**asdict(each.protocol), "hash": each.protocol.hash}} for each in self.records]
        content = {
            **{name: value for name, value in vars(self).items() if name not in _WRITTEN},
            "answer": self.answer.value,
            "records": records,
            "decision": asdict(self.decision) if self.decision else None,
            "calibration": self.calibration.model_dump(mode="json") if self.calibration else None,
            "importance": [{"column": column, "value": value} for column, value in self.importance.items()],
            "added": [asdict(each) for each in self.added],
            "costs": asdict(self.costs) if self.costs else None,
            "ranges": asdict(self.ranges) if self.ranges else None,
            "policy": asdict(self.policy) if self.policy else None,
        }
        write_json(layout.metrics, content)

    @staticmethod
    def read(layout: TaskLayout) -> TaskEvaluation:
        """Read the task's metrics.

        Raises:
            RunError: if they are missing or damaged.
        """
        content = read_json(layout.metrics)
        try:
            return TaskEvaluation(
                **{
                    **content,
                    "answer": declared_answer(content["answer"]),
                    "records": tuple(_record(each) for each in content["records"]),
                    "decision": Outcome(**content["decision"]) if content["decision"] else None,
                    "calibration": Calibration(**content["calibration"]) if content["calibration"] else None,
                    "importance": {each["column"]: each["value"] for each in content["importance"]},
                    "suspects": tuple(content["suspects"]),
                    "notes": tuple(content["notes"]),
                    "added": tuple(AddedMetric(**each) for each in content.get("added", ())),
                    "policy": _policy(content.get("policy")),
                    "ranges": Ranges(**ranges) if (ranges := content.get("ranges")) else None,
                    "costs": CostCurve(tuple(costs["yes"]), tuple(costs["cost"])) if (costs := content.get("costs")) else None,
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"{layout.metrics} does not contain metrics of a task ({error}).", "Run `cartwheel evaluate` again."
            ) from None


@dataclass(frozen=True)
class _Judged:
    model: TaskModel
    score: Floats
    answer: Floats


def evaluate_task(layout: TaskLayout, bootstrap: int = 500, seed: int = 0, folder: Path | None = None) -> TaskEvaluation:
    """Judge every trained learner of a task on its test split, by the ONNX models that are served, and write the metrics.

    Reads ``task.json``, ``features/test`` and the models; writes ``TaskLayout.metrics``.

    Args:
        layout: the task's files.
        bootstrap: resamples of entities behind each interval.
        seed: fixes them.
        folder: of the configuration file, where a shop's own metrics lie.

    Raises:
        ConfigError: if the task names a metric that there is not, or one raises.
        RunError: if a file is missing or damaged.
    """
    spec, board = TaskSpec.read(layout), Leaderboard.read(layout)
    added = added_metrics(spec.metrics, spec.answer, f"tasks.{spec.name}.metrics", folder)
    models = {entry.learner: read_model(layout.model(entry.learner)) for entry in board.entries}
    columns = tuple({column.name: column for model in models.values() for column in model.columns}.values())
    sizes = {name: size for model in models.values() for name, size in model.sizes.items()}
    effect = spec.answer is Answer.EFFECT
    test = read_rows(layout, SPLIT, columns, sizes, treated=effect)
    judged = {name: _judge(layout, name, model, test) for name, model in models.items()}
    users = UserBootstrap(test.entity, bootstrap, seed)
    served = judged[board.served]
    is_probability = spec.answer is Answer.PROBABILITY
    if effect:
        records = _effects(spec, judged, test, bootstrap, seed)
    elif is_probability:
        records = _probabilities(spec, board, judged, test, bootstrap, seed)
    else:
        records = _quantities(spec, judged, test, bootstrap, seed)
    records += _added(spec, judged, test, added, bootstrap, seed)
    result = TaskEvaluation(
        task=spec.name,
        title=spec.title,
        entity=spec.entity.value,
        answer=spec.answer,
        served=board.served,
        reason=board.reason,
        rows=len(test),
        entities=users.users,
        base_rate=rounded(float(test.label.mean())),
        records=tuple(records),
        decision=_outcome(spec, served, test, users) if is_probability else None,
        costs=_costs(spec, served, test) if is_probability else None,
        ranges=_ranges(spec, board.served, judged, test, users) if spec.answer is Answer.QUANTITY else None,
        policy=policy_outcome(served.answer, _arms(spec, test), users) if effect else None,
        calibration=_calibration(served, test, users) if is_probability else None,
        importance=_importance(layout, board.served, served.model, test),
        suspects=(),
        notes=tuple(f"{entry.title}: {note}" for entry in board.entries for note in entry.notes)
        + tuple(f"{learner} was not tried: {why}" for learner, why in board.skipped.items()),
        added=tuple(AddedMetric(each.name, each.title, each.meaning, each.better) for each in added),
    )
    result = replace(result, suspects=_suspects(board, result))
    result.write(layout)
    return result


def _judge(layout: TaskLayout, name: str, model: TaskModel, test: Rows) -> _Judged:
    score = OnnxModel(layout.model(name).scores).table(inputs_of(test.table, model.columns), "score")[:, 0].astype(np.float64)
    return _Judged(model, score, model.answers(score))


def _role(name: str) -> Any:
    return "baseline" if name in BASELINES else "model"


def _protocol(spec: TaskSpec, test: Rows) -> Protocol:
    sizes = {"rows": len(test), f"{spec.entity.value}s": len(np.unique(test.entity))}
    return Protocol(SPLIT, f"every {spec.entity.value} of the task, when it asks", "", sizes, "nothing", "")


def _probabilities(
    spec: TaskSpec, board: Leaderboard, judged: dict[str, _Judged], test: Rows, bootstrap: int, seed: int
) -> list[Record]:
    forecasts = []
    for entry in board.entries:
        each = judged[entry.learner]
        rule = f"the threshold that costs least on validation ({spec.false_positive:g} a wrong yes, {spec.false_negative:g} a wrong no)"
        threshold = Threshold(each.model.decision.threshold, rule) if each.model.decision else None
        forecasts.append(Forecast(entry.learner, _role(entry.learner), each.score, each.answer, threshold))
    settings = EvaluateSettings(bootstrap=bootstrap)
    records = probability_records(
        spec.name, test.label.astype(np.int64), test.entity, forecasts, settings, seed, _protocol(spec, test)
    )
    return [_of_entities(each, spec) for each in records]


def _quantities(spec: TaskSpec, judged: dict[str, _Judged], test: Rows, bootstrap: int, seed: int) -> list[Record]:
    forecasts = [Quantities(name, _role(name), each.answer) for name, each in judged.items()]
    records = quantity_records(spec.name, test.label, test.entity, forecasts, bootstrap, seed, _protocol(spec, test))
    return [_of_entities(each, spec) for each in records]


def _arms(spec: TaskSpec, test: Rows) -> Arms:
    assert test.treated is not None
    return Arms(test.label, test.treated, float(test.treated.mean()), spec.cost_of_treatment, spec.value_of_outcome)


def _effects(spec: TaskSpec, judged: dict[str, _Judged], test: Rows, bootstrap: int, seed: int) -> list[Record]:
    effects = {name: (_role(name), each.answer) for name, each in judged.items()}
    records = effect_records(spec.name, _arms(spec, test), test.entity, effects, bootstrap, seed, _protocol(spec, test))
    return [_of_entities(each, spec) for each in records]


def _added(
    spec: TaskSpec, judged: dict[str, _Judged], test: Rows, metrics: tuple[Metric, ...], bootstrap: int, seed: int
) -> list[Record]:
    answers = [
        Answers(name, _role(name), Predictions(each.answer, test.label, test.entity, test.scale)) for name, each in judged.items()
    ]
    records = added_records(spec.name, answers, test.entity, metrics, bootstrap, seed, _protocol(spec, test))
    return [_of_entities(each, spec) for each in records]


def _of_entities(record: Record, spec: TaskSpec) -> Record:
    """Name what was resampled."""
    interval = record.protocol.interval.replace("of users", f"of {spec.entity.value}s")
    return replace(record, protocol=replace(record.protocol, interval=interval))


def _outcome(spec: TaskSpec, served: _Judged, test: Rows, users: UserBootstrap) -> Outcome | None:
    decision = served.model.decision
    if decision is None:
        return None
    costs = spec.false_positive, spec.false_negative
    return outcome_of(test.label, served.answer, (decision.threshold, decision.rule), costs, users)


def _costs(spec: TaskSpec, served: _Judged, test: Rows) -> CostCurve:
    return cost_curve(test.label, served.answer, spec.false_positive, spec.false_negative)


def _ranges(spec: TaskSpec, served: str, judged: dict[str, _Judged], test: Rows, users: UserBootstrap) -> Ranges | None:
    found = {name: (each.answer, each.model.spread) for name, each in judged.items() if each.model.spread is not None}
    if served not in found:
        return None
    return ranges_of(test.label, served, found, (spec.false_positive, spec.false_negative), users)


def _calibration(served: _Judged, test: Rows, users: UserBootstrap) -> Calibration:
    bins = reliability(test.label.astype(np.int64), served.answer, users)
    return Calibration(
        rows=tuple(int(each) for each in bins.rows),
        said=tuple(rounded(each) for each in bins.said),
        seen=tuple(rounded(each) for each in bins.seen),
        low=tuple(None if np.isnan(each) else rounded(each) for each in bins.low),
        high=tuple(None if np.isnan(each) else rounded(each) for each in bins.high),
    )


def _importance(layout: TaskLayout, name: str, model: TaskModel, test: Rows) -> dict[str, float]:
    graph = OnnxModel(layout.model(name).scores)
    rows = test.table.head(_REASON_ROWS)
    found = reasons(
        lambda table: graph.table(inputs_of(table, model.columns), "score")[:, 0].astype(np.float64),
        model.columns,
        model.typical,
        rows,
    )
    means = {column: rounded(float(np.abs(values).mean())) for column, values in found.items()}
    return dict(sorted(means.items(), key=lambda each: -each[1]))


def _suspects(board: Leaderboard, result: TaskEvaluation) -> tuple[str, ...]:
    """Return a sentence about the column that by itself gives nearly the whole score, where there is one."""
    whole = result.find(result.served, "roc_auc")
    if whole is None or whole.value is None or whole.value <= 0.5:
        return ()
    column = next(iter(board.alone), "")
    area, second = [*board.alone.values(), 0.5, 0.5][:2]
    if area < SUSPECT_AREA or area - second < SUSPECT_LEAD or (area - 0.5) / (whole.value - 0.5) < SUSPECT_SHARE:
        return ()
    return (
        f"{column} alone reaches ROC AUC {area:.3f} on validation rows, where all columns reach {whole.value:.3f} on test rows: it is "
        "suspect of being computed from what is predicted; check that it is known when the question is asked, or leave it out",
    )


def _policy(content: dict[str, Any] | None) -> Policy | None:
    listed = ("predicted", "observed", "error")
    return Policy(**{**content, **{name: tuple(content[name]) for name in listed}}) if content else None


def _record(content: dict[str, Any]) -> Record:
    protocol = {name: value for name, value in content["protocol"].items() if name != "hash"}
    return Record(**{**content, "protocol": Protocol(**protocol)})
