"""Loading one ``Categorify`` of a large vocabulary and encoding the first request with it, as stages of children.

All answer the same rows: the first value of the vocabulary, the last and an unknown one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.encoding.child import Stages

COLUMN: Final = "user_id"
_UNKNOWN: Final = "nobody"


def prepare(keys: int, folder: str) -> Stages:
    """Fit and save what the others load.

    Args:
        keys: size of the vocabulary.
        folder: gets ``workflow/``, as NVTabular saves it, and ``request.onnx``.
    """
    import onnx
    import polars as pl
    from nvtabular import Workflow, ops

    from benchmarks.encoding.events import names
    from workflows.compiler.fit import fit_workflow
    from workflows.compiler.plan.compile_onnx import compile_onnx
    from workflows.compiler.plan.read import read_plan

    def fit() -> None:
        workflow = Workflow([COLUMN] >> ops.Categorify())
        fit_workflow(workflow, pl.DataFrame({COLUMN: names("user", np.arange(keys))}), Path(folder))
        workflow.save(str(Path(folder) / "workflow"))
        onnx.save(compile_onnx(read_plan(workflow), [COLUMN], "request"), str(Path(folder) / "request.onnx"))

    return [("fit", fit)]


def onnx_session(keys: int, folder: str) -> Stages:
    """Load the compiled graph in ONNX Runtime."""
    import onnxruntime

    from workflows.compiler.onnx_graph import ENCODED_SUFFIX

    feed = {COLUMN: np.array(_values(keys), dtype=object).reshape(-1, 1)}
    sessions: list[Any] = []

    def load() -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        path = str(Path(folder) / "request.onnx")
        sessions.append(onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]))

    def ask() -> list[int]:
        (ids,) = sessions[0].run([COLUMN + ENCODED_SUFFIX], feed)
        return [int(value) for value in ids.reshape(-1)]

    return [("load", load), ("first", ask), ("second", ask)]


def polars_table(keys: int, folder: str) -> Stages:
    """Load the workflow, read its plan and encode with the Polars back end."""
    import polars as pl
    from nvtabular import Workflow

    from workflows.compiler.plan.compile_polars import compile_polars
    from workflows.compiler.plan.read import read_plan

    frame = pl.DataFrame({COLUMN: _values(keys)}).lazy()
    plans: list[Any] = []

    def ask() -> list[int]:
        return [int(value) for value in compile_polars(plans[0], frame).collect()[COLUMN]]

    def load() -> None:
        plans.append(read_plan(Workflow.load(str(Path(folder) / "workflow"))))

    return [("load", load), ("first", ask), ("second", ask)]


def transform(keys: int, folder: str) -> Stages:
    """Load the workflow in NVTabular and transform with it."""
    import pandas as pd
    from nvtabular import Workflow

    frame = pd.DataFrame({COLUMN: _values(keys)})
    workflows: list[Any] = []

    def ask() -> list[int]:
        return [int(value) for value in workflows[0].transform(frame)[COLUMN]]

    return [("load", lambda: workflows.append(Workflow.load(str(Path(folder) / "workflow")))), ("first", ask), ("second", ask)]


def cpp(keys: int, folder: str) -> Stages:
    """Load the workflow in NVTabular and its vocabulary in NVTabular's C++ operator."""
    from nvtabular import Workflow

    array = np.array(_values(keys), dtype=object)
    operators: list[Any] = []

    def load() -> None:
        operator = Workflow.load(str(Path(folder) / "workflow")).output_node.op
        operators.append(operator.inference_initialize(None, {}))

    def ask() -> list[int]:
        return [int(value) for value in operators[0].transform(None, {COLUMN: array})[COLUMN]]

    return [("load", load), ("first", ask), ("second", ask)]


def _values(keys: int) -> list[str]:
    from benchmarks.encoding.events import names

    return [*names("user", np.array([0, keys - 1])).to_list(), _UNKNOWN]
