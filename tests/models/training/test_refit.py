"""The two-tower that is tested and served learns from validation too; the one that validation judges does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from cartwheel.core.run_layout import ModelLayout, RunLayout
from models.families.two_tower.settings import TwoTowerSettings
from models.families.two_tower.train import fit_two_tower, refit_two_tower, train_two_tower
from models.training.store import files_for
from models.training.tables import Table, read_sizes, read_table
from workflows.features.columns import ITEM, QUERY, QUERY_CONTINUOUS

TINY = TwoTowerSettings(epochs=3, batch_size=128, embedding_dimension=8, dimension=8, hidden=(8,))
SEED = 5


@pytest.fixture(scope="module")
def run(planted: Callable[..., Path], shop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted(tmp_path_factory.mktemp("refit"), shop, 800)


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture(scope="module")
def refitted(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with its model trained and trained again on both; do not change it."""
    own = Path(shutil.copytree(run, tmp_path_factory.mktemp("refitted") / "run"))
    train_two_tower(own, TINY, SEED)
    return own


@pytest.fixture(scope="module")
def queries(run: Path) -> Table:
    return read_table(run / "features/test/recommend", QUERY, read_sizes(run / "features/train/recommend")).head(32)


def by_onnx(folder: Path, queries: Table) -> Any:
    feeds = {n: v.astype(np.float32 if n in QUERY_CONTINUOUS else np.int64) for n, v in queries.batch(slice(None), QUERY).items()}
    return onnxruntime.InferenceSession(folder / "query.onnx").run(None, feeds)[0]


def history(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "models/two_tower/history.json").read_text()))


@pytest.mark.slow
def test_validation_is_judged_by_the_model_that_has_not_seen_it(refitted: Path, queries: Table, tmp_path: Path) -> None:
    folder = refitted / "models/two_tower"
    assert files_for(ModelLayout(folder), "valid") == ModelLayout(folder).validation
    assert files_for(ModelLayout(folder), "test") == files_for(ModelLayout(folder), "snapshot") == ModelLayout(folder)
    before = fit_two_tower(RunLayout(refitted), tmp_path / "before", TINY, SEED)
    np.testing.assert_allclose(
        by_onnx(ModelLayout(folder).validation.path, queries), before.tower.encode_queries(queries), atol=1e-5
    )
    assert np.abs(by_onnx(folder, queries) - by_onnx(ModelLayout(folder).validation.path, queries)).max() > 0.01
    after = refit_two_tower(RunLayout(refitted), tmp_path / "after", TINY, SEED, before)
    assert after is not None
    np.testing.assert_allclose(by_onnx(folder, queries), after.tower.encode_queries(queries), atol=1e-5)
    told = history(refitted)
    assert told["refit_epochs"] == told["best_epoch"] + 1 == len(after.history.epochs)
    assert json.loads((folder / "config.json").read_text())["examples"] == {"train": 800, "valid": 100, "refit": 200}


@pytest.mark.slow
def test_the_refit_learns_from_every_row_of_both(run: Path, tmp_path: Path) -> None:
    before = fit_two_tower(RunLayout(run), tmp_path / "before", TINY, SEED)
    after = refit_two_tower(RunLayout(run), tmp_path / "after", TINY, SEED, before)
    assert after is not None
    columns = (*QUERY, *ITEM)
    first, second = (read_table(run / "features" / name, columns) for name in ("train/recommend", "valid/refit"))
    for name in columns:
        found = after.train[name]
        for part, rows in ((first[name], slice(None, 800)), (second[name], slice(800, None))):
            width = part.shape[1:]
            np.testing.assert_array_equal(found[rows][..., : width[0]] if width else found[rows], part)
            assert not width or not found[rows][..., width[0] :].any()


@pytest.mark.slow
@pytest.mark.parametrize("why", ["switched off", "nothing to learn"])
def test_without_a_refit_one_model_is_for_all(refitted: Path, own_run: Path, queries: Table, why: str, tmp_path: Path) -> None:
    settings = TINY.model_copy(update={"epochs": 1})
    shutil.copytree(refitted / "models", own_run / "models")
    if why == "switched off":
        settings = settings.model_copy(update={"refit": False})
    else:
        shutil.rmtree(own_run / "features/valid/refit")
    train_two_tower(own_run, settings, SEED)
    folder = own_run / "models/two_tower"
    assert not (ModelLayout(folder).validation.path).exists(), "the one of an earlier training must not be asked"
    assert files_for(ModelLayout(folder), "valid") == ModelLayout(folder)
    assert "refit_epochs" not in history(own_run)
    expected = fit_two_tower(RunLayout(own_run), tmp_path / "alone", settings, SEED).tower
    np.testing.assert_allclose(by_onnx(folder, queries), expected.encode_queries(queries), atol=1e-5)


@pytest.mark.slow
def test_killed_in_the_refit_it_goes_on_there(
    refitted: Path, own_run: Path, queries: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models.families.two_tower import train as module

    folder = own_run / "models/two_tower"
    whole = by_onnx(refitted / "models/two_tower", queries)
    honest, calls = module.fit, list[str]()

    def killed(learner: Any, settings: Any, seed: int, place: Path, about: str, doing: str = "train") -> Any:
        calls.append(doing)
        if doing == "refit":
            honest(learner, settings.model_copy(update={"epochs": 1}), seed, place, about, doing)
            raise KeyboardInterrupt
        return honest(learner, settings, seed, place, about, doing)

    monkeypatch.setattr(module, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        train_two_tower(own_run, TINY, SEED)
    monkeypatch.setattr(module, "fit", honest)
    train_two_tower(own_run, TINY, SEED)
    assert calls == ["train", "refit"]
    np.testing.assert_allclose(by_onnx(folder, queries), whole, atol=1e-6)
    assert not list(own_run.rglob(".checkpoint"))
