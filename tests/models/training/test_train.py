from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pyarrow.parquet as pq
import pytest

from cartwheel.core.errors import DataError, ParityError, RunError, UsageError
from cartwheel.core.run_layout import RunLayout
from models.families.dlrm.model import build_dlrm, load_dlrm
from models.families.dlrm.settings import DLRMSettings
from models.families.dlrm.train import train_dlrm
from models.families.two_tower.model import build_two_tower, load_two_tower, target_ranks
from models.families.two_tower.settings import TwoTowerSettings
from models.families.two_tower.train import fit_two_tower, train_two_tower
from models.retrieval.fusion import Fusion, read_fusion
from models.training.form_calibration import read_forms
from models.training.tables import OOV_ID, Table, read_sizes, read_table
from workflows.features.columns import FORMS, ITEM, ITEM_CONTINUOUS, QUERY, QUERY_CONTINUOUS, SEVERAL_LINES, SIZES

TINY = TwoTowerSettings(epochs=2, batch_size=256, embedding_dimension=8, dimension=8, hidden=(8,))


def _run(path: Path, table: Table, names: Any) -> Any:
    session = onnxruntime.InferenceSession(path)
    floats = set(QUERY_CONTINUOUS + ITEM_CONTINUOUS)
    columns = table.batch(slice(None), names)
    feeds = {n: v.astype(np.float32 if n in floats or v.dtype == np.float32 else np.int64) for n, v in columns.items()}
    assert {i.name for i in session.get_inputs()} == set(names)
    return session.run(None, feeds)[0], session


def _column(path: Path, name: str) -> Any:
    return np.array(pq.read_table(path)[name].to_pylist(), dtype=np.float32)


def test_outputs_are_complete(trained: Path) -> None:
    found = {folder.name: sorted(file.name for file in folder.iterdir()) for folder in (trained / "models").iterdir()}
    common = {"config.json", "history.json", "offline.parquet", "weights.npz"}
    assert set(found["two_tower"]) == common | {
        "query.onnx",
        "item.onnx",
        "offline_queries.parquet",
        "item_vectors.npy",
        "validation",
    }
    assert {file.name for file in (trained / "models/two_tower/validation").iterdir()} == {
        "query.onnx",
        "item.onnx",
        "weights.npz",
    }
    assert set(found["ranking"]) == common | {"model.onnx", "fusion.json"}
    assert set(found["cart"]) == common | {"model.onnx", "calibration.json", "head.json"}
    assert read_fusion(trained / "models/ranking") == Fusion(10.0)


def test_planted_structure_is_found(trained: Path) -> None:
    best = {}
    for name in ("two_tower", "ranking", "cart"):
        history = json.loads((trained / "models" / name / "history.json").read_text())
        best[name] = history["epochs"][history["best_epoch"]]
    assert best["two_tower"]["recall_20"] > 0.6  # chance: 0.1
    assert best["ranking"]["auc"] > 0.8
    assert best["cart"]["auc"] > 0.75


def test_onnx_and_reloaded_models_answer_as_the_trained_ones(trained: Path) -> None:
    sizes = read_sizes(trained / "features/train/recommend")
    folder = trained / "models/two_tower"
    test = read_table(trained / "features/test/recommend", QUERY, sizes).head(512)
    offline = _column(folder / "offline.parquet", "query_vector")
    found, session = _run(folder / "query.onnx", test, QUERY)
    assert [o.name for o in session.get_outputs()] == ["query_vector"]
    np.testing.assert_allclose(found, offline, atol=1e-5)
    tower = load_two_tower(folder)
    np.testing.assert_allclose(tower.encode_queries(test), offline, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(offline, axis=1), 1.0, atol=1e-5)
    items = read_table(trained / "features/snapshot/items", ITEM, sizes)
    np.testing.assert_allclose(_run(folder / "item.onnx", items, ITEM)[0], np.load(folder / "item_vectors.npy"), atol=1e-5)
    assert len(_column(folder / "offline_queries.parquet", "query_vector")) == 32


