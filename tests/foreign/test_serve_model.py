"""A foreign workflow and a foreign model, served: Merlin's own answers over gRPC, and one sentence for what does not fit."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pipelines import Pipeline
from typer.testing import CliRunner

import cartwheel
from cartwheel.cli.main import app
from cartwheel.core.errors import CartwheelError, NotCompilableError, RunError, UsageError
from cartwheel.pipeline.foreign.checking import request_arrays
from serving.local import LocalRepository
from serving.server.server import EmbeddedServer
from serving.settings import ExportSettings


@pytest.fixture(scope="module")
def exported(dlrm: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> cartwheel.ServedModel:
    return cartwheel.export_model(dlrm.workflow, dlrm.model, tmp_path_factory.mktemp("served"), name="ratings")


@pytest.fixture(scope="module")
def server(exported: cartwheel.ServedModel) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(exported.repository) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: EmbeddedServer) -> Iterator[cartwheel.Client]:
    with cartwheel.Client(server.grpc_address) as found:
        yield found


def test_merlins_dlrm_answers_alike_over_grpc(dlrm: Pipeline, client: cartwheel.Client) -> None:
    [answers] = client.infer("ratings", dlrm.rows).answers.values()
    [expected] = dlrm.answers.values()
    assert np.abs(expected).min() > 0
    np.testing.assert_allclose(answers, expected, atol=1e-5)


def test_what_was_checked_is_told(exported: cartwheel.ServedModel) -> None:
    assert {check.what.partition(": ")[2] for check in exported.checks} == {
        "NVTabular and SavedModel",
        "the plan's tables and SavedModel",
    }
    assert all(check.rows >= 32 and check.difference < 1e-5 for check in exported.checks), (
        "rows that lack a number or a list are left out"
    )
    assert [(column.name, str(column), column.nullable) for column in exported.form.columns] == [
        ("userId", "int64", True),
        ("movieId", "int64", True),
        ("age", "float32", True),
    ]


def test_unknown_and_missing_values_are_normal_requests(client: cartwheel.Client, exported: cartwheel.ServedModel) -> None:
    rows = {"userId": [None, 10**12, 3], "movieId": [1, None, -5], "age": [None, 30.0, None]}
    [answers] = client.infer("ratings", rows).answers.values()
    local = LocalRepository(exported.repository)
    table = pl.DataFrame(rows, schema={"userId": pl.Int64, "movieId": pl.Int64, "age": pl.Float32})
    [expected] = local.ask("ratings", **request_arrays(exported.form.columns, table)).values()
    assert np.isfinite(answers).all()
    np.testing.assert_allclose(answers, expected, atol=1e-6)


def test_requests_of_many_callers_are_answered_as_each_by_itself(dlrm: Pipeline, server: EmbeddedServer) -> None:
    [expected] = dlrm.answers.values()

    async def ask() -> list[np.ndarray]:
        async with cartwheel.AsyncClient(server.grpc_address) as shop:
            asked = [{name: values[row : row + 1] for name, values in dlrm.rows.items()} for row in range(len(expected))]
            found = await asyncio.gather(*(shop.infer("ratings", each) for each in asked))
            return [next(iter(each.answers.values())) for each in found]

    np.testing.assert_allclose(np.concatenate(asyncio.run(ask())), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"userId": [1]}, "needs the columns movieId: int64, age: float32 too"),
        ({"userId": [1], "movieId": [1], "age": [1.0], "zip": ["1"]}, "no column 'zip'"),
        ({"userId": ["7"], "movieId": [1], "age": [1.0]}, "userId of row 0 is '7'; expected a whole number"),
        ({"userId": [2**63], "movieId": [1], "age": [1.0]}, "int64 holds -9223372036854775808 to"),
        ({"userId": [1, 2], "movieId": [1], "age": [1.0]}, "differ in their number of rows"),
        ({"userId": [1] * 65, "movieId": [1] * 65, "age": [1.0] * 65}, "at most 64 at once"),
    ],
)
def test_a_request_that_does_not_fit_is_told_so(client: cartwheel.Client, columns: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        client.infer("ratings", columns)
    assert said in str(error.value)


def test_what_is_no_model_of_ours_is_told_so(client: cartwheel.Client) -> None:
    with pytest.raises(CartwheelError, match="ratings_score"):
        client.infer("ratings_score", {})


def test_it_is_a_version_that_can_be_rolled_back_to(exported: cartwheel.ServedModel) -> None:
    folder = exported.repository.parent / "versions" / exported.version
    assert (folder / "cartwheel.json").read_bytes() == (exported.repository / "cartwheel.json").read_bytes()


def test_a_native_repository_answers_alike(dlrm: Pipeline, exported: cartwheel.ServedModel, tmp_path: Path) -> None:
    native = cartwheel.export_model(
        dlrm.workflow, dlrm.model, tmp_path / "native", name="ratings", settings=ExportSettings(target="native")
    )
    config = (native.repository / "ratings_score/config.pbtxt").read_text()
    assert 'backend: "onnxruntime"' in config
    asked = request_arrays(exported.form.columns, pl.DataFrame(dlrm.rows, schema_overrides={"age": pl.Float32}))
    [found], [expected] = (LocalRepository(each.repository).ask("ratings", **asked).values() for each in (native, exported))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_command_warns_of_the_pickle_first_and_tells_what_it_wrote(dlrm: Pipeline, tmp_path: Path) -> None:
    options = ["--workflow", str(dlrm.workflow), "--model", str(dlrm.model), "--out", str(tmp_path / "out"), "--only-write"]
    done = CliRunner().invoke(app, ["serve-model", *options])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert "is a Python pickle" in lines[0]
    assert any("NVTabular and SavedModel: 64 rows, largest difference" in line for line in lines)
    assert "dlrm takes userId: int64, movieId: int64, age: float32." in lines
    assert (tmp_path / "out/repository/dlrm_score/1/model.onnx").is_file()


def refused(dlrm: Pipeline, out: Path, **changed: Path) -> CartwheelError:
    with pytest.raises(CartwheelError) as error:
        cartwheel.export_model(**{"workflow": dlrm.workflow, "model": dlrm.model, "out": out, **changed})
    assert not out.exists(), "nothing is written"
    return error.value


def test_a_workflow_of_another_release_is_refused(dlrm: Pipeline, tmp_path: Path) -> None:
    saved = Path(shutil.copytree(dlrm.workflow, tmp_path / "other"))
    told = json.loads((saved / "metadata.json").read_text())
    told["versions"]["nvtabular"] = "1.3.0"
    (saved / "metadata.json").write_text(json.dumps(told))
    error = refused(dlrm, tmp_path / "out", workflow=saved)
    assert isinstance(error, RunError)
    assert "was saved by NVTabular 1.3.0" in error.found


def test_a_pickle_that_is_none_is_refused(dlrm: Pipeline, tmp_path: Path) -> None:
    saved = Path(shutil.copytree(dlrm.workflow, tmp_path / "broken"))
    (saved / "workflow.pkl").write_bytes(b"no pickle")
    assert "cannot be loaded (UnpicklingError" in refused(dlrm, tmp_path / "out", workflow=saved).found


def test_a_graph_that_is_none_is_refused(dlrm: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer/graph.json").write_text("{}")
    (tmp_path / "newer/metadata.json").write_text(json.dumps({"versions": {"nvtabular": "23.8.0"}}))
    assert "holds no graph of NVTabular" in refused(dlrm, tmp_path / "out", workflow=tmp_path / "newer").found


def test_a_folder_that_holds_no_workflow_or_no_model_is_refused(dlrm: Pipeline, tmp_path: Path) -> None:
    assert "holds no saved NVTabular workflow" in refused(dlrm, tmp_path / "out", workflow=tmp_path).found
    assert "holds no model" in refused(dlrm, tmp_path / "out", model=dlrm.workflow).found
    assert "no model at" in refused(dlrm, tmp_path / "out", model=tmp_path / "none").found


def test_a_custom_operation_is_named(dlrm: Pipeline, tmp_path: Path) -> None:
    saved = Path(shutil.copytree(dlrm.model, tmp_path / "custom"))
    graph = (saved / "saved_model.pb").read_bytes()
    assert b"SparseFillEmptyRows" in graph
    (saved / "saved_model.pb").write_bytes(graph.replace(b"\x13SparseFillEmptyRows", b"\x13MyOwnFillsEmptyRows"))
    error = refused(dlrm, tmp_path / "out", model=saved)
    assert isinstance(error, NotCompilableError)
    assert "'MyOwnFillsEmptyRows'" in error.found


def test_a_model_of_another_workflow_is_told_side_by_side(dlrm: Pipeline, tmp_path: Path) -> None:
    from cartwheel.merlin_compat import tf

    inputs = {
        "userId": tf.keras.Input((1,), dtype=tf.int64, name="userId"),
        "genres": tf.keras.Input((1,), dtype=tf.int64, name="genres"),
        "city": tf.keras.Input((1,), dtype=tf.float32, name="city"),
    }
    numbers = [tf.cast(each, tf.float32) for each in inputs.values()]
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(1)(tf.concat(numbers, axis=1)))
    model.save(str(tmp_path / "other"), save_format="tf")
    error = refused(dlrm, tmp_path / "out", model=tmp_path / "other")
    assert "genres: model int64, workflow list[int64]" in error.found
    assert "city: model float32, workflow nothing" in error.found
    assert "userId: model" not in error.found


def test_a_vocabulary_larger_than_an_embedding_is_refused(dlrm: Pipeline, tmp_path: Path) -> None:
    from cartwheel.merlin_compat import tf

    given = tf.keras.Input((1,), dtype=tf.int64, name="movieId")
    embedded = tf.keras.layers.Embedding(50, 4)(given)
    model = tf.keras.Model(given, tf.keras.layers.Dense(1)(tf.keras.layers.Flatten()(embedded)))
    model.save(str(tmp_path / "small"), save_format="tf")
    error = refused(dlrm, tmp_path / "out", model=tmp_path / "small")
    assert "makes 63 ids of 'movieId'" in error.found
    assert "an embedding of 50 rows" in error.found


def test_a_layer_without_an_onnx_form_is_named(dlrm: Pipeline, tmp_path: Path) -> None:
    from cartwheel.merlin_compat import tf

    class Digits(tf.keras.layers.Layer):  # type: ignore[misc]
        def call(self, ids: Any) -> Any:
            return tf.strings.to_number(tf.strings.substr(tf.strings.as_string(ids), 0, 1))

    given = tf.keras.Input((1,), dtype=tf.int64, name="movieId")
    model = tf.keras.Model(given, tf.keras.layers.Dense(1)(Digits(name="first_digit")(given)))
    tf.saved_model.save(model, str(tmp_path / "digits"))
    error = refused(dlrm, tmp_path / "out", model=tmp_path / "digits")
    assert isinstance(error, NotCompilableError)
    assert "first_digit" in error.found
