"""The second peer of ``benchmarks/foreign.py``: the executor of Merlin Systems in one model of Triton's Python backend.

Merlin Systems exports an executor that calls two further models of the same Triton, of which one needs the TensorFlow backend that
Triton has dropped. Here its operators run within the executor, as Merlin Systems runs an ensemble outside Triton, which saves it those
calls; like its export, it takes one request at a time.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
warnings.filterwarnings("ignore")

import triton_python_backend_utils as pb_utils  # noqa: E402

_COLUMNS = ("userId", "movieId", "age")


class TritonPythonModel:
    """The interface that Triton's Python backend looks for by this name."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Build the ensemble of the workflow and the model."""
        from cartwheel.merlin_compat import mm, tf  # noqa: F401 - mm makes the classes of its models known to Keras

        parameters = {key: value["string_value"] for key, value in json.loads(args["model_config"])["parameters"].items()}
        import merlin
        import nvtabular as nvt

        sys.path.append(parameters["packages"])
        # Merlin's packages share one name, and those that are installed have fixed where it is looked for.
        merlin.__path__ = [*merlin.__path__, str(Path(parameters["packages"]) / "merlin")]
        from merlin.dag.runtime import Runtime
        from merlin.systems.dag.ensemble import Ensemble
        from merlin.systems.dag.ops.tensorflow import PredictTensorflow
        from merlin.systems.dag.ops.workflow import TransformWorkflow
        from merlin.table import TensorTable

        workflow = nvt.Workflow.load(parameters["folder"])
        predict = PredictTensorflow(tf.keras.models.load_model(parameters["model"]))
        steps = workflow.input_schema.column_names >> TransformWorkflow(workflow) >> predict
        self._ensemble, self._runtime, self._table = Ensemble(steps, workflow.input_schema), Runtime(), TensorTable
        self._score([np.array([[1]]), np.array([[1]]), np.array([[30.0]], np.float32)])  # traces before the first request

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer requests, one after the other."""
        answers = []
        for request in requests:
            given = [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in _COLUMNS]
            answers.append(pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("score", self._score(given))]))
        return answers

    def _score(self, given: Sequence[np.ndarray]) -> np.ndarray:
        columns = {name: values[:, 0] for name, values in zip(_COLUMNS, given, strict=True)}
        columns["rating"] = np.zeros(len(given[0]), np.int64)  # TargetEncoding transforms no table without its target
        made = self._ensemble.transform(self._table(columns), runtime=self._runtime)
        return np.asarray(next(iter(made.values())).values, np.float32)