@pytest.mark.parametrize("name", ["ranking", "cart"])
def test_dlrm_onnx_and_reload(trained: Path, name: str) -> None:
    folder = trained / "models" / name
    dlrm = load_dlrm(folder)
    test = read_table(trained / "features/test" / name, dlrm.columns).head(512)
    offline = _column(folder / "offline.parquet", "logit")
    found, session = _run(folder / "model.onnx", test, dlrm.columns)
    assert [o.name for o in session.get_outputs()] == ["logit"]
    np.testing.assert_allclose(found[:, 0], offline, atol=2e-5)
    np.testing.assert_allclose(dlrm.logits(test), offline, atol=1e-6)
    assert _run(folder / "model.onnx", test.head(1), dlrm.columns)[0].shape == (1, 1)


def test_padding_has_no_weight_and_empty_lists_are_normal(trained: Path) -> None:
    folder = trained / "models/two_tower"
    test = read_table(trained / "features/test/recommend", QUERY).head(64)
    lists = {n: test[n] for n in ("recent_items", "recent_categories", "recent_brands")}
    wider = Table(test.folder, test.columns | {n: np.pad(v, ((0, 0), (0, 7))) for n, v in lists.items()})
    empty = Table(test.folder, test.columns | {n: np.zeros((64, 1), np.int32) for n in lists})
    np.testing.assert_allclose(
        _run(folder / "query.onnx", wider, QUERY)[0], _run(folder / "query.onnx", test, QUERY)[0], atol=1e-6
    )
    assert np.isfinite(_run(folder / "query.onnx", empty, QUERY)[0]).all()


def test_the_last_recent_item_matters_most(trained: Path) -> None:
    tower = load_two_tower(trained / "models/two_tower")
    test = read_table(trained / "features/test/recommend", QUERY)
    full = np.flatnonzero(test["recent_items"][:, -1] > 0)
    base = Table(test.folder, {n: v[full] for n, v in test.columns.items()})
    moved = []
    for position in (0, -1):
        recents = base["recent_items"].copy()
        recents[:, position] = OOV_ID
        changed = Table(test.folder, base.columns | {"recent_items": recents})
        moved.append(np.linalg.norm(tower.encode_queries(changed) - tower.encode_queries(base), axis=1).mean())
    assert moved[1] > 2 * moved[0]


def test_strangers_are_learnt(trained: Path, shop: Any) -> None:
    """The out-of-vocabulary embeddings moved, and an unseen item ranks by its category."""
    sizes = read_sizes(trained / "features/train/recommend")
    tower = load_two_tower(trained / "models/two_tower")
    fresh = build_two_tower(tower.settings, sizes, seed=3)
    seen = 0
    for before, after in zip(fresh.variables, tower.variables, strict=True):
        if any(name in before.name for name in ("user_id", "item_id")):
            moved = np.linalg.norm(after.numpy() - before.numpy(), axis=1)
            assert moved[OOV_ID] > 0.5 * np.median(moved[3:])
            seen += 1
    assert seen == 2
    test = read_table(trained / "features/test/recommend", (*QUERY, *ITEM), sizes)
    busy = np.flatnonzero((test["recent_items"][:, 4] > 0) & (test["item_category"] == test["recent_categories"][:, 0]))[:200]
    test = Table(test.folder, {n: v[busy] for n, v in test.columns.items()})
    catalogue = read_table(trained / "features/valid/catalogue", ITEM, sizes)
    stranger = Table(
        test.folder,
        test.columns | {"item_id": np.full(len(test), OOV_ID, np.int32), "user_id": np.full(len(test), OOV_ID, np.int32)},
    )
    ranks = target_ranks(
        tower.encode_queries(stranger), tower.encode_items(stranger), tower.encode_items(catalogue), stranger, catalogue
    )
    assert np.median(ranks) < 0.25 * shop.items


