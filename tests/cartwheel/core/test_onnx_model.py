"""The one runner of ONNX models."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from cartwheel.core.errors import RunError
from cartwheel.core.onnx_model import OnnxModel, open_session
from workflows.compiler.onnx_graph import GraphBuilder


@pytest.fixture(scope="module")
def graph() -> onnx.ModelProto:
    """Adds a column of integers to one of floats; the name passes through."""
    builder = GraphBuilder("sum")
    number = builder.add("Cast", builder.input("number", "int64", ["B", 1]), to=onnx.TensorProto.FLOAT)
    builder.output(builder.add("Add", number, builder.input("price", "float32", ["B", 1])), "total", "float32", ["B", 1])
    builder.output(builder.add("Identity", builder.input("name", "string", ["B", 1])), "again", "string", ["B", 1])
    return builder.model()


@pytest.fixture
def file(graph: onnx.ModelProto, tmp_path: Path) -> Path:
    onnx.save(graph, tmp_path / "sum.onnx")
    return tmp_path / "sum.onnx"


def columns(rows: int) -> dict[str, np.ndarray]:
    return {
        "number": np.arange(rows, dtype=np.int32),
        "price": np.full(rows, 0.5),
        "name": np.array([f"n{row}" for row in range(rows)], dtype=object),
        "more": np.zeros(rows),
    }


def test_columns_get_the_shape_and_type_of_the_inputs(graph: onnx.ModelProto, file: Path) -> None:
    for source in (file, graph.SerializeToString()):
        model = OnnxModel(source)
        assert model.inputs == {"number": np.int64, "price": np.float32, "name": object}
        found = model.run(columns(3))
        assert found["total"].tolist() == [[0.5], [1.5], [2.5]]
        assert found["again"].tolist() == [["n0"], ["n1"], ["n2"]]
        assert model.batch(columns(2), "total").dtype == np.float32


def test_a_whole_table_is_run_in_batches(file: Path) -> None:
    rows = 8192 + 5
    assert OnnxModel(file).table(columns(rows))[:, 0].tolist() == [row + 0.5 for row in range(rows)]
    assert OnnxModel(file).table(columns(0)).shape == (0, 0)


def test_what_is_missing_or_broken_is_named(file: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"sum\.onnx needs the columns \['price', 'name'\]"):
        OnnxModel(file).run({"number": np.zeros(1)})
    with pytest.raises(RunError, match=r"absent\.onnx is missing"):
        OnnxModel(tmp_path / "absent.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(RunError, match=r"bad\.onnx is not a valid ONNX model"):
        open_session(tmp_path / "bad.onnx", threads=1)
    with pytest.raises(RunError, match="The graph is not a valid ONNX model"):
        open_session(b"no model")
