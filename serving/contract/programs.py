"""Which programs Triton runs: in a native repository one a step, in an embedded one the steps that always follow each other share one.

Handing tensors from one Python process to another costs more than most steps compute: on two CPU cores a step of 0.2 ms took 1 ms
more in its own process. So the runner of an embedded repository runs retrieve, rank and order one after the other, and both steps of
similar items. They stay ONNX files with the same tensors.

What reads a client's strings stays apart, and answers one request at a time: Triton's Python backend gives the error of one malformed
string to every request that it hands over together. The same step is handed all inputs of the request, those of later steps
included, so that whatever is wrong with a request is found before anything is computed. Of ``k`` and ``diversity``, of which a request has
one each, it makes a column, for Triton hands over together only what has a row for every shopper; requests that agree in them are
computed together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from serving.contract.tensors import Contract, Ensemble, Join, StepModel, Tensor

VERSION: Final = "1"
SCORE: Final = "recommend_score"
"""The program of the steps that follow the first one."""
SHARED: Final = ("recommend_retrieve", "recommend_rank", "recommend_order")
"""Those steps, in their order."""
SIMILAR: Final = "similar_items_score"
"""The program of both steps of similar items."""
_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {SCORE: SHARED, SIMILAR: ("similar_items_retrieve", "similar_items_order")}
_ROW: Final = "_row"
"""What follows the name of the column that is made of an input of one value."""

Target = Literal["embedded", "native"]


@dataclass(frozen=True)
class Program:
    """One model of Triton's that computes.

    Attributes:
        model: its name and tensors.
        steps: the steps that it runs, one after the other.
        required: inputs without which it refuses a request, although Triton takes them for optional.
        columns: column -> the input of one value that it stands for; a first program gives them, others read them.
    """

    model: StepModel
    steps: tuple[StepModel, ...]
    required: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> tuple[str, ...]:
        """The ONNX file of each step."""
        return ("model.onnx",) if len(self.steps) == 1 else tuple(f"{step.name}.onnx" for step in self.steps)


def programs(contract: Contract, target: Target) -> tuple[tuple[Program, ...], tuple[Ensemble, ...]]:
    """Return the programs of a repository, and its ensembles in terms of them.

    Args:
        contract: the steps and the ensembles in terms of steps.
        target: which kind of repository.
    """
    if target == "native":
        return tuple(Program(model, (model,)) for model in contract.models), contract.ensembles
    by_name = {model.name: model for model in contract.models}
    grouped = {step: name for name, steps in _GROUPS.items() for step in steps}
    groups = {name: [by_name[step] for step in steps] for name, steps in _GROUPS.items()}
    groups |= {model.name: [model] for model in contract.models if model.name not in grouped}
    parts = [_program(name, steps, contract.ensembles) for name, steps in groups.items()]
    by_group = {part.model.name: part for part in parts}
    return tuple(parts), tuple(_joined(ensemble, grouped, by_group) for ensemble in contract.ensembles)


def step_file(repository: Path, step: str) -> Path:
    """Return where the ONNX file of a step lies, whether it has a program of its own or shares one."""
    shared = [repository / name / VERSION / f"{step}.onnx" for name, steps in _GROUPS.items() if step in steps]
    return next((path for path in shared if path.is_file()), repository / step / VERSION / "model.onnx")


def _program(name: str, steps: Sequence[StepModel], ensembles: Sequence[Ensemble]) -> Program:
    """Return the program of steps that read what is given and what those before them computed."""
    outputs = {tensor.name: tensor for step in steps for tensor in step.outputs}
    inputs = {tensor.name: tensor for step in steps for tensor in step.inputs if tensor.name not in outputs}
    trim: Mapping[str, str] = {output: given for step in steps for output, given in step.trim.items()}
    whole = replace(steps[0], name=name, trim=trim)
    if whole.first:
        return _reading(whole, steps, inputs, outputs, ensembles)
    columns = {_column(tensor).name: tensor.name for tensor in inputs.values() if not tensor.batched}
    read = tuple(tensor if tensor.batched else _column(tensor) for tensor in inputs.values())
    return Program(replace(whole, inputs=read, outputs=tuple(outputs.values())), tuple(steps), columns=columns)


def _reading(
    whole: StepModel,
    steps: Sequence[StepModel],
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
    ensembles: Sequence[Ensemble],
) -> Program:
    """Return a program that takes whatever a client may give, none of it required: for what is, Triton waits for ever."""
    asked = [ensemble for ensemble in ensembles if any(step.model == steps[0].name for step in ensemble.steps)]
    given = {tensor.name: tensor for ensemble in asked for tensor in ensemble.inputs} | dict(inputs)
    required = tuple(tensor.name for tensor in inputs.values() if not tensor.optional)
    single = [tensor for tensor in given.values() if not tensor.batched and tensor.name not in inputs]
    columns = {_column(tensor).name: tensor.name for tensor in single}
    model = replace(
        whole,
        inputs=tuple(replace(tensor, optional=True) for tensor in given.values()),
        outputs=(*outputs.values(), *map(_column, single)),
        batched=False,
    )
    return Program(model, tuple(steps), required, columns)


def _column(tensor: Tensor) -> Tensor:
    """Return the column of an input of one value, in which 0 stands for a whole number that is left out, and NaN for another."""
    allowed = {**tensor.allowed, "zero": True} if tensor.allowed and tensor.dtype == "int32" else None
    return replace(tensor, name=f"{tensor.name}{_ROW}", shape=("B", 1), optional=False, allowed=allowed)


def _joined(ensemble: Ensemble, grouped: Mapping[str, str], programs_: Mapping[str, Program]) -> Ensemble:
    """Return the ensemble in terms of programs, each given what its steps read and giving what others or the client need.

    The first one is given every input of the request.
    """
    held: dict[str, list[Join]] = {}
    for step in ensemble.steps:
        held.setdefault(grouped.get(step.model, step.model), []).append(step)
    given = {tensor.name: tensor.name for tensor in ensemble.inputs}
    joins = []
    for name, steps in held.items():
        others = [step for other, group in held.items() if other != name for step in group]
        needed = {shared for step in others for shared in step.inputs.values()} | {tensor.name for tensor in ensemble.outputs}
        made = {shared for step in steps for shared in step.outputs.values()}
        inputs = {own: shared for step in steps for own, shared in step.inputs.items() if shared not in made}
        outputs = {own: shared for step in steps for own, shared in step.outputs.items() if shared in needed}
        columns = {column: column for column in programs_[name].columns}
        if programs_[name].model.first:
            inputs, outputs = {**inputs, **given}, {**outputs, **(columns if len(held) > 1 else {})}
        else:
            inputs = {**{own: shared for own, shared in inputs.items() if own not in programs_[name].columns.values()}, **columns}
        joins.append(Join(name, inputs, outputs))
    return replace(ensemble, inputs=tuple(replace(tensor, optional=True) for tensor in ensemble.inputs), steps=tuple(joins))
