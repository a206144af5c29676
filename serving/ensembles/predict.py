"""The generic ensemble of a declared task, named as the task: probability or quantity, decision and reasons, of an entity or of columns."""

from __future__ import annotations

from typing import Any, Final

from cartwheel.core.errors import RunError
from cartwheel.core.run_layout import RunLayout
from serving.contract.tasks import ENTITY, LARGEST, PARAMETER, REASONS, TaskColumn, TaskForm
from serving.contract.tensors import StepModel, Tensor
from serving.ensembles.served import Declaration, Piece, Plan, ServedGraph
from serving.pieces.predict import predict_graph

_WHO: Final = {"user": "user_id", "item": "item_id"}
_BLANK: Final = {"string": "", "int64": 0, "float32": 0.0}
OUTPUTS: Final = (
    "probability", "quantity", "quantity_low", "quantity_high", "quantity_order", "effect", "score", "decision", "threshold", "base_rate",
    "calibrated", "reasons", "contributions", "known",
)  # fmt: skip
"""Names of the answer's tensors; no column may have one."""


def _graphs(plan: Plan) -> tuple[ServedGraph, ...]:
    return tuple(graph_of(task) for task in plan.tasks)


def graph_of(task: TaskForm) -> ServedGraph:
    """Return the ensemble of a task.

    Raises:
        RunError: if a column has the name of another tensor.
    """
    taken = [column.name for column in task.columns if column.name in (*OUTPUTS, ENTITY)]
    if taken:
        raise RunError(
            f"The task {task.name!r} has a column {taken[0]!r}, which is the name of another tensor of its ensemble.",
            "Rename the column, or leave it out of the task.",
        )
    who = (_entity(task),) if task.stored else ()
    columns = tuple(map(_column, task.columns))
    request, answer = (*who, *columns), _answer(task)
    model = StepModel(f"{task.name}_predict", request, answer, batched=False, alone=True)
    asked: dict[str, Any] = {ENTITY: ["?"]} if task.stored else _blank(task.columns[0])
    return ServedGraph(
        task.name,
        f"{task.title.rstrip('.')}.",
        request=request,
        answer=answer,
        pieces=(Piece(model, lambda parts: predict_graph(model, parts.tasks[task.name])),),
        question=asked,
        parity="serving.export.task_parity:check_task",
        about={PARAMETER: task.parameter()},
    )


def _blank(column: TaskColumn) -> dict[str, Any]:
    return {column.name: [_BLANK[column.dtype]] * column.width}


def _entity(task: TaskForm) -> Tensor:
    meaning = f"the {_WHO[task.entity]}; for an unknown one, only the given columns are used"
    return Tensor(ENTITY, "string", ("B", 1), meaning, optional=True)


def _column(column: TaskColumn) -> Tensor:
    kind = f"{column.title}; given, it replaces what is stored"
    if column.dtype != "float32":
        return Tensor(column.name, column.dtype, ("B", column.width), kind, optional=True)
    finite = {"low": -LARGEST, "high": LARGEST, "nan": not column.listed, "sentence": "give a finite number"}
    return Tensor(column.name, "float32", ("B", column.width), kind, optional=True, allowed=finite)


def _answer(task: TaskForm) -> tuple[Tensor, ...]:
    one: tuple[int | str, ...] = ("B", 1)
    tensors = [Tensor("score", "float32", one, "model output before calibration: log odds, or the quantity")]
    if task.answer == "effect":
        tensors.insert(0, Tensor("effect", "float32", one, "expected increase of the outcome due to the treatment"))
        tensors.append(Tensor("decision", "int32", one, "1 if the effect is above the threshold, so that treating pays, else 0"))
        tensors.append(Tensor("threshold", "float32", one, "cost of a treatment / value of one unit of the outcome"))
    elif task.threshold is None:
        tensors.insert(0, Tensor("quantity", "float32", one, "the expected quantity"))
        if task.coverage is not None:
            share = f"{task.coverage:.0%} of cases are to lie within the interval; its"
            tensors += [Tensor(f"quantity_{end}", "float32", one, f"{share} {end} end") for end in ("low", "high")]
            tensors.append(
                Tensor("quantity_order", "float32", one, "how much to order, given the costs of one too many and one too few")
            )
    else:
        tensors.insert(0, Tensor("probability", "float32", one, "the probability of a positive"))
        tensors.append(Tensor("decision", "int32", one, "1 if the probability is at least the threshold, else 0"))
        tensors.append(
            Tensor(
                "threshold", "float32", one, "cost of a false positive / (cost of a false positive + cost of a false negative)"
            )
        )
    tensors += [
        Tensor("base_rate", "float32", one, "share of positives, or mean, of the training examples"),
        Tensor("calibrated", "int32", one, "1 if a calibration was applied to the score"),
        Tensor("reasons", "string", ("B", REASONS), 'columns whose values move the score most, in decreasing order; "" for none'),
        Tensor("contributions", "float32", ("B", REASONS), "score minus the score with that column at its typical value"),
    ]
    if task.stored:
        tensors.append(Tensor("known", "int32", one, "1 if the entity is stored"))
    return tuple(tensors)


def _requires(run: RunLayout) -> str:
    if any(run.task_models_folder.glob("*/leaderboard.json")):
        return ""
    return f"{run.task_models_folder} holds no model of a declared task."


DECLARED: Final = Declaration("predict", _graphs, _requires)
