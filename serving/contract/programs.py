"""The programs that Triton runs: one per step in a native repository; in an embedded one, consecutive steps share one.

Handing tensors from one Python process to another costs more than most steps compute: on two CPU cores a step of 0.2 ms took 1 ms
more in its own process. So the runner of an embedded repository runs encode, retrieve, rank and order one after the other, and both steps
of similar items. They stay ONNX files with the same tensors.

Triton hands requests together only where each input has a row for every shopper, and refuses what does not fit while it is still taking
the request in. So a program before all others takes whatever a client may give, one request at a time, finds what is wrong with it before
anything is computed, and hands it on in rows: strings as they came, and of ``k`` and ``diversity``, of which a request has one each, a
column. It computes nothing and holds nothing, so that several processes of it cost little; what follows is computed for many requests
together, those that agree in ``k`` and ``diversity``. The ensemble of a declared task, whose columns are its own, is one program that reads
its requests itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from serving.contract.tensors import Contract, Ensemble, Join, StepModel, Tensor

VERSION: Final = "1"
READ: Final = "read_request"
"""The program that every request comes to first."""
SCORE: Final = "recommend_score"
"""The program of the steps that ``recommend`` and ``cart`` share."""
SHARED: Final = ("recommend_encode", "recommend_retrieve", "recommend_rank", "recommend_order")
"""Those steps, in their order."""
SIMILAR: Final = "similar_items_score"
"""The program of both steps of similar items."""
_GROUPS: Final[Mapping[str, tuple[str, ...]]] = {SCORE: SHARED, SIMILAR: ("similar_items_retrieve", "similar_items_order")}
ASKED: Final = Tensor("asked", "int64", ("B", 2), optional=True)
"""When a request was read, by the clock of the machine, and where what computes it notes that it no longer waits."""
_ROW: Final = "_row"
"""What follows the name of an input in that of the rows that are made of it."""

Target = Literal["embedded", "native"]


@dataclass(frozen=True)
class Program:
    """One model of Triton's that computes.

    Attributes:
        model: its name and tensors.
        steps: the steps that it runs, one after the other; the one that reads the requests of others runs none.
        required: inputs without which it refuses a request that needs them. Triton takes all of a first program for optional, and of
            others, where some are optional, it only counts.
        columns: rows -> the input that they stand for: a first program gives them of every input, others read those of one value.
    """

    model: StepModel
    steps: tuple[StepModel, ...]
    required: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def lists(self) -> tuple[str, ...]:
        """Lists of a model that was not trained here, whose names are its own."""
        return tuple(dict.fromkeys(self.model.lengths.values()))

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
    groups = {name: [by_name[step] for step in steps] for name, steps in _GROUPS.items() if set(steps) <= set(by_name)}
    groups |= {model.name: [model] for model in contract.models if model.name not in grouped and not model.alone}
    alone = {model.name: _alone(model) for model in contract.models if model.alone}
    parts = [
        *([_reading(contract, alone)] if groups else []),
        *(_program(name, steps) for name, steps in groups.items()),
        *alone.values(),
    ]
    by_group = {part.model.name: part for part in parts}
    ensembles = (
        _optional(ensemble) if _is_alone(ensemble, alone) else _joined(ensemble, grouped, by_group)
        for ensemble in contract.ensembles
    )
    return tuple(parts), tuple(ensembles)


def step_file(repository: Path, step: str) -> Path:
    """Return where the ONNX file of a step lies, whether it has a program of its own or shares one."""
    shared = [repository / name / VERSION / f"{step}.onnx" for name, steps in _GROUPS.items() if step in steps]
    return next((path for path in shared if path.is_file()), repository / step / VERSION / "model.onnx")


def _alone(model: StepModel) -> Program:
    """Return the program of a step that takes requests as they come, one at a time, and computes their answers."""
    inputs = tuple(replace(tensor, optional=True) for tensor in model.inputs)
    required = tuple(tensor.name for tensor in model.inputs if not tensor.optional)
    return Program(replace(model, inputs=inputs, batched=False, first=True), (model,), required)


def _is_alone(ensemble: Ensemble, alone: Mapping[str, Program]) -> bool:
    return any(step.model in alone for step in ensemble.steps)


def _optional(ensemble: Ensemble) -> Ensemble:
    return replace(ensemble, inputs=tuple(replace(tensor, optional=True) for tensor in ensemble.inputs))


def _reading(contract: Contract, alone: Mapping[str, Program]) -> Program:
    """Return the program that takes whatever a client may give, none of it required: for what is, Triton waits for ever."""
    asked = [ensemble for ensemble in contract.ensembles if not _is_alone(ensemble, alone)]
    given = {tensor.name: tensor for ensemble in asked for tensor in ensemble.inputs}
    needed = {tensor.name for step in contract.models for tensor in step.inputs if not (tensor.optional or step.alone)}
    inputs = tuple(replace(tensor, optional=True) for tensor in given.values())
    lengths = {name: lists for step in contract.models for name, lists in step.lengths.items()}
    model = StepModel(READ, inputs, (*map(_rows, given.values()), ASKED), batched=False, first=True, lengths=lengths)
    rows = {_rows(tensor).name: tensor.name for tensor in given.values()}
    return Program(model, (), tuple(name for name in given if name in needed), rows)


def _program(name: str, steps: Sequence[StepModel]) -> Program:
    """Return the program of steps that read what is given and what those before them computed."""
    outputs = {tensor.name: tensor for step in steps for tensor in step.outputs}
    inputs = {tensor.name: tensor for step in steps for tensor in step.inputs if tensor.name not in outputs}
    trim: Mapping[str, str] = {output: given for step in steps for output, given in step.trim.items()}
    columns = {_rows(tensor).name: tensor.name for tensor in inputs.values() if not tensor.batched}
    read = tuple(tensor if tensor.batched else _rows(tensor) for tensor in inputs.values())
    model = StepModel(name, (*read, ASKED), tuple(outputs.values()), trim=trim)
    return Program(model, tuple(steps), tuple(tensor.name for tensor in read if not tensor.optional), columns)


def _rows(tensor: Tensor) -> Tensor:
    """Return the rows of an input; of one value a column, in which 0 stands for a whole number that is left out, and NaN for another."""
    if tensor.batched:
        return replace(tensor, name=f"{tensor.name}{_ROW}", optional=False)
    allowed = {**tensor.allowed, "zero": True} if tensor.allowed and tensor.dtype == "int32" else None
    return replace(tensor, name=f"{tensor.name}{_ROW}", shape=("B", 1), optional=False, allowed=allowed)


def _joined(ensemble: Ensemble, grouped: Mapping[str, str], programs_: Mapping[str, Program]) -> Ensemble:
    """Return the ensemble in terms of programs, each given what its steps read and giving what others or the client need.

    The first one is given every input of the request.
    """
    held: dict[str, list[Join]] = {}
    for step in ensemble.steps:
        held.setdefault(grouped.get(step.model, step.model), []).append(step)
    rows = {tensor.name: _rows(tensor).name for tensor in ensemble.inputs}
    joins = []
    for name, steps in held.items():
        others = [step for other, group in held.items() if other != name for step in group]
        needed = {shared for step in others for shared in step.inputs.values()} | {tensor.name for tensor in ensemble.outputs}
        made = {shared for step in steps for shared in step.outputs.values()}
        columns = programs_[name].columns
        read = {own: shared for step in steps for own, shared in step.inputs.items() if shared not in made}
        inputs = {own: rows.get(shared, shared) for own, shared in read.items() if own not in columns.values()}
        inputs |= {name: name for name in (*columns, ASKED.name)}
        joins.append(
            Join(name, inputs, {own: shared for step in steps for own, shared in step.outputs.items() if shared in needed})
        )
    wanted = {shared for join in joins for shared in join.inputs.values()}
    reading = Join(
        READ, {name: name for name in rows}, {row: row for row in (*programs_[READ].columns, ASKED.name) if row in wanted}
    )
    return replace(_optional(ensemble), steps=(reading, *joins))
