"""NVTabular's combinations hand their inputs on as they came, over the encoded columns of the same names; the plan does not."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from workflows.compiler.plan.compile_onnx import compile_onnx
from workflows.compiler.plan.compile_polars import compile_polars
from workflows.compiler.plan.onnx_frames import encode_onnx, open_session
from workflows.compiler.plan.read import read_plan
from workflows.compiler.quiet import quiet_nvtabular

TABLE = pl.DataFrame({"color": ["red", "blue", "red", "green"], "size": ["s", "m", "m", "s"]})


def test_a_column_that_is_also_combined_stays_encoded(tmp_path: Path) -> None:
    with quiet_nvtabular():
        from merlin.io import Dataset
        from nvtabular import Workflow, ops

        combined = [["color", "size"]] >> ops.Categorify(encode_type="combo", out_path=str(tmp_path))
        graph = (["color"] >> ops.Categorify(out_path=str(tmp_path))) + combined
        workflow = Workflow(graph).fit(Dataset(TABLE.to_pandas()))
        by_nvtabular = workflow.transform(TABLE.to_pandas())["color"].tolist()
    assert str(workflow.output_schema["color"].dtype.name) == "int64"
    plan = read_plan(workflow)
    model = open_session(compile_onnx(plan, ["color"], "colors"))
    for encoded in (compile_polars(plan, TABLE.lazy()).collect(), encode_onnx(model, TABLE)):
        assert encoded["color"].to_list() == [3, 4, 3, 5]
    assert by_nvtabular == TABLE["color"].to_list()
