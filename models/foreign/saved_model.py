"""Reads TensorFlow's SavedModel format, as Keras and Merlin Models write it.

Its graph is taken as it was saved: no class of Keras or Merlin is built anew, so that neither needs to know the other's version.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cartwheel.core.errors import NotCompilableError, RunError
from models.foreign.interface import ForeignModel
from models.foreign.tensorflow_graph import from_function

FILE: Final = "saved_model.pb"
SIGNATURE: Final = "serving_default"
_CUSTOM: Final = re.compile(r"Op type not registered '(?P<op>[^']+)'")


def read_saved_model(path: Path) -> ForeignModel:
    """Read the signature ``serving_default`` of a SavedModel.

    Raises:
        NotCompilableError: if it has an operation that this TensorFlow does not know, or one without an ONNX form; names both.
        RunError: if it cannot be read, or has no such signature.
    """
    from cartwheel.merlin_compat import tf

    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # TensorFlow raises its own and Python's
        if found := _CUSTOM.search(str(error)):
            raise NotCompilableError(
                f"The SavedModel {path} has the custom operation {found['op']!r}, which this TensorFlow does not know.",
                "Save the model without it, or give the model as ONNX.",
            ) from error
        raise RunError(
            f"The SavedModel {path} cannot be read ({_line(error)}).", "Save it again with `model.save(folder)`."
        ) from error
    if SIGNATURE not in loaded.signatures:
        there = ", ".join(loaded.signatures) or "none"
        raise RunError(
            f"The SavedModel {path} has no signature {SIGNATURE!r}; it has {there}.",
            "Save the model after it was fitted or called.",
        )
    specs = dict(sorted(loaded.signatures[SIGNATURE].structured_input_signature[1].items()))

    def call(tensors: Mapping[str, Any]) -> Mapping[str, Any]:
        # By way of ``loaded``, without which the variables of its functions are let go of.
        found: Mapping[str, Any] = loaded.signatures[SIGNATURE](**tensors)
        return found

    return from_function(call, specs, path, "SavedModel")


def _line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
