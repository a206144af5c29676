"""What a model's folder says about it: ``config.json``, from which, with the weights, the model is rebuilt."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from cartwheel.core.errors import RunError
from cartwheel.core.files import write_json
from cartwheel.core.run_layout import ModelLayout
from cartwheel.core.settings import Settings

_PACKAGES: Final = ("merlin-models", "tensorflow", "tf-keras", "tf2onnx", "implicit")

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class ModelConfig(Generic[S]):
    """The content of ``config.json``.

    Attributes:
        model: ``two_tower``, ``als``, ``bpr``, ``ranking`` or ``cart``.
        settings: the model's typed configuration.
        sizes: ids of each categorical column.
        seed: the seed it was trained with.
        examples: rows it was trained and validated on, by split.
        notes: sentences about anything that did not go the usual way.
        own: declarations of the own columns that it reads; see ``workflows.features.feature_set``.
    """

    model: str
    settings: S
    sizes: dict[str, int]
    seed: int
    examples: dict[str, int]
    notes: list[str] = field(default_factory=list)
    own: list[dict[str, Any]] = field(default_factory=list)


def files_for(model: ModelLayout, split: str) -> ModelLayout:
    """Return the files of the model that has learnt nothing of ``split``."""
    return model.validation if split == "valid" and model.validation.path.is_dir() else model


def write_config(folder: Path, config: ModelConfig[Any]) -> None:
    """Write ``config.json``."""
    content = dict(vars(config)) | {"settings": config.settings.model_dump(mode="json"), "versions": _versions()}
    write_json(ModelLayout(folder).config, content)


def read_config(folder: Path, model: str, settings: type[S]) -> ModelConfig[S]:
    """Read ``config.json``.

    Args:
        folder: the model's folder.
        model: the model that is expected there.
        settings: the class of its settings.

    Raises:
        RunError: if the file is missing, corrupt or of another model.
    """
    path = ModelLayout(folder).config
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content.pop("versions")
        if content["model"] == model:
            return ModelConfig(**content | {"settings": settings.model_validate(content["settings"])})
        found = content["model"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise RunError(
            f"{path} cannot be read as the configuration of a trained model ({reason}).", "Train the model again."
        ) from error
    raise RunError(f"{path} describes the model {found!r}, where {model!r} is expected.", "Train the model again.")


def _versions() -> dict[str, str]:
    return {package: version for package in _PACKAGES if (version := _version(package))}


def _version(package: str) -> str:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return ""
