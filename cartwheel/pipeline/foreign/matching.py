"""Compares the inputs of a model with the outputs of a workflow: names, types, lists, and ids with embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cartwheel.core.errors import CartwheelError, NotCompilableError, UsageError
from serving.foreign.graph import Handed
from workflows.compiler.operators.categorify import Lookup
from workflows.compiler.operators.list_slice import Slice

if TYPE_CHECKING:
    from models.foreign.interface import ForeignModel, ModelInput
    from workflows.compiler.plan.graph import Plan
    from workflows.compiler.plan.types import ColumnType


def match(plan: Plan, refused: Mapping[str, CartwheelError], model: ForeignModel) -> list[Handed]:
    """Return how each input of a model is made of the columns of a workflow.

    Floats are handed as floats of any width and integers as integers or floats, as Keras takes them; all else must be equal.

    Raises:
        UsageError: if the model reads what the workflow does not make; tells names and types side by side.
        NotCompilableError: if it reads a column without an exact form.
    """
    for each in model.inputs:
        if each.name in refused:
            raise NotCompilableError(
                f"The model reads the column {each.name!r}. {refused[each.name].found}", refused[each.name].fix
            )
    wrong = [told for each in model.inputs if (told := _wrong(plan, each))]
    if wrong:
        unread = sorted(set(plan) - {each.name for each in model.inputs})
        rest = f" The workflow also makes {', '.join(f'{name}: {plan.type(name)}' for name in unread)}." if unread else ""
        raise UsageError(
            f"The model {model.path} reads columns that the workflow does not provide: {'; '.join(wrong)}.{rest}",
            "Give the workflow that the model was trained with.",
        )
    for each in model.inputs:
        _check_vocabulary(plan, each, model)
    return [
        Handed(each.name, each.dtype, each.form, each.tensors, each.rank, each.offsets, plan.type(each.name).dtype)
        for each in model.inputs
    ]


def _wrong(plan: Plan, each: ModelInput) -> str:
    if each.name not in plan:
        return f"{each.name}: model {each}, workflow nothing"
    made = plan.type(each.name)
    if made.is_list != each.is_list or not _fits(made, each.dtype):
        return f"{each.name}: model {each}, workflow {made}"
    if each.width and _width(plan, each.name) != each.width:
        return f"{each.name}: model {each} of {each.width} values, workflow {made} of {_width(plan, each.name) or 'any number of'} values"
    return ""


def _fits(made: ColumnType, wanted: str) -> bool:
    if made.dtype == wanted:
        return True
    floats = wanted.startswith("float")
    return (made.is_number and floats) or (made.is_integer and "int" in wanted) or (made.dtype == "bool" and floats)


def _width(plan: Plan, column: str) -> int:
    """Return the number of values that every list of a column has; 0 where it varies."""
    node = plan.nodes[plan.place(column)]
    while node.step is not None and not isinstance(node.step, Slice) and len(node.inputs) == 1:
        node = plan.nodes[node.inputs[0]]
    return node.step.width if isinstance(node.step, Slice) else 0


def _check_vocabulary(plan: Plan, each: ModelInput, model: ForeignModel) -> None:
    lookup = next((step for step in reversed(plan.steps(each.name)) if isinstance(step, Lookup)), None)
    if lookup is not None and each.embedding and lookup.cardinality > each.embedding:
        raise UsageError(
            f"The workflow makes {lookup.cardinality} ids of {each.name!r}, and {model.path} has an embedding of {each.embedding} "
            f"rows: the ids from {each.embedding} on have none.",
            "Give the workflow that the model was trained with, or train the model on this one.",
        )


def check_names(columns: Sequence[str], answers: Sequence[str]) -> None:
    """Check that no raw column of a request has the name of an answer.

    Raises:
        UsageError: naming the first that has.
    """
    for column in columns:
        if column in answers:
            raise UsageError(f"The raw column {column!r} has the name of an answer of the model.", "Rename the model's output.")
