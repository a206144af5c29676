"""Models as each library saves them: the graph answers as the library does, and what cannot be read is told in a sentence."""

from __future__ import annotations

import importlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cartwheel.core.errors import NotCompilableError, RunError
from cartwheel.core.onnx_model import open_session
from models.foreign.interface import ForeignModel
from models.foreign.read import read_model
from workflows.compiler.onnx_graph import GraphBuilder


def same_answers(model: ForeignModel, rows: dict[str, list[Any]]) -> dict[str, np.ndarray]:
    feeds = {name: tensor for each in model.inputs for name, tensor in each.feeds(rows[each.name]).items()}
    expected = model.answer(feeds)
    names = [output.name for output in model.outputs]
    found = dict(zip(names, open_session(model.graph.SerializeToString()).run(names, feeds), strict=True))
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)
    return found


def keras_model(keras: Any) -> Any:
    item = keras.Input((1,), dtype="int64", name="item")
    price = keras.Input((1,), name="price")
    recent = keras.Input((4,), dtype="int64", name="recent")
    table = keras.layers.Embedding(20, 4, name="items")
    flat = [keras.layers.Flatten()(table(each)) for each in (item, recent)]
    hidden = keras.layers.Dense(8, "relu")(keras.layers.Concatenate()([*flat, price]))
    return keras.Model(
        [item, price, recent], [keras.layers.Dense(1, name="click")(hidden), keras.layers.Dense(2, name="kind")(hidden)]
    )


ROWS: dict[str, list[Any]] = {"item": [3, 19, 0], "price": [1.0, -2.0, 0.5], "recent": [[1, 2, 3, 4], [5, 6, 7, 8], [0, 0, 0, 0]]}


@pytest.mark.parametrize("file", ["two.keras", "two.h5", "three.keras"])
def test_a_file_of_either_keras_is_read(file: str, tmp_path: Path) -> None:
    from cartwheel.merlin_compat import install

    install()
    keras = importlib.import_module("keras" if file == "three.keras" else "tf_keras")
    keras_model(keras).save(str(tmp_path / file))
    model = read_model(tmp_path / file)
    assert {each.name: (str(each), each.form, each.width, each.embedding) for each in model.inputs} == {
        "item": ("int64", "column", 0, 20),
        "price": ("float32", "column", 0, 0),
        "recent": ("list[int64]", "padded", 4, 20),
    }
    assert {name: answer.shape for name, answer in same_answers(model, ROWS).items()} == {"click": (3, 1), "kind": (3, 2)}


def onnx_model(path: Path, opset: int = 17) -> Path:
    import onnx

    builder = GraphBuilder("model")
    builder.input("item", "int64", ["B"])
    builder.input("price", "float32", ["B", 1])
    rows = builder.add("Gather", builder.constant(np.arange(12, dtype=np.float32).reshape(6, 2)), "item")
    builder.output(builder.add("Add", rows, "price"), "score", "float32", ["B", 2])
    model = builder.model()
    model.opset_import[0].version = opset
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("opset", [13, 17, 19])
def test_an_onnx_file_is_read_and_brought_to_our_opset(opset: int, tmp_path: Path) -> None:
    model = read_model(onnx_model(tmp_path / "model.onnx", opset))
    assert [(each.name, each.form, each.embedding) for each in model.inputs] == [("item", "vector", 6), ("price", "column", 0)]
    found = same_answers(model, {"item": [5, 0], "price": [1.0, 2.0]})
    assert found["score"].tolist() == [[11.0, 12.0], [2.0, 3.0]]


def test_what_is_no_model_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"none")
    with pytest.raises(RunError, match="is not an ONNX model"):
        read_model(tmp_path / "model.onnx")
    (tmp_path / "model.bin").write_bytes(b"none")
    with pytest.raises(RunError, match="has an unknown format"):
        read_model(tmp_path / "model.bin")
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as held:
        held.writestr("nothing", "")
    with pytest.raises(RunError, match="does not name the Keras release"):
        read_model(tmp_path / "model.keras")


@pytest.mark.parametrize("file", ["lambda.keras", "lambda.h5"])
def test_python_code_in_a_file_of_keras_is_not_run(file: str, tmp_path: Path) -> None:
    from cartwheel.merlin_compat import tf

    marker = tmp_path / "ran"
    code = f"lambda x: x + (0 if __import__('pathlib').Path({str(marker)!r}).write_text('ran') else 0)"
    given = tf.keras.Input((1,), name="price")
    model = tf.keras.Model(given, tf.keras.layers.Lambda(eval(code))(given))
    model.save(str(tmp_path / file))
    marker.unlink(missing_ok=True)
    with pytest.raises(NotCompilableError, match="only its own Python code can build"):
        read_model(tmp_path / file)
    assert not marker.exists()