def test_one_seed_gives_one_model(small_run: Path, tmp_path: Path) -> None:
    results, settings = [], TINY.model_copy(update={"refit": False})
    for number in range(2):
        run = tmp_path / str(number)
        run.mkdir()
        (run / "features").symlink_to(small_run / "features")
        train_two_tower(run, settings, seed=5)
        folder = run / "models/two_tower"
        results.append((np.load(folder / "item_vectors.npy"), (folder / "history.json").read_text()))
        if number == 0:
            shutil.rmtree(run / "models")
            # Another seed in between leaves no trace.
            fit_two_tower(RunLayout(small_run), tmp_path / "between", settings.model_copy(update={"epochs": 1}), seed=6)
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def test_a_killed_training_resumes_to_the_same_model(small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from models.training import loop as training

    settings = DLRMSettings(epochs=3, batch_size=512, bottom=(8,), top=(8,), embedding_dimension=4)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "features").symlink_to(small_run / "features")
    train_dlrm(tmp_path / "whole", "ranking", settings, 5)
    saved, original = [], training._save

    def dies_after_two(*arguments: Any) -> None:
        original(*arguments)
        saved.append(1)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save", dies_after_two)
    with pytest.raises(KeyboardInterrupt):
        train_dlrm(tmp_path / "killed", "ranking", settings, 5)
    monkeypatch.undo()
    train_dlrm(tmp_path / "killed", "ranking", settings, 5)
    folders = [tmp_path / name / "models/ranking" for name in ("whole", "killed")]
    assert (folders[0] / "history.json").read_text() == (folders[1] / "history.json").read_text()
    np.testing.assert_array_equal(*(_column(folder / "offline.parquet", "logit") for folder in folders))
    assert not (folders[1] / ".checkpoint").exists()


def test_missing_validation_and_test_are_normal_and_said(small_run: Path, tmp_path: Path) -> None:
    for name in ("ranking", "cart"):
        shutil.copytree(small_run / "features/train" / name, tmp_path / "features/train" / name)
    settings = DLRMSettings(epochs=1, batch_size=512, bottom=(8,), top=(8,), embedding_dimension=4)
    report = train_dlrm(tmp_path, "cart", settings, 1)
    assert any("no validation rows" in note for note in report.notes)
    assert any("calibration: there are 0 validation rows" in note for note in report.notes)
    assert json.loads((tmp_path / "models/cart/config.json").read_text())["notes"] == list(report.notes)
    calibration = json.loads((tmp_path / "models/cart/calibration.json").read_text())
    forms = calibration.pop("forms")
    assert calibration == {"slope": 1.0, "intercept": 0.0}
    assert set(forms) == set(FORMS)
    for sizes in forms.values():  # with nothing to bear it out, what a cart is answered is what training's carts came to
        assert {size: of_size["slope"] for size, of_size in sizes.items()} == dict.fromkeys(SIZES, 0.0)


def test_the_cart_model_learns_from_requests_and_calibrates_each_form(small_run: Path, tmp_path: Path) -> None:
    """Requests of one form whose labels are turned round get their base rate; those of the others keep what the logit tells."""
    for split in ("train", "valid"):
        shutil.copytree(small_run / "features" / split / "cart", tmp_path / "features" / split / "cart")
        folder = shutil.copytree(small_run / "features" / split / "cart", tmp_path / "features" / split / "cart_requests")
        file = next(folder.glob("*.parquet"))
        table = pl.read_parquet(file)
        form = pl.Series("form", [FORMS[row % len(FORMS)] for row in range(len(table))])
        turned = (
            pl.when(pl.col("form") == FORMS[0]).then(1 - pl.col("label")).otherwise("label")
            if split == "valid"
            else pl.col("label")
        )
        table.with_columns(form).with_columns(turned.cast(table["label"].dtype).alias("label")).write_parquet(file)
    settings = DLRMSettings(epochs=2, batch_size=512, bottom=(8,), top=(8,), embedding_dimension=4)
    report = train_dlrm(tmp_path, "cart", settings, 1)
    assert report.examples == 2 * len(pl.read_parquet(tmp_path / "features/train/cart/*.parquet"))
    read = read_forms(tmp_path / "models/cart")
    slopes = {form: each[SEVERAL_LINES].lines.slope for form, each in read.items()}
    assert slopes.pop(FORMS[0]) == 0
    assert all(slope > 0.2 for slope in slopes.values())
    assert any(
        note.startswith("stranger, carts of several lines: on validation the model tells no more of a line")
        for note in report.notes
    )


