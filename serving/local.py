"""Answers requests from a repository in this process, with ONNX Runtime and without Triton.

For parity checks, tests and offline use; it runs the same files in the same order as Triton's ensembles do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cartwheel.core.errors import RunError, UsageError
from cartwheel.core.onnx_model import open_session
from serving.contract.programs import step_file
from serving.contract.tensors import NUMPY_TYPES, Contract, Ensemble, Tensor
from serving.contract.version import told_writer

METADATA = "cartwheel.json"
"""File at the root of a repository that tells what it holds."""


def read_metadata(repository: Path) -> dict[str, Any]:
    """Read ``cartwheel.json`` of a repository.

    Raises:
        RunError: if it is missing or not readable.
    """
    try:
        content: dict[str, Any] = json.loads((repository / METADATA).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{repository} is not a Cartwheel repository: {error}.", "Write one with `cartwheel export`.") from None
    return content


class LocalRepository:
    """A repository whose models run in this process.

    Args:
        path: the repository.
        threads: ONNX Runtime threads within a step.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.path = path
        self.metadata = read_metadata(path)
        self.contract = _contract(path, self.metadata)
        self._threads = threads
        self._sessions: dict[str, Any] = {}
        self._ensembles = {ensemble.name: ensemble for ensemble in self.contract.ensembles}

    def ask(self, ensemble: str, **inputs: npt.ArrayLike) -> dict[str, npt.NDArray[Any]]:
        """Answer one request.

        Args:
            ensemble: ``recommend``, ``cart``, ``similar_items``, or the name of a declared task.
            **inputs: its inputs; optional ones may be left out.

        Returns:
            Its outputs by name.

        Raises:
            UsageError: if the ensemble or an input is not known, or an input is missing or out of range.
        """
        if ensemble not in self._ensembles:
            raise UsageError(f"There is no ensemble {ensemble!r}.", f"Ask one of {sorted(self._ensembles)}.")
        found = self._ensembles[ensemble]
        tensors = _checked(found, inputs)
        for step in found.steps:
            feeds = {own: tensors[shared] for own, shared in step.inputs.items() if shared in tensors}
            answers = self.run(step.model, feeds)
            tensors.update({shared: answers[own] for own, shared in step.outputs.items()})
        return {tensor.name: tensors[tensor.name] for tensor in found.outputs}

    def run(self, model: str, feeds: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Run one step model and return all its outputs by name."""
        session = self._session(model)
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))

    def _session(self, model: str) -> Any:
        if model not in self._sessions:
            self._sessions[model] = open_session(step_file(self.path, model), self._threads)
        return self._sessions[model]


def _contract(path: Path, metadata: Mapping[str, Any]) -> Contract:
    try:
        return Contract.from_json(metadata["contract"])
    except (KeyError, TypeError) as error:
        raise RunError(
            f"{path / METADATA} has no contract that can be read ({error}){told_writer(path)}.",
            "Write the repository again with `cartwheel export`.",
        ) from None


def _checked(ensemble: Ensemble, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, npt.NDArray[Any]]:
    declared = {tensor.name: tensor for tensor in ensemble.inputs}
    unknown = sorted(set(inputs) - set(declared))
    if unknown:
        raise UsageError(f"{ensemble.name!r} has no inputs {unknown}.", f"Its inputs are {sorted(declared)}.")
    missing = [tensor.name for tensor in ensemble.inputs if not tensor.optional and tensor.name not in inputs]
    if missing:
        raise UsageError(f"{ensemble.name!r} needs the inputs {missing}.", "Give them.")
    values = {name: _value(declared[name], value) for name, value in inputs.items()}
    rows = {name: len(value) for name, value in values.items() if declared[name].batched}
    if len(set(rows.values())) > 1:
        raise UsageError(f"The inputs differ in their number of rows: {rows}.", "Give each the same first size.")
    for size in {tensor.shape[1] for tensor in declared.values() if tensor.batched and isinstance(tensor.shape[1], str)}:
        widths = {name: value.shape[1] for name, value in values.items() if declared[name].shape[1:] == (size,)}
        if len(set(widths.values())) > 1:
            raise UsageError(f"The inputs differ in the length of their lists: {widths}.", "Give each the same second size.")
    return values


def _value(tensor: Tensor, given: npt.ArrayLike) -> npt.NDArray[Any]:
    value = np.asarray(given, dtype=NUMPY_TYPES[tensor.dtype])
    if value.ndim != len(tensor.shape) or not all(
        isinstance(size, str) or size == found for size, found in zip(tensor.shape, value.shape, strict=True)
    ):
        raise UsageError(f"The input {tensor.name!r} has shape {list(value.shape)}.", f"Give it with shape {list(tensor.shape)}.")
    rule = tensor.allowed
    if rule is None:
        return value
    good = (value >= rule["low"]) & (value <= rule["high"]) | (bool(rule.get("zero")) & (value == 0))
    if rule.get("nan"):
        good |= np.isnan(value)
    if not good.all():
        raise UsageError(f"The input {tensor.name!r} holds {value[~good][0]};", f"{rule['sentence']}.")
    return value
