"""Reads a model by what lies where it was saved."""

from __future__ import annotations

from pathlib import Path

from cartwheel.core.errors import RunError
from models.foreign.interface import ForeignModel
from models.foreign.saved_model import FILE


def read_model(path: Path) -> ForeignModel:
    """Read a SavedModel (Keras, Merlin Models), a Keras file or an ONNX file.

    Raises:
        NotCompilableError: if a layer has no ONNX form.
        RunError: if there is no model, or it cannot be read.
    """
    if (path / FILE).is_file():
        from models.foreign.saved_model import read_saved_model

        return read_saved_model(path)
    if path.is_dir():
        held = ", ".join(sorted(each.name for each in path.iterdir())[:8]) or "nothing"
        raise RunError(
            f"{path} holds no model: there is no {FILE} in it, but {held}.", "Give the folder that `model.save` wrote."
        )
    if not path.is_file():
        raise RunError(f"There is no model at {path}.", "Give the folder or the file that the model was saved to.")
    if path.suffix == ".onnx":
        from models.foreign.onnx_file import read_onnx_model

        return read_onnx_model(path)
    if path.suffix in (".keras", ".h5", ".hdf5"):
        from models.foreign.keras_file import read_keras_model

        return read_keras_model(path)
    raise RunError(
        f"{path} has an unknown format: a model file ends with .onnx, .keras or .h5.",
        "Save it as a SavedModel, a Keras file or ONNX.",
    )
