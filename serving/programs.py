"""Which programs Triton runs: in a native repository one a step, in an embedded one the steps that always follow each other share one.

Handing tensors from one Python process to another costs more than most steps compute: on two CPU cores a step of 0.2 ms took 1 ms
more in its own process. So the runner of an embedded repository runs retrieve and rank one after the other. They stay two ONNX files
with the same tensors, and order stays apart, because ``k`` and ``diversity`` differ from request to request.

What reads a client's strings stays apart too, and answers one request at a time: Triton's Python backend gives the error of one
malformed string to every request that it hands over together. The same step is handed all inputs of the request, those of later
steps included, so that whatever is wrong with a request is found before anything is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from serving.tensors import Contract, Ensemble, Join, StepModel, Tensor

VERSION: Final = "1"
SCORE: Final = "recommend_score"
"""The program of the steps that share one."""
SHARED: Final = ("recommend_retrieve", "recommend_rank")
"""Those steps, in their order."""

Target = Literal["embedded", "native"]


@dataclass(frozen=True)
class Program:
    """One model of Triton's that computes.

    Attributes:
        model: its name and tensors.
        steps: the steps that it runs, one after the other.
        required: inputs without which it refuses a request, although Triton takes them for optional.
    """

    model: StepModel
    steps: tuple[StepModel, ...]
    required: tuple[str, ...] = ()

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
    alone = [_alone(model, contract.ensembles) for model in contract.models if model.name not in SHARED]
    score = _shared([by_name[name] for name in SHARED])
    first = {model.name for model in contract.models if model.first}
    return (score, *alone), tuple(_read_first(_joined(ensemble), first) for ensemble in contract.ensembles)


def step_file(repository: Path, step: str) -> Path:
    """Return where the ONNX file of a step lies, whether it has a program of its own or shares one."""
    shared = repository / SCORE / VERSION / f"{step}.onnx"
    return shared if shared.is_file() else repository / step / VERSION / "model.onnx"


def _alone(model: StepModel, ensembles: Sequence[Ensemble]) -> Program:
    """Return the program of one step; a first one takes whatever a client may give, as Triton waits for required inputs for ever."""
    if not model.first:
        return Program(model, (model,))
    given: dict[str, Tensor] = {tensor.name: tensor for tensor in model.inputs}
    for ensemble in ensembles:
        if any(step.model == model.name for step in ensemble.steps):
            given = {**{tensor.name: tensor for tensor in ensemble.inputs}, **given}
    required = tuple(tensor.name for tensor in model.inputs if not tensor.optional)
    inputs = tuple(replace(tensor, optional=True) for tensor in given.values())
    return Program(replace(model, inputs=inputs, batched=False), (model,), required)


def _shared(steps: Sequence[StepModel]) -> Program:
    """Return the program of steps that read what is given and what those before them computed."""
    outputs = tuple(tensor for step in steps for tensor in step.outputs)
    made = {tensor.name for tensor in outputs}
    inputs = {tensor.name: tensor for step in steps for tensor in step.inputs if tensor.name not in made}
    trim: Mapping[str, str] = {output: given for step in steps for output, given in step.trim.items()}
    return Program(replace(steps[0], name=SCORE, inputs=tuple(inputs.values()), outputs=outputs, trim=trim), tuple(steps))


def _joined(ensemble: Ensemble) -> Ensemble:
    """Return the ensemble with the shared program in place of its steps, giving what the other steps or the client need."""
    shared = [step for step in ensemble.steps if step.model in SHARED]
    others = [step for step in ensemble.steps if step.model not in SHARED]
    if not shared:
        return ensemble
    needed = {name for step in others for name in step.inputs.values()} | {tensor.name for tensor in ensemble.outputs}
    made = {name for step in shared for name in step.outputs.values()}
    inputs = {own: name for step in shared for own, name in step.inputs.items() if name not in made}
    outputs = {own: name for step in shared for own, name in step.outputs.items() if name in needed}
    place = ensemble.steps.index(shared[0])
    before = [step for step in others if ensemble.steps.index(step) < place]
    after = [step for step in others if step not in before]
    return replace(ensemble, steps=(*before, Join(SCORE, inputs, outputs), *after))


def _read_first(ensemble: Ensemble, first: set[str]) -> Ensemble:
    """Return the ensemble whose first step is given every input of the request."""
    inputs = tuple(replace(tensor, optional=True) for tensor in ensemble.inputs)
    given = {tensor.name: tensor.name for tensor in inputs}
    steps = tuple(replace(step, inputs={**step.inputs, **given}) if step.model in first else step for step in ensemble.steps)
    return replace(ensemble, inputs=inputs, steps=steps)
