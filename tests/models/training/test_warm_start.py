"""Training that starts from an earlier run begins where that ended, with a row for every new id, and learns nothing too early."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cartwheel.core.errors import RunError
from cartwheel.core.run_layout import RunLayout
from models.families.dlrm.settings import DLRMSettings
from models.families.dlrm.train import fit_dlrm
from models.families.two_tower.settings import TwoTowerSettings
from models.families.two_tower.train import fit_two_tower, refit_two_tower
from models.training.loop import load_weights, values_of
from models.training.tables import FIRST_ID, Table, read_sizes, read_table
from models.training.warm_start import require_same_ids, start_where_earlier_ended
from workflows.features.columns import ITEM

TWO_TOWER = TwoTowerSettings(epochs=1, batch_size=256, learning_rate=0.01, embedding_dimension=32, dimension=32)
DLRM = DLRMSettings(epochs=1, batch_size=256, learning_rate=0.01)
STILL: dict[str, Any] = {"learning_rate": 1e-12}
SEED = 3


@pytest.fixture(scope="module")
def items(small_run: Path) -> Table:
    return read_table(small_run / "features/snapshot/items", ITEM, read_sizes(small_run / "features/train/recommend"))


def loaded(run: Path, *, before_validation: bool = False) -> Any:
    """Return the two-tower of a run."""
    from models.families.two_tower.model import load_two_tower

    model = RunLayout(run).model("two_tower")
    tower = load_two_tower(model.path)
    if before_validation:
        load_weights(model.validation.path, tower.variables)
    return tower


@pytest.mark.slow
def test_a_two_tower_begins_where_the_earlier_one_ended_before_and_after_it_had_seen_validation(
    trained: Path, items: Table, tmp_path: Path
) -> None:
    settings = TWO_TOWER.model_copy(update={**STILL, "start_from": trained})
    before = fit_two_tower(RunLayout(trained), tmp_path / "before", settings, SEED)
    np.testing.assert_allclose(
        before.tower.encode_items(items), loaded(trained, before_validation=True).encode_items(items), atol=1e-5
    )
    after = refit_two_tower(RunLayout(trained), tmp_path / "after", settings, SEED, before)
    assert after is not None
    np.testing.assert_allclose(after.tower.encode_items(items), loaded(trained).encode_items(items), atol=1e-5)
    assert np.abs(after.tower.encode_items(items) - before.tower.encode_items(items)).max() > 0.01


@pytest.mark.slow
def test_one_epoch_from_there_is_worth_more_than_one_from_the_start(trained: Path, tmp_path: Path) -> None:
    scores = [
        fit_two_tower(RunLayout(trained), tmp_path / name, TWO_TOWER.model_copy(update=told), SEED).history.best["score"]
        for name, told in (("start", {"start": "random"}), ("earlier", {"start_from": trained}))
    ]
    assert scores[1] > scores[0] + 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ranking", "cart"])
def test_a_dlrm_begins_where_the_earlier_one_ended(trained: Path, tmp_path: Path, name: str) -> None:
    fresh = fit_dlrm(RunLayout(trained), tmp_path / "fresh", name, DLRM.model_copy(update=STILL), SEED)
    settings = DLRM.model_copy(update={**STILL, "start_from": trained})
    warm = fit_dlrm(RunLayout(trained), tmp_path / "warm", name, settings, SEED)
    from models.families.dlrm.model import load_dlrm

    assert warm.valid is not None
    earlier = load_dlrm(RunLayout(trained).model(name).path)
    np.testing.assert_allclose(warm.dlrm.logits(warm.valid), earlier.logits(warm.valid), atol=1e-5)
    assert warm.start_score >= fresh.start_score


@pytest.mark.slow
def test_a_new_item_begins_as_the_mean_of_its_category_and_any_other_id_as_the_mean_of_all(trained: Path, items: Table) -> None:
    from models.families.two_tower.model import build_two_tower

    earlier = loaded(trained)
    sizes = {name: size + {"user_id": 3, "item_id": 2, "recent_items": 2}.get(name, 0) for name, size in earlier.sizes.items()}
    known, category = (
        earlier.sizes["item_id"],
        int(np.bincount(items["item_category"][items["item_category"] >= FIRST_ID]).argmax()),
    )
    columns = {
        "item_id": np.append(items["item_id"], [known, known + 1]),
        "item_category": np.append(items["item_category"], [category, 0]),
    }
    grown = build_two_tower(earlier.settings, sizes, seed=9, features=earlier.features)
    rows = Table(items.folder, columns)
    start_where_earlier_ended(RunLayout(trained).model("two_tower").path, grown.variables, grown.vocabularies, sizes, rows)
    found, expected = (dict(zip(each.vocabularies, values_of(each.variables), strict=True)) for each in (grown, earlier))
    of_items, of_users = expected["item_id"], expected["user_id"]
    alike = items["item_id"][(items["item_category"] == category) & (items["item_id"] >= FIRST_ID)]
    np.testing.assert_array_equal(found["item_id"][:known], of_items)
    np.testing.assert_allclose(found["item_id"][known], of_items[alike].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(found["item_id"][known + 1], of_items[FIRST_ID:].mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(found["user_id"][: len(of_users)], of_users)
    np.testing.assert_allclose(found["user_id"][len(of_users) :], np.tile(of_users[FIRST_ID:].mean(axis=0), (3, 1)), atol=1e-6)
    for name in ("item_category", "item_brand", "hour", "weekday"):
        np.testing.assert_array_equal(found[name], expected[name])
    for one, other in zip(values_of(grown.variables)[6:], values_of(earlier.variables)[6:], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_model_of_another_form_or_none_is_refused_in_a_sentence(trained: Path, tmp_path: Path) -> None:
    def refusal(start: Path, **other: Any) -> str:
        settings = TWO_TOWER.model_copy(update={"start_from": start, **other})
        with pytest.raises(RunError) as refused:
            fit_two_tower(RunLayout(trained), tmp_path / "none", settings, SEED)
        assert "\n" not in str(refused.value)
        return str(refused.value)

    assert "from which training should start, cannot be read" in refusal(tmp_path / "nowhere")
    assert "it has weights of the shape" in refusal(trained, hidden=(8,))
    assert "arrays of weights, expected" in refusal(trained, history="gru")
    folder = tmp_path / "damaged" / "models" / "two_tower"
    shutil.copytree(RunLayout(trained).model("two_tower").path, folder)
    for path in folder.rglob("weights.npz"):
        path.write_bytes(path.read_bytes()[:1000])
    assert "cannot be read" in refusal(tmp_path / "damaged")


def test_ids_that_are_not_the_first_ones_are_refused_in_a_sentence() -> None:
    known = {"item_id": ["lamp", "desk"], "user_id": ["anna"]}
    require_same_ids(known, {"item_id": ["lamp", "desk", "chair"], "user_id": ["anna"], "brand": ["x"]}, "those of a run")
    for other in (["desk", "lamp"], ["lamp"], ["lamp", "chair", "desk"], []):
        with pytest.raises(
            RunError, match=r"The ids of item_id are not those of a run, .* Set features\.keep_ids_of to that run"
        ):
            require_same_ids(known, {**known, "item_id": other}, "those of a run")
    with pytest.raises(RunError, match="The ids of user_id"):
        require_same_ids(known, {"item_id": known["item_id"]}, "those of a run")
