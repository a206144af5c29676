"""The peer of ``benchmarks/foreign.py``: NVTabular's transform and TensorFlow in one model of Triton's Python backend.

Requests that Triton hands over together are one table, one transform and one call of the SavedModel's compiled signature.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore")

import triton_python_backend_utils as pb_utils  # noqa: E402

_COLUMNS = ("userId", "movieId", "age")


class TritonPythonModel:
    """The interface that Triton's Python backend looks for by this name."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the workflow and the model."""
        from cartwheel.merlin_compat import tf

        parameters = {key: value["string_value"] for key, value in json.loads(args["model_config"])["parameters"].items()}
        import nvtabular as nvt
        import pandas as pd

        self._tf, self._pandas = tf, pd
        self._workflow = nvt.Workflow.load(parameters["folder"])
        self._loaded = tf.saved_model.load(parameters["model"])
        self._signature = self._loaded.signatures["serving_default"]
        self._specs = self._signature.structured_input_signature[1]
        self._score([[np.array([[1]]), np.array([[1]]), np.array([[30.0]], np.float32)]])  # traces before the first request

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer requests, in their order."""
        given = [[pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in _COLUMNS] for request in requests]
        scores = self._score(given)
        ends = np.cumsum([len(values[0]) for values in given])
        return [
            pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("score", part)]) for part in np.split(scores, ends[:-1])
        ]

    def _score(self, given: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
        columns = {name: np.concatenate([values[place] for values in given])[:, 0] for place, name in enumerate(_COLUMNS)}
        table = self._pandas.DataFrame({**columns, "rating": 0})  # TargetEncoding transforms no table without its target
        encoded = self._workflow.transform(table)
        feeds = {}
        for name, spec in self._specs.items():
            column, _, part = name.partition("__")
            if part == "values":
                values = np.concatenate(encoded[column].to_numpy())
            elif part == "offsets":
                values = np.concatenate([[0], np.cumsum([len(row) for row in encoded[column]])])
            else:
                values = encoded[name].to_numpy()
            feeds[name] = self._tf.constant(values.reshape([-1 if size is None else size for size in spec.shape]), spec.dtype)
        return np.asarray(next(iter(self._signature(**feeds).values())), np.float32)
