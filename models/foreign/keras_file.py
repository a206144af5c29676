"""Reads a Keras model of one file, ``.keras`` or HDF5, of Keras 2 or Keras 3."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cartwheel.core.errors import NotCompilableError, RunError
from models.foreign.interface import ForeignModel
from models.foreign.tensorflow_graph import from_function


def read_keras_model(path: Path) -> ForeignModel:
    """Read a model with the Keras that wrote it; layers that hold Python code are not built.

    Raises:
        NotCompilableError: if a layer is not one of Keras's, or cannot be served.
        RunError: if the file is no Keras model.
    """
    from cartwheel.merlin_compat import tf

    keras = _keras_of(path)
    if zipfile.is_zipfile(path) is False and _holds_python(path):
        raise _only_python(path, "a Lambda")
    try:
        model = keras.models.load_model(str(path), compile=False, safe_mode=True)
    except Exception as error:
        text = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
        if "nknown layer" in text or "ould not locate class" in text or "ambda" in text:
            raise _only_python(path, text) from error
        raise RunError(f"{path} is not a readable Keras model ({text}).", "Save it again with `model.save`.") from error
    names = [tensor.name.split(":")[0] for tensor in model.inputs]
    specs = {
        name: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype, name=name)
        for name, tensor in zip(names, model.inputs, strict=True)
    }
    outputs = list(getattr(model, "output_names", None) or [f"output_{place}" for place in range(len(model.outputs))])

    def call(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        given = [tensors[name] for name in names]
        found = model(given if len(given) > 1 else given[0], training=False)
        if isinstance(found, Mapping):
            return found
        return dict(zip(outputs, found if isinstance(found, (list, tuple)) else [found], strict=True))

    return from_function(call, specs, path, f"Keras {keras.__version__}")


def _only_python(path: Path, what: str) -> NotCompilableError:
    return NotCompilableError(
        f"{path} has a layer that only its own Python code can build ({what}).",
        "Save the model as a SavedModel: `tf.saved_model.save(model, folder)`, or `model.export(folder)` in Keras 3.",
    )


def _holds_python(path: Path) -> bool:
    """Whether an HDF5 file holds a layer of Python code, which Keras would run whatever it is told."""
    import h5py

    try:
        with h5py.File(path) as held:
            return '"Lambda"' in str(held.attrs.get("model_config", ""))
    except OSError:
        return False


def _keras_of(path: Path) -> Any:
    """Return the Keras that can read a file: that of its major version; HDF5 is taken for Keras 2's."""
    import importlib

    version = "2"
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as held:
                version = str(json.loads(held.read("metadata.json"))["keras_version"])
        except (KeyError, ValueError, TypeError) as error:
            raise RunError(
                f"{path} does not name the Keras release that wrote it.", "Save it again with `model.save`."
            ) from error
    return importlib.import_module("tf_keras" if version.startswith("2") else "keras")
