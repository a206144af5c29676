"""The query tower's ways of reading the recent items, and what is drawn at random in training, on a small planted shop."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from cartwheel.config import parse_settings
from cartwheel.core.errors import ConfigError
from cartwheel.core.run_layout import ModelLayout, RunLayout
from models.families.two_tower.model import TwoTower, TwoTowerLearner, build_two_tower, load_two_tower
from models.families.two_tower.settings import TwoTowerSettings
from models.families.two_tower.train import export_query, fit_two_tower, train_two_tower
from models.training.loop import save_weights
from models.training.store import ModelConfig, write_config
from models.training.tables import FIRST_ID, Table, read_sizes, read_table
from workflows.features.columns import QUERY, QUERY_CONTINUOUS, QUERY_LISTS

TINY = TwoTowerSettings(
    epochs=5, batch_size=128, learning_rate=0.02, embedding_dimension=16, dimension=16, hidden=(16,), patience=5, refit=False
)
KINDS = {
    "pooling": TINY.model_copy(update={"history": "pooling", "uniform_negatives": 50}),
    "attention": TINY.model_copy(update={"history": "attention", "dropout": 0.1, "uniform_negatives": 50, "hard_negatives": 16}),
    "gru": TINY.model_copy(update={"history": "gru", "dropout": 0.1}),
}
SINCE = (
    "history",
    "attention_blocks",
    "attention_heads",
    "dropout",
    "uniform_negatives",
    "hard_negatives",
    "refit",
    "start",
    "average_epochs",
)
"""Settings that models trained before them lack in their config.json."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, planted: Callable[..., Path], shop: Any) -> Path:
    return planted(tmp_path_factory.mktemp("two_tower"), shop, 3_000)


@pytest.fixture(scope="module", params=list(KINDS))
def folder(request: pytest.FixtureRequest, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model's folder; each test runs for each way of reading the recent items."""
    own = tmp_path_factory.mktemp(request.param)
    (own / "features").symlink_to(run / "features")
    train_two_tower(own, KINDS[request.param], seed=3)
    return own / "models" / "two_tower"


@pytest.fixture(scope="module")
def queries(run: Path) -> Table:
    return read_table(run / "features/test/recommend", QUERY, read_sizes(run / "features/train/recommend")).head(64)


def with_lists(queries: Table, change: Callable[[Any], Any]) -> Table:
    return Table(queries.folder, queries.columns | {name: change(queries[name]) for name in QUERY_LISTS})


def by_onnx(folder: Path, queries: Table) -> Any:
    feeds = {n: v.astype(np.float32 if n in QUERY_CONTINUOUS else np.int64) for n, v in queries.batch(slice(None), QUERY).items()}
    return onnxruntime.InferenceSession(folder / "query.onnx").run(None, feeds)[0]


def test_more_padding_changes_nothing(folder: Path, queries: Table) -> None:
    tower, wider = load_two_tower(folder), with_lists(queries, lambda ids: np.pad(ids, ((0, 0), (0, 9))))
    np.testing.assert_allclose(tower.encode_queries(wider), tower.encode_queries(queries), atol=1e-6)


def test_a_query_alone_is_the_same_query(folder: Path, queries: Table) -> None:
    tower = load_two_tower(folder)
    expected = tower.encode_queries(queries)
    for row in (0, 17):
        alone = Table(queries.folder, {name: values[row : row + 1] for name, values in queries.columns.items()})
        held = max(int((alone["recent_items"] > 0).sum()), 1)
        np.testing.assert_allclose(
            tower.encode_queries(with_lists(alone, lambda ids, n=held: ids[:, :n]))[0], expected[row], atol=1e-6
        )


def test_onnx_answers_alike_for_any_batch_and_list_length(folder: Path, queries: Table) -> None:
    tower = load_two_tower(folder)
    for length, rows in ((1, 1), (3, 64), (40, 2)):
        cut = with_lists(queries.head(rows), lambda ids, n=length: np.pad(ids, ((0, 0), (0, 40)))[:, :n])
        np.testing.assert_allclose(by_onnx(folder, cut), tower.encode_queries(cut), atol=1e-5)
    empty = with_lists(queries, lambda ids: np.zeros_like(ids))
    found = by_onnx(folder, empty)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, tower.encode_queries(empty), atol=1e-5)


