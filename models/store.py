"""What a model's folder says about it: ``config.json``, from which, with the weights, the model is rebuilt."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from pydantic import ValidationError

from cartwheel.errors import RunError
from cartwheel.files import write_json
from models.settings import TrainingSettings

CONFIG_FILE: Final = "config.json"
HISTORY_FILE: Final = "history.json"
_PACKAGES: Final = ("merlin-models", "tensorflow-cpu", "tensorflow", "tf2onnx")

S = TypeVar("S", bound=TrainingSettings)


@dataclass(frozen=True)
class ModelConfig(Generic[S]):
    """The content of ``config.json``.

    Attributes:
        model: ``two_tower``, ``ranking`` or ``cart``.
        settings: the model's typed configuration.
        sizes: ids of each categorical column.
        seed: the seed it was trained with.
        examples: rows it was trained and validated on, by split.
        notes: sentences about anything that did not go the usual way.
    """

    model: str
    settings: S
    sizes: dict[str, int]
    seed: int
    examples: dict[str, int]
    notes: list[str] = field(default_factory=list)


def write_config(folder: Path, config: ModelConfig[Any]) -> None:
    """Write ``config.json``."""
    content = dict(vars(config)) | {"settings": config.settings.model_dump(mode="json"), "versions": _versions()}
    write_json(folder / CONFIG_FILE, content)


def read_config(folder: Path, model: str, settings: type[S]) -> ModelConfig[S]:
    """Read ``config.json``.

    Args:
        folder: the model's folder.
        model: the model that is expected there.
        settings: the class of its settings.

    Raises:
        RunError: if the file is missing, corrupt or of another model.
    """
    path = folder / CONFIG_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content.pop("versions")
        config = ModelConfig(**content | {"settings": settings.model_validate(content["settings"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise RunError(
            f"{path} cannot be read as the configuration of a trained model ({error}).", "Train the model again."
        ) from error
    if config.model != model:
        raise RunError(f"{path} describes the model {config.model!r}, where {model!r} is expected.", "Train the model again.")
    return config


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
