"""What is written, that it can be moved, and that a bad one is not let in."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from google.protobuf import text_format
from synthetic_run import NO_CART, write_synthetic_run
from tritonclient.grpc import model_config_pb2

from cartwheel.core.errors import ParityError, RunError
from cartwheel.core.files import sha256
from serving.client.answers import parse_cart, parse_metadata
from serving.contract.programs import SHARED, step_file
from serving.contract.queues import with_queue
from serving.contract.triton_config import with_processes
from serving.export.repository import write_repository
from serving.local import LocalRepository
from serving.settings import ExportSettings, ServeSettings

STEPS = [
    "recommend_encode",
    "recommend_retrieve",
    "recommend_rank",
    "recommend_order",
    "similar_items_retrieve",
    "similar_items_order",
]


def config(repository: Path, model: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse((repository / model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def test_every_model_has_its_files_and_their_hashes(run: Path) -> None:
    repository = run / "repository"
    metadata = json.loads((repository / "cartwheel.json").read_text())
    written = {path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file()}
    assert set(metadata["files"]) == written - {"cartwheel.json"}
    for name, digest in metadata["files"].items():
        assert sha256(repository / name) == digest
    for program in ("read_request", "recommend_score", "similar_items_score", "cart_score"):
        assert {f"{program}/config.pbtxt", f"{program}/1/model.py"} <= written
    assert {f"recommend_score/1/{step}.onnx" for step in SHARED} <= written
    for step in [*STEPS, "cart_score"]:
        assert step_file(repository, step).is_file()
    assert metadata["id_types"] == {"user_id": "string", "item_id": "int64"}
    assert (metadata["catalogue_size"], metadata["max_k"], metadata["has_cart"]) == (50, 100, True)


def test_no_file_names_the_place_where_it_was_written(run: Path) -> None:
    for path in (run / "repository").rglob("*"):
        if path.is_file():
            assert str(run).encode() not in path.read_bytes(), path


def test_a_moved_repository_answers_the_same(run: Path, local: LocalRepository, tmp_path: Path) -> None:
    moved = LocalRepository(Path(shutil.copytree(run / "repository", tmp_path / "elsewhere")))
    request = {"user_id": [["u3"]], "k": [7]}
    assert moved.ask("recommend", **request)["items"].tolist() == local.ask("recommend", **request)["items"].tolist()


def test_equal_runs_give_equal_repositories(run: Path, own_run: Path) -> None:
    assert sha256(write_repository(own_run, ExportSettings())) == sha256(run / "repository")


def test_embedded_steps_batch_ragged_requests(run: Path) -> None:
    score = config(run / "repository", "recommend_score")
    assert (score.backend, score.max_batch_size) == ("python", 64)
    assert score.HasField("dynamic_batching")
    inputs = {tensor.name: tensor for tensor in score.input}
    assert inputs["exclude"].allow_ragged_batch
    assert list(inputs["exclude"].dims) == [-1]
    assert inputs["k_row"].data_type == model_config_pb2.TYPE_INT32
    assert list(inputs["k_row"].dims) == [1], "a column, for what is handed over together has a row for each shopper"


def test_every_request_is_first_read_by_itself_and_by_several_processes(run: Path) -> None:
    """Triton refuses what does not fit a batch while it takes the request in, and loses sight of a single process now and then."""
    for name in ("recommend", "cart", "similar_items"):
        first, *later = config(run / "repository", name).ensemble_scheduling.step
        assert first.model_name == "read_request"
        assert all(config(run / "repository", step.model_name).max_batch_size == 64 for step in later)
        assert all("asked" in step.input_map for step in later), "each bounds what waits for it"
    read = config(run / "repository", "read_request")
    assert read.max_batch_size == 0
    assert read.instance_group[0].count == 3


def test_what_bounds_its_queue_itself_gets_no_bounds_of_triton(run: Path) -> None:
    """A queue of Triton's with bounds may wait half a second for its only process although it is free."""
    settings = ServeSettings(read_processes=5)
    for program in ("read_request", "recommend_score", "similar_items_score", "cart_score"):
        text = (run / "repository" / program / "config.pbtxt").read_text()
        served = text_format.Parse(with_processes(with_queue(text, settings), settings), model_config_pb2.ModelConfig())
        assert served.instance_group[0].count == (5 if program == "read_request" else 1)
        assert served.dynamic_batching.HasField("default_queue_policy") == (program == "read_request")


def test_the_first_step_is_given_every_input_of_a_request(run: Path) -> None:
    for name in ("recommend", "cart", "similar_items"):
        ensemble = config(run / "repository", name)
        first = ensemble.ensemble_scheduling.step[0]
        assert set(first.input_map) == {tensor.name for tensor in ensemble.input}
        assert all(tensor.optional for tensor in ensemble.input), "Triton waits for ever for a required one that is left out"