def test_training_learns(folder: Path, run: Path, shop: Any) -> None:
    history = json.loads((folder / "history.json").read_text())
    train, valid = (read_table(run / "features" / split / "recommend", ["item_id"])["item_id"] for split in ("train", "valid"))
    popular = np.argsort(-np.bincount(train, minlength=shop.items + 3), kind="stable")[:20]
    found = history["epochs"][history["best_epoch"]]["recall_20"]
    assert found > np.isin(valid, popular).mean() + 0.1


@pytest.mark.parametrize(("examples", "share"), [(1600, 1.0), (2000, 0.8), (160_000, 0.01)])
def test_a_long_epoch_takes_smaller_steps(run: Path, examples: int, share: float) -> None:
    settings = TINY.model_copy(update={"batch_size": 2})
    tower = build_two_tower(settings, read_sizes(run / "features/train/recommend"), seed=1)
    learner = TwoTowerLearner(tower, Table(run, {"item_id": np.full(examples, FIRST_ID, np.int32)}), None, None)
    assert float(learner.optimizer.learning_rate) == pytest.approx(settings.learning_rate * share, rel=1e-6)


def test_more_blocks_export_too(queries: Table, run: Path, tmp_path: Path) -> None:
    settings = KINDS["attention"].model_copy(update={"attention_blocks": 3, "attention_heads": 4})
    tower = build_two_tower(settings, read_sizes(run / "features/train/recommend"), seed=1)
    export_query(tower, tmp_path / "query.onnx", queries)
    short = with_lists(queries.head(2), lambda ids: ids[:, :1])
    np.testing.assert_allclose(by_onnx(tmp_path, short), tower.encode_queries(short), atol=1e-5)


def test_a_model_of_before_these_settings_loads_as_it_was(run: Path, queries: Table, tmp_path: Path) -> None:
    before = TINY.model_copy(update={"history": "pooling"})
    tower = build_two_tower(before, read_sizes(run / "features/train/recommend"), seed=1)
    save_weights(tmp_path, tower.variables)
    write_config(tmp_path, ModelConfig("two_tower", before, tower.sizes, 1, {"train": 1, "valid": 0}))
    config = json.loads((ModelLayout(tmp_path).config).read_text())
    for name in SINCE:
        del config["settings"][name]
    (ModelLayout(tmp_path).config).write_text(json.dumps(config))
    np.testing.assert_array_equal(load_two_tower(tmp_path).encode_queries(queries), tower.encode_queries(queries))


@pytest.mark.slow
def test_one_seed_gives_one_model_killed_or_not(planted: Callable[..., Path], shop: Any, tmp_path: Path) -> None:
    """Dropout, the negatives and the dropped ids are drawn as before in an epoch that is repeated."""

    class Killed:
        def __init__(self, learner: Any) -> None:
            self.learner, self.validated = learner, 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self.learner, name)

        def validate(self) -> Any:
            self.validated += 1
            if self.validated == 2:
                raise KeyboardInterrupt
            return self.learner.validate()

    run = RunLayout(planted(tmp_path, shop, 400))
    settings = KINDS["attention"].model_copy(update={"epochs": 2})

    def fitted(name: str, watch: Any = None) -> TwoTower:
        return fit_two_tower(run, tmp_path / name, settings, 4, watch).tower

    whole = fitted("whole")
    with pytest.raises(KeyboardInterrupt):
        fitted("killed", Killed)
    for expected, found in zip(whole.variables, fitted("killed").variables, strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"history": "lstm"}, "history"),
        ({"dropout": 1.0}, "dropout"),
        ({"uniform_negatives": -1}, "uniform_negatives"),
        ({"hard_negatives": -1}, "hard_negatives"),
        ({"attention_blocks": 0}, "attention_blocks"),
        (
            {"history": "attention", "embedding_dimension": 15},
            "embedding_dimension is 15, which attention_heads = 2 does not divide",
        ),
    ],
)
def test_bad_settings_are_refused_with_a_sentence(values: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_settings({"two_tower": values}, "shop.toml", tmp_path)
