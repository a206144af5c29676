"""A factor model in the place of the two-tower: judged, exported and served by the same stages."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from shop_runs import SMALL_SHOP, cartwheel, serving

from cartwheel.pipeline.stages import STAGES
from evaluation.report.names import model_name
from models.families.factors.train import train_factors
from models.families.settings import RetrievalSettings
from models.retrieval.fusion import read_fusion
from models.retrieval.retriever import forget_others, retriever
from models.retrieval.two_stage import served_name
from serving.client.client import Client
from serving.export.repository import write_repository
from serving.local import LocalRepository
from serving.settings import ExportSettings

ALS = '\n[retrieval]\nmodel = "als"\nparameters = { factors = 16, l2 = 5.0 }\n'


@dataclass(frozen=True)
class Switched:
    """The small shop, finished with the two-tower and then run again with ALS."""

    run: Path
    result: subprocess.CompletedProcess[str]

    def names(self, task: str, role: str) -> set[str]:
        records = json.loads((self.run / "evaluation" / "metrics.json").read_text())
        return {record["model"] for record in records if record["task"] == task and record["role"] == role}

    def recall(self, model: str) -> float:
        records = json.loads((self.run / "evaluation" / "metrics.json").read_text())
        wanted = {"task": "retrieval", "model": model, "metric": "recall", "k": 20}
        [value] = [each["value"] for each in records if wanted.items() <= each.items()]
        return float(value)


@pytest.fixture(scope="module")
def switched(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Switched:
    folder = tmp_path_factory.mktemp("als")
    own = shutil.copytree(run, folder / "run", ignore=shutil.ignore_patterns("server.json", "logs"))
    config = folder / "shop.toml"
    config.write_text(SMALL_SHOP.format(run=own).replace('baselines = ["', 'baselines = ["als", "') + ALS)
    result = cartwheel("run", config)
    assert result.returncode == 0, result.stderr
    return Switched(Path(own), result)


@pytest.fixture(scope="module")
def als_server(switched: Switched) -> Iterator[str]:
    with serving(switched.run) as (_, endpoint):
        yield endpoint["grpc"]


def test_only_what_depends_on_the_retrieval_model_is_done_again(switched: Switched) -> None:
    assert switched.result.stderr.count("already done, skipped") == len(STAGES) - 6  # retrieval and what follows from it
    assert "ALS alone" in switched.result.stderr
    assert retriever(switched.run) == "als"
    assert not (switched.run / "models" / "two_tower").exists()
    files = json.loads((switched.run / "manifest.json").read_text())["stages"]["retrieval"]["files"]
    assert {"models/als/query.onnx", "models/als/validation/item.onnx", "models/als/item_vectors.npy"} < set(files)
    assert not [name for name in files if "two_tower" in name]


def test_every_figure_calls_the_model_by_its_name(switched: Switched) -> None:
    assert "als" in switched.names("retrieval", "model") <= {"als", "als+item_to_item"}
    served = served_name(switched.run, read_fusion(switched.run / "models" / "ranking"))
    assert switched.names("two_stage", "model") == {served} <= {"als+dlrm", "als+item_to_item"}
    assert "als" not in switched.names("retrieval", "baseline"), "it is not compared with itself"
    assert model_name(served) in (switched.run / "evaluation" / "report.html").read_text()
    assert "two-tower" not in (switched.run / "evaluation" / "report.html").read_text()


def test_als_stands_between_most_popular_and_the_oracle(switched: Switched) -> None:
    assert switched.recall("most_popular") < switched.recall("als") < switched.recall("oracle")


def test_the_exported_repository_answers_known_shoppers_strangers_and_histories(switched: Switched, als_server: str) -> None:
    users = pl.read_parquet(switched.run / "snapshot" / "users.parquet")
    items = pl.read_parquet(switched.run / "snapshot" / "items.parquet").sort("item_events", descending=True)
    popular, rare = items["item_id"].to_list()[:100], items["item_id"].to_list()[-100:]
    with Client(als_server) as client:
        known = [item.item_id for item in client.recommend(users["user_id"][0], k=10).items]
        stranger = [item.item_id for item in client.recommend("never seen", k=20).items]
        told = [item.item_id for item in client.recommend("never seen", recent_items=popular[:3], k=20).items]
        near = [item.item_id for item in client.similar_items(popular[0], k=10)]
    assert len(set(known)) == 10
    assert not set(known) & set(users["recent_items"][0])
    assert len(set(stranger) & set(popular)) > 10, "a stranger is shown what is popular"
    assert len(set(stranger) & set(rare)) < 5
    assert told != stranger
    assert len(set(near)) == 10


def test_bpr_passes_the_same_export(switched: Switched, tmp_path: Path) -> None:
    own = Path(
        shutil.copytree(switched.run, tmp_path / "run", ignore=shutil.ignore_patterns("server.json", "logs", "repository"))
    )
    forget_others(own, "bpr")
    report = train_factors(own, RetrievalSettings(model="bpr", parameters={"factors": 8, "iterations": 20}), seed=3)
    assert report.onnx_difference < 1e-5
    repository = write_repository(own, ExportSettings(max_k=40, parity_rows=100), 50)
    answer = LocalRepository(repository).ask("recommend", user_id=[["never seen"]], k=[10])
    assert len(set(answer["items"][0].tolist())) == 10
    assert np.isfinite(answer["scores"]).all()


def test_a_parameter_that_the_model_does_not_have_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    config = tmp_path / "shop.toml"
    config.write_text(SMALL_SHOP.format(run=tmp_path / "run") + ALS.replace("factors", "factrs"))
    result = cartwheel("run", config)
    assert result.returncode == 3
    assert "retrieval.parameters.factrs is not a known key" in " ".join(result.stderr.split())
    assert not (tmp_path / "run").exists()
