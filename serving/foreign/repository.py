"""Writes the Triton repository of a model that was not trained here: one ensemble, and one program that computes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import onnx

import cartwheel
from cartwheel.core.errors import RunError, UsageError
from cartwheel.core.files import atomic_path, sha256, write_json
from serving.contract.limits import PARAMETER as LIMITS
from serving.contract.limits import Limits
from serving.contract.model_form import LENGTHS, MISSING, PARAMETER, ModelForm, RawColumn
from serving.contract.programs import READ, VERSION, programs
from serving.contract.questions import PARAMETER as QUESTION
from serving.contract.questions import question_parameter
from serving.contract.tensors import Contract, Ensemble, Join, StepModel, Tensor
from serving.contract.triton_config import ensemble_config, program_config
from serving.local import METADATA
from serving.settings import ExportSettings, ServeSettings

_RUNNER: Final = Path(__file__).resolve().parents[1] / "server" / "runner.py"
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
_LARGEST: Final = 2**31 - 1


def write_model_repository(
    target: Path,
    form: ModelForm,
    graph: onnx.ModelProto,
    settings: ExportSettings,
    check: Callable[[Path], None],
    *,
    together: bool,
) -> Path:
    """Write a repository, once its answers are checked.

    Args:
        target: folder of the repository, which is replaced whole, or stays as it is.
        form: what clients see.
        graph: answers a request: inputs and outputs as :func:`request_tensors` and the form say.
        settings: target and batching.
        check: raises where the answers of the repository that it is given are wrong.
        together: whether requests of different callers may be answered by one run of the graph.

    Returns:
        ``target``.

    Raises:
        UsageError: if the name is none for a model of Triton's.
        RunError: if the graph is too large for a file.
        ParityError: as ``check`` raises it.
    """
    if not form.name or set(form.name) - _PLAIN or form.name == READ:
        raise UsageError(
            f"The name {form.name!r} is not valid for a served model.", "Use only letters, digits, '_', '-' and '.' in --name."
        )
    contract = model_contract(form, together=together)
    with atomic_path(target) as aside:
        _write(aside, form, contract, graph, settings)
        check(aside)
    return target


def request_tensors(column: RawColumn) -> tuple[Tensor, ...]:
    """Return the tensors by which a raw column is given."""
    slots: tuple[int | str, ...] = ("B", f"L_{column.name}") if column.listed else ("B", 1)
    tensors = [Tensor(column.name, column.dtype, slots, "the raw column of this name")]
    if column.nullable and not column.is_float:
        tensors.append(Tensor(column.name + MISSING, "bool", slots, f"where {column.name} is missing", optional=True))
    if column.ragged:
        allowed = {"low": 0, "high": _LARGEST, "sentence": "give how many values of each list are elements"}
        tensors.append(
            Tensor(column.name + LENGTHS, "int64", ("B", 1), f"lengths of {column.name}", optional=True, allowed=allowed)
        )
    return tuple(tensors)


def model_contract(form: ModelForm, *, together: bool) -> Contract:
    """Return the tensor contract of a model's repository."""
    inputs = tuple(tensor for column in form.columns for tensor in request_tensors(column))
    outputs = tuple(
        Tensor(each.name, each.dtype, ("B", each.width or f"n_{each.name}"), "the model's answer") for each in form.answers
    )
    lengths = {column.name + LENGTHS: column.name for column in form.columns if column.ragged}
    step = StepModel(f"{form.name}_score", inputs, outputs, batched=together, alone=not together, lengths=lengths)
    join = Join(step.name, {each.name: each.name for each in inputs}, {each.name: each.name for each in outputs})
    return Contract((step,), (Ensemble(form.name, f"The model {form.name} ({form.kind}).", inputs, outputs, (join,)),))


def _write(root: Path, form: ModelForm, contract: Contract, graph: onnx.ModelProto, settings: ExportSettings) -> None:
    parts, ensembles = programs(contract, settings.target)
    for program in parts:
        folder = root / program.model.name / VERSION
        folder.mkdir(parents=True)
        for file in program.files if program.steps else ():
            _save(graph, folder / file, form.name)
        if settings.target == "embedded":
            shutil.copyfile(_RUNNER, folder / "model.py")
        (folder.parent / "config.pbtxt").write_text(program_config(program, settings), encoding="utf-8")
    lists = tuple(column.name for column in form.columns if column.ragged)
    shown = {PARAMETER: form.parameter(), "cartwheel": cartwheel.__version__}
    if settings.target == "embedded":
        shown[LIMITS] = Limits.of(ServeSettings(), settings.max_batch, lists=lists).parameter()
    for ensemble, declared in zip(ensembles, contract.ensembles, strict=True):
        folder = root / ensemble.name / VERSION
        folder.mkdir(parents=True)
        (folder / ".keep").touch()  # Triton wants the version folder of an ensemble
        parameters = {**shown, QUESTION: question_parameter(declared.inputs, _question(form))}
        (folder.parent / "config.pbtxt").write_text(ensemble_config(ensemble, parameters), encoding="utf-8")
    metadata: dict[str, Any] = {
        "cartwheel": cartwheel.__version__,
        "target": settings.target,
        "id_types": {},
        "sizes": None,
        "tasks": [],
        "model": form.parameter(),
        "contract": contract.to_json(),
    }
    paths = [path for path in sorted(root.rglob("*")) if path.is_file()]
    files = {path.relative_to(root).as_posix(): sha256(path) for path in paths}
    write_json(root / METADATA, {**metadata, "files": files})


def _save(graph: onnx.ModelProto, path: Path, name: str) -> None:
    try:
        onnx.save(graph, path)
    except ValueError as error:
        raise RunError(
            f"The model {name} with its workflow is too large for one ONNX file (2 GB): {error}.",
            "Train it with smaller embeddings, or vocabularies with a frequency threshold.",
        ) from None


def _question(form: ModelForm) -> dict[str, Any]:
    return {column.name: ["" if column.dtype == "string" else 0] for column in form.columns}
