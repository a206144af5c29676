"""``convert_systems``: an exported ensemble of Merlin Systems as a repository of ours, where its steps have a form.

Merlin Systems (23.x, https://github.com/NVIDIA-Merlin/systems) exports a folder for each step that Triton runs by itself,
``<n>_transformworkflowtriton/1/workflow`` and ``<n>_predicttensorflowtriton/1/model.savedmodel``, and a folder ``executor_model`` whose
``ensemble.pkl`` holds the graph of all steps. That pickle is never loaded: which steps it has is read from the names in it.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cartwheel.core.errors import NotCompilableError, RunError, UsageError

if TYPE_CHECKING:
    from cartwheel.pipeline.foreign.export_model import ServedModel
    from cartwheel.pipeline.foreign.items import TopK

_GRAPH: Final = "ensemble.pkl"
_MODULE: Final = re.compile(r"^merlin\.systems\.dag\.(?:runtimes\.triton\.)?ops\.")
_WORKFLOW: Final = "_transformworkflowtriton/*/workflow"
_MODEL: Final = "_predicttensorflowtriton/*/model.savedmodel"
_HERE: Final[Mapping[str, str]] = {
    "TransformWorkflow": "the workflow, compiled",
    "PredictTensorflow": "the model, as ONNX",
}
_BY_ITEMS: Final = "QueryFaiss"
_WITHOUT: Final[Mapping[str, str]] = {
    "SoftmaxSampling": "it draws items at random by their scores; here the best come first, and exploring is the caller's or the gateway's",
    "UnrollFeatures": "it repeats a shopper's columns for each item; here a request has a row an item, the shopper's columns in each",
    "FilterCandidates": "it takes items of a list away; here the caller leaves them out of the answer",
    "QueryFeast": "it reads a feature store; here the caller gives the columns",
    "PredictForest": "it is a forest of XGBoost, LightGBM or scikit-learn; give it as ONNX to `cartwheel serve-model`",
    "PredictPyTorch": "it is a PyTorch model; give it as ONNX to `cartwheel serve-model`",
    "PredictImplicit": "it is a model of implicit; Cartwheel trains those itself",
}


@dataclass(frozen=True)
class Step:
    """One kind of step of an ensemble.

    Attributes:
        name: its class in Merlin Systems.
        becomes: what it becomes; "" where it has no form.
        why: why it has none, and what to do instead.
    """

    name: str
    becomes: str = ""
    why: str = ""


def read_steps(folder: Path) -> list[Step]:
    """Return the kinds of steps of an exported ensemble.

    Raises:
        RunError: if the folder holds no ensemble of Merlin Systems.
    """
    graphs = sorted(folder.glob(f"*/*/ensemble/{_GRAPH}"))
    if len(graphs) != 1:
        raise RunError(
            f"{folder} holds {len(graphs)} graphs of Merlin Systems (*/1/ensemble/{_GRAPH}), expected one.",
            "Give the folder that `Ensemble.export` wrote.",
        )
    try:
        names = dict.fromkeys(
            name.removesuffix("Triton") for module, name in _classes(graphs[0].read_bytes()) if _MODULE.match(module)
        )
    except Exception as error:  # what is no pickle fails anyhow
        raise RunError(f"{graphs[0]} is not a pickle ({error}).", "Export the ensemble again.") from error
    known = [name for name in names if name in {*_HERE, *_WITHOUT, _BY_ITEMS}]
    other = [
        name for name in names if name not in known and name[:1].isupper() and name not in ("TritonOperator", "InferenceOperator")
    ]
    steps = [Step(name, _HERE[name]) for name in known if name in _HERE]
    if _BY_ITEMS in known:
        steps.append(Step(_BY_ITEMS, "an exact search among the items of --top-k"))
    steps += [Step(name, why=_WITHOUT[name]) for name in known if name in _WITHOUT]
    return steps + [Step(name, why="it is not known here") for name in other]


def convert_systems(
    folder: str | Path, out: str | Path, *, without: Sequence[str] = (), top_k: TopK | None = None, **options: Any
) -> ServedModel:
    """Convert an ensemble of one workflow and one TensorFlow model.

    Args:
        folder: what ``Ensemble.export`` wrote. The workflow in it is a pickle, which is loaded, so that only a folder whose writer you
            trust may be given.
        out: as for :func:`cartwheel.export_model`.
        without: steps without a form that are to be done without.
        top_k: the items, in the place of a Faiss index.
        **options: further arguments of :func:`cartwheel.export_model`.

    Raises:
        NotCompilableError: if a step has no form and is not to be done without; names each.
        UsageError: if ``without`` names a step that the ensemble has not, or a Faiss index has no items.
        RunError: if the folder holds no such ensemble, or several workflows or models.
        CartwheelError: as :func:`cartwheel.export_model` does.
    """
    from cartwheel.pipeline.foreign.export_model import export_model

    steps = read_steps(Path(folder))
    if unknown := sorted(set(without) - {step.name for step in steps}):
        raise UsageError(
            f"{folder} has no steps {unknown}; it has {', '.join(step.name for step in steps)}.", "Name some of those."
        )
    lacking = [step for step in steps if not step.becomes and step.name not in without]
    if lacking:
        told = " ".join(f"{step.name} is not supported: {step.why}." for step in lacking)
        options_ = " ".join(f"--without {step.name}" for step in lacking)
        raise NotCompilableError(f"{folder}: {told}", f"Convert the rest: {options_}.")
    if any(step.name == _BY_ITEMS for step in steps) and top_k is None and _BY_ITEMS not in without:
        raise UsageError(
            f"{folder} searches a Faiss index.",
            "Give the items whose vectors it holds with --top-k ITEMS; see `cartwheel serve-model --help`.",
        )
    workflow, model = _one(Path(folder), _WORKFLOW, "workflow"), _one(Path(folder), _MODEL, "TensorFlow model")
    return export_model(workflow, model, out, top_k=top_k, **{"name": "ensemble", **options})


def _one(folder: Path, pattern: str, what: str) -> Path:
    found = sorted(folder.glob(f"*{pattern}"))
    if len(found) != 1:
        there = ", ".join(path.relative_to(folder).as_posix() for path in found) or "none"
        raise RunError(
            f"{folder} has {len(found)} steps that are a {what} ({there}).",
            "Serve each pair by itself with `cartwheel serve-model --workflow ... --model ...`.",
        )
    return found[0]


def _classes(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield the module and the name of each class that a pickle refers to, without loading it."""
    texts: list[str] = []
    memo: dict[int, str] = {}
    count = 0
    for opcode, argument, _ in pickletools.genops(content):
        name = opcode.name
        if name == "GLOBAL":
            module, _, attribute = str(argument).partition(" ")
            yield module, attribute
        elif "UNICODE" in name and isinstance(argument, str):
            texts.append(argument)
        elif name == "MEMOIZE":
            if texts:
                memo[count] = texts[-1]
            count += 1
        elif name in ("BINGET", "LONG_BINGET") and argument in memo:
            texts.append(memo[argument])
        elif name == "STACK_GLOBAL" and len(texts) > 1:
            yield texts[-2], texts[-1]
