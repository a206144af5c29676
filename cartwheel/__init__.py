"""Cartwheel: shop events in, measured models, gRPC answers out.

What is named here is the public interface. Each name is imported when it is first used, so ``import cartwheel`` is quick and needs no more
than what is asked of it: a client needs gRPC and NumPy, ``open_run`` what the stages need.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

__version__ = "0.3.0"

if TYPE_CHECKING:
    from cartwheel.api import Run, evaluate, export, open_run, prepare, train
    from cartwheel.core.errors import (
        CartwheelError,
        ComparisonError,
        ConfigError,
        DataError,
        LeakageError,
        MissingDependencyError,
        NotCompilableError,
        ParityError,
        RunError,
        ServerError,
        UsageError,
    )
    from cartwheel.pipeline.foreign.compiled import CompiledWorkflow, compile_workflow
    from cartwheel.pipeline.foreign.export_model import ServedModel, export_model
    from cartwheel.pipeline.foreign.items import TopK
    from cartwheel.pipeline.foreign.serving import serve_model
    from cartwheel.pipeline.foreign.systems import convert_systems
    from evaluation.metric import Metric
    from models.families.family import Fitted, Learner, Tags, TrainingData, Tune
    from serving.client.async_client import AsyncClient
    from serving.client.client import Client
    from serving.rules.rules import Rules
    from workflows.features.column import Column, Kind, Owner
    from workflows.features.family import Event, FeatureFamily, Moments
    from workflows.tasks.task import AnchorRule, Answer, Entity, Label, Labels, Task

_HOMES: Final = {
    "cartwheel.api": ("Run", "evaluate", "export", "open_run", "prepare", "train"),
    "cartwheel.core.errors": (
        "CartwheelError",
        "ComparisonError",
        "ConfigError",
        "DataError",
        "LeakageError",
        "MissingDependencyError",
        "NotCompilableError",
        "ParityError",
        "RunError",
        "ServerError",
        "UsageError",
    ),
    "cartwheel.pipeline.foreign.compiled": ("CompiledWorkflow", "compile_workflow"),
    "cartwheel.pipeline.foreign.export_model": ("ServedModel", "export_model"),
    "cartwheel.pipeline.foreign.items": ("TopK",),
    "cartwheel.pipeline.foreign.serving": ("serve_model",),
    "cartwheel.pipeline.foreign.systems": ("convert_systems",),
    "evaluation.metric": ("Metric",),
    "models.families.family": ("Fitted", "Learner", "Tags", "TrainingData", "Tune"),
    "serving.client.async_client": ("AsyncClient",),
    "serving.client.client": ("Client",),
    "serving.rules.rules": ("Rules",),
    "workflows.features.column": ("Column", "Kind", "Owner"),
    "workflows.features.family": ("Event", "FeatureFamily", "Moments"),
    "workflows.tasks.task": ("AnchorRule", "Answer", "Entity", "Label", "Labels", "Task"),
}
"""Module -> the public names that it defines."""
_HOME_OF: Final = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AnchorRule",
    "Answer",
    "AsyncClient",
    "CartwheelError",
    "Client",
    "Column",
    "ComparisonError",
    "CompiledWorkflow",
    "ConfigError",
    "DataError",
    "Entity",
    "Event",
    "FeatureFamily",
    "Fitted",
    "Kind",
    "Label",
    "Labels",
    "LeakageError",
    "Learner",
    "Metric",
    "MissingDependencyError",
    "Moments",
    "NotCompilableError",
    "Owner",
    "ParityError",
    "Rules",
    "Run",
    "RunError",
    "ServedModel",
    "ServerError",
    "Tags",
    "Task",
    "TopK",
    "TrainingData",
    "Tune",
    "UsageError",
    "compile_workflow",
    "convert_systems",
    "evaluate",
    "export",
    "export_model",
    "open_run",
    "prepare",
    "serve_model",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name from where it is defined."""
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'cartwheel' has no attribute {name!r}")
    from cartwheel.core.rooms import check_rooms

    check_rooms()
    value = globals()[name] = getattr(importlib.import_module(module), name)  # found here the next time
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted([*__all__, "__version__"])