def test_native_steps_run_on_the_onnxruntime_backend(own_run: Path, run: Path) -> None:
    repository = write_repository(own_run, ExportSettings(target="native"))
    assert not list(repository.rglob("model.py"))
    encode, rank = config(repository, "recommend_encode"), config(repository, "recommend_rank")
    assert (encode.backend, encode.max_batch_size, rank.max_batch_size) == ("onnxruntime", 0, 64)
    assert list(encode.input[0].dims) == [-1, 1]
    for step in STEPS:
        assert sha256(repository / step / "1" / "model.onnx") == sha256(step_file(run / "repository", step))


@pytest.mark.parametrize("target", ["embedded", "native"])
def test_ensembles_name_only_tensors_that_their_steps_have(own_run: Path, target: str) -> None:
    repository = write_repository(own_run, ExportSettings(target=target))
    for name in ("recommend", "cart", "similar_items"):
        ensemble = config(repository, name)
        held = {tensor.name for tensor in ensemble.input}
        for step in ensemble.ensemble_scheduling.step:
            model = config(repository, step.model_name)
            assert set(step.input_map) <= {tensor.name for tensor in model.input}
            assert set(step.output_map) <= {tensor.name for tensor in model.output}
            assert {tensor.name for tensor in model.input if not tensor.optional} <= set(step.input_map)
            assert set(step.input_map.values()) <= held
            held |= set(step.output_map.values())
        assert {tensor.name for tensor in ensemble.output} <= held
        shown = {key: value.string_value for key, value in ensemble.parameters.items()}
        assert shown["item_id_type"] == "int64"
        assert (shown["max_k"], shown["catalogue_size"]) == ("100", "50")


def test_without_a_cart_model_there_are_no_probabilities(tmp_path: Path) -> None:
    repository = write_repository(write_synthetic_run(tmp_path / "run", cart=False), ExportSettings())
    assert not (repository / "cart_score").exists()
    answer = LocalRepository(repository).ask("cart", cart_items=[["1003"]], k=[4])
    assert set(answer) == {"items", "scores"}
    assert "1003" not in answer["items"]
    shown = {key: value.string_value for key, value in config(repository, "recommend").parameters.items()}
    metadata = parse_metadata(shown, "here")
    assert metadata.no_cart == NO_CART
    nothing = {"items": np.empty((1, 0), dtype=object), "scores": np.empty((1, 0), dtype=np.float32)}
    assert parse_cart(nothing, [1003], metadata).unavailable == NO_CART


@pytest.mark.parametrize(
    "name", ["workflow/query.onnx", "models/ranking/fusion.json", "snapshot/users.parquet", "models/two_tower/item_vectors.npy"]
)
def test_a_missing_file_is_named_and_the_old_repository_stays(own_run: Path, name: str) -> None:
    before = sha256(own_run / "repository")
    (own_run / name).unlink()
    with pytest.raises(RunError, match=Path(name).name):
        write_repository(own_run, ExportSettings())
    assert sha256(own_run / "repository") == before


def test_a_broken_model_file_is_named(own_run: Path) -> None:
    (own_run / "models/ranking/model.onnx").write_bytes(b"not onnx")
    with pytest.raises(RunError, match=r"model\.onnx is no ONNX model"):
        write_repository(own_run, ExportSettings())


def test_a_difference_keeps_the_old_repository(own_run: Path) -> None:
    before = sha256(own_run / "repository")
    users = own_run / "snapshot/users.parquet"
    table = pq.read_table(users)
    place = table.column_names.index("user_views")
    pq.write_table(table.set_column(place, "user_views", pc.add(table["user_views"], 1)), users)
    with pytest.raises(ParityError, match=r"features/snapshot/queries user_views: serving gives .* at row"):
        write_repository(own_run, ExportSettings())
    assert sha256(own_run / "repository") == before
    assert not [path for path in own_run.iterdir() if path.name.startswith(".repository")]


def test_serving_and_exporting_import_no_training_package(own_run: Path) -> None:
    script = f"""
import sys
from pathlib import Path
from serving.export.repository import write_repository
from serving.settings import ExportSettings
write_repository(Path({str(own_run)!r}), ExportSettings())
print(sorted({{'tensorflow', 'nvtabular', 'pandas', 'merlin', 'polars', 'sklearn', 'keras'}} & set(sys.modules)))
"""
    root = Path(__file__).parents[3]
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=root)
    assert answer.stdout.strip() == "[]"
