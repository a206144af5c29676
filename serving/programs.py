"""Which programs Triton runs: in a native repository one a step, in an embedded one the steps that always follow each other share one.

Handing tensors from one Python process to another costs more than most steps compute: on two CPU cores a step of 0.2 ms took 1 ms
more in its own process. So the runner of an embedded repository runs encode, retrieve and rank one after the other. They stay three
ONNX files with the same tensors, and order stays apart, because ``k`` and ``diversity`` differ from request to request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from serving.tensors import Contract, Ensemble, Join, StepModel

VERSION: Final = "1"
SCORE: Final = "recommend_score"
"""The program of the steps that share one."""
SHARED: Final = ("recommend_encode", "recommend_retrieve", "recommend_rank")
"""Those steps, in their order."""

Target = Literal["embedded", "native"]


@dataclass(frozen=True)
class Program:
    """One model of Triton's that computes.

    Attributes:
        model: its name and tensors.
        steps: the steps that it runs, one after the other.
    """

    model: StepModel
    steps: tuple[StepModel, ...]

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
    alone = [Program(model, (model,)) for model in contract.models if target == "native" or model.name not in SHARED]
    if target == "native":
        return tuple(alone), contract.ensembles
    by_name = {model.name: model for model in contract.models}
    score = _shared([by_name[name] for name in SHARED])
    return (score, *alone), tuple(_joined(ensemble) for ensemble in contract.ensembles)


def step_file(repository: Path, step: str) -> Path:
    """Return where the ONNX file of a step lies, whether it has a program of its own or shares one."""
    shared = repository / SCORE / VERSION / f"{step}.onnx"
    return shared if shared.is_file() else repository / step / VERSION / "model.onnx"


def _shared(steps: Sequence[StepModel]) -> Program:
    """Return the program of steps that read what a client gives and what those before them computed."""
    outputs = tuple(tensor for step in steps for tensor in step.outputs)
    trim: Mapping[str, str] = {output: given for step in steps for output, given in step.trim.items()}
    return Program(replace(steps[0], name=SCORE, outputs=outputs, trim=trim), tuple(steps))


def _joined(ensemble: Ensemble) -> Ensemble:
    """Return the ensemble with the shared program in place of its steps, giving what the other steps or the client need."""
    shared = [step for step in ensemble.steps if step.model in SHARED]
    others = [step for step in ensemble.steps if step.model not in SHARED]
    if not shared:
        return ensemble
    needed = {name for step in others for name in step.inputs.values()} | {tensor.name for tensor in ensemble.outputs}
    outputs = {own: name for step in shared for own, name in step.outputs.items() if name in needed}
    return replace(ensemble, steps=(Join(SCORE, shared[0].inputs, outputs), *others))