def test_bad_input_is_one_sentence(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no DLRM named 'rank'"):
        train_dlrm(tmp_path, "rank", DLRMSettings(), 1)
    with pytest.raises(RunError, match=r"schema\.pbtxt"):
        train_two_tower(tmp_path, TINY, 1)
    shutil.copytree(trained / "features/train/ranking", tmp_path / "features/train/recommend")
    with pytest.raises((RunError, DataError), match="recent_"):
        train_two_tower(tmp_path, TINY, 1)
    with pytest.raises(RunError, match=r"config\.json"):
        load_two_tower(tmp_path)
    with pytest.raises(RunError, match="'cart', where 'two_tower'"):
        load_two_tower(trained / "models/cart")


def test_an_export_that_differs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cartwheel.merlin_compat import tf
    from models.training import onnx_export

    def double(columns: Any) -> Any:
        return columns["x"] * 2.0

    rows = {"x": np.ones((3, 1), np.float32)}
    assert onnx_export.export(double, (), (), ("x",), "y", tmp_path / "y.onnx", rows) == 0.0
    monkeypatch.setattr(tf, "constant", lambda value: tf.convert_to_tensor(value + 1))
    with pytest.raises(ParityError, match=r"differs from TensorFlow by 2 in row 0"):
        onnx_export.export(double, (), (), ("x",), "y", tmp_path / "z.onnx", rows)
    assert not (tmp_path / "z.onnx").exists()


def test_target_ranks_by_hand() -> None:
    def table(**columns: Any) -> Any:
        return Table(None, {n: np.array(v, np.int32) for n, v in columns.items()})

    items = np.array([[1.0], [0.5], [0.2]], np.float32)
    valid = table(item_id=[5, 5, OOV_ID], recent_items=[[3, 0], [4, 0], [0, 0]])
    query, target = np.ones((3, 1), np.float32), np.array([[0.2], [0.6], [0.5]], np.float32)
    assert target_ranks(query, target, items, valid, table(item_id=[3, 4, 5])).tolist() == [2, 2, 3]


def test_validation_asks_only_after_items_that_are_candidates(small_run: Path) -> None:
    """Items first seen after the split share one id and are no candidates: they must not decide which epoch is best."""
    from models.families.two_tower.model import TwoTowerLearner, item_probabilities

    sizes = read_sizes(small_run / "features/train/recommend")
    valid = read_table(small_run / "features/valid/recommend", (*QUERY, *ITEM), sizes)
    catalogue = read_table(small_run / "features/valid/catalogue", ITEM, sizes)
    tower = build_two_tower(TINY, sizes, 1, item_probabilities(valid, sizes["item_id"]))
    strangers = {n: np.concatenate([v, v]) for n, v in valid.columns.items()}
    strangers["item_id"][len(valid) :] = OOV_ID
    known = TwoTowerLearner(tower, valid, valid, catalogue).validate()
    assert TwoTowerLearner(tower, valid, Table(valid.folder, strangers), catalogue).validate() == known
    only = Table(valid.folder, valid.columns | {"item_id": np.full(len(valid), OOV_ID, np.int32)})
    assert TwoTowerLearner(tower, valid, only, catalogue).validate()["score"] > 0
    assert TwoTowerLearner(tower, valid, valid, None).validate() == {}


def test_embeddings_can_be_kept_small() -> None:
    settings = DLRMSettings(embedding_l2=0.1, batch_size=4, bottom=(4,), top=(4,), embedding_dimension=2)
    sizes = {"user_id": 5, "hour": 27, "weekday": 10, "item_id": 5, "item_category": 5, "item_brand": 5}
    assert build_dlrm("cart", settings, sizes, 0).merlin.losses
