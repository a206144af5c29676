"""``config.pbtxt`` texts from the tensor contract.

Fields: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from serving.contract.limits import PARAMETER, STORED, Limits
from serving.contract.programs import Program
from serving.contract.tensors import TRITON_TYPES, Ensemble, Join, Tensor
from serving.settings import ExportSettings, ServeSettings

READING: Final = 'parameters { key: "first" value: { string_value: "true" } }'
"""The line of a configuration by which the program is known that every request comes to first."""
UNBOUNDED: Final = 'parameters { key: "queue" value: { string_value: "unbounded" } }'
"""The line of a configuration whose program wants no bounds of Triton's for what waits for it."""
_NO_FILES: Final = 'parameters { key: "files" value: { string_value: "[]" } }'
_PROCESSES: Final = re.compile(r"^(?P<before>instance_group \[ \{ count: )\d+(?P<after> kind: KIND_CPU \} \])$", re.MULTILINE)


def program_config(program: Program, settings: ExportSettings, stored: int = STORED) -> str:
    """Return the config of a program.

    With target ``embedded`` the Python runner answers, and batches every program that has a batch. With ``native`` the
    onnxruntime backend answers; it takes optional inputs only where Triton does not batch, so the encode step is not batched.
    ``stored`` is the most items that the snapshot leaves out for a shopper.
    """
    model, embedded = program.model, settings.target == "embedded"
    batching = model.batched and (embedded or not any(tensor.optional for tensor in model.inputs))
    lines = [
        f'name: "{model.name}"',
        f'backend: "{"python" if embedded else "onnxruntime"}"',
        f"max_batch_size: {settings.max_batch if batching else 0}",
    ]
    lines += [_tensor("input", tensor, batching, ragged=batching and embedded) for tensor in model.inputs]
    lines += [_tensor("output", tensor, batching, ragged=False) for tensor in model.outputs]
    if batching:
        lines.append(f"dynamic_batching {{ max_queue_delay_microseconds: {settings.queue_microseconds} }}")
    lines += _parameters(_runner_parameters(program, settings, stored) if embedded else {"intra_op_thread_count": "1"})
    if embedded:
        lines.append(f"instance_group [ {{ count: {1 if program.steps else ServeSettings().read_processes} kind: KIND_CPU }} ]")
    return "\n".join(lines) + "\n"


def ensemble_config(ensemble: Ensemble, parameters: Mapping[str, str]) -> str:
    """Return the config of an ensemble; ``parameters`` are shown to clients."""
    lines = [f'name: "{ensemble.name}"', 'platform: "ensemble"', "max_batch_size: 0"]
    lines += [_tensor("input", tensor, batching=False, ragged=False) for tensor in ensemble.inputs]
    lines += [_tensor("output", tensor, batching=False, ragged=False) for tensor in ensemble.outputs]
    lines.append("ensemble_scheduling {")
    for step in ensemble.steps:
        lines += _step(step)
    lines.append("}")
    lines += _parameters(parameters)
    return "\n".join(lines) + "\n"


def with_processes(config: str, settings: ServeSettings) -> str:
    """Return the text of a ``config.pbtxt`` with as many processes as the settings set; only what computes nothing has several."""
    if _NO_FILES not in config.splitlines():
        return config
    return _PROCESSES.sub(rf"\g<before>{settings.read_processes}\g<after>", config)


def _tensor(role: str, tensor: Tensor, batching: bool, ragged: bool) -> str:
    shape = tensor.shape[1:] if batching else tensor.shape
    dims = ", ".join("-1" if isinstance(size, str) else str(size) for size in shape)
    extra = " optional: true" if role == "input" and tensor.optional else ""
    extra += " allow_ragged_batch: true" if ragged and tensor.varies else ""
    return f"{role} [ {{ name: {_text(tensor.name)} data_type: {TRITON_TYPES[tensor.dtype]} dims: [ {dims} ]{extra} }} ]"


def _text(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _step(step: Join) -> Sequence[str]:
    lines = ["  step [ {", f'    model_name: "{step.model}"', "    model_version: -1"]
    for role, names in (("input_map", step.inputs), ("output_map", step.outputs)):
        lines += [f"    {role} {{ key: {_text(own)} value: {_text(shared)} }}" for own, shared in names.items()]
    return [*lines, "  } ]"]


def _runner_parameters(program: Program, settings: ExportSettings, stored: int) -> dict[str, str]:
    model = program.model
    allowed = {tensor.name: tensor.allowed for tensor in model.inputs if tensor.allowed}
    shapes = {tensor.name: list(tensor.shape) for tensor in model.inputs}
    contents = {
        "allowed": allowed,
        "columns": dict(program.columns),
        "files": program.files,
        "first": model.first,
        "required": program.required,
        "shapes": shapes,
        "lengths": dict(model.lengths),
        "trim": dict(model.trim),
    }
    written = {name: json.dumps(content, sort_keys=True) for name, content in contents.items()}
    if not model.first:
        written["queue"] = "unbounded"
    limits = Limits.of(ServeSettings(), settings.max_batch, stored, program.lists)
    return {PARAMETER: limits.parameter(), "intra_op_threads": "1", **written}


def _parameters(parameters: Mapping[str, str]) -> list[str]:
    return [
        f"parameters {{ key: {json.dumps(key)} value: {{ string_value: {json.dumps(value)} }} }}"
        for key, value in sorted(parameters.items())
    ]
