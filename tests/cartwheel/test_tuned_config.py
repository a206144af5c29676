"""Tuned settings in a copy of a configuration: everything else stays as the user wrote it."""

from pathlib import Path

import pytest

from cartwheel.cli.tuned_config import section_text, write_copy
from cartwheel.config import load_settings
from cartwheel.core.errors import ConfigError

CONFIG = """# My shop.
seed = 4

[source]
kind = "simulated" # for now

[two_tower] # the retrieval model
# Sixteen are enough.
dimension = 16
epochs = 4

[ranking]
epochs = 2
"""
NONE = ("evaluate.baseline_parameters.item_knn", {"neighbours": 20, "half_life_days": None})
VALUES = {"dimension": 32, "temperature": 0.0512, "hidden": (128, 64)}


def written(folder: Path, text: str, section: str = "two_tower", values: dict[str, object] = VALUES) -> str:
    config, copy = folder / "shop.toml", folder / "tuned.toml"
    config.write_text(text)
    write_copy(config, copy, section, values, load_settings(config).run)
    return copy.read_text()


def test_the_values_replace_those_of_the_section_and_nothing_else(tmp_path: Path) -> None:
    assert written(tmp_path, CONFIG) == CONFIG.replace("seed = 4\n", 'seed = 4\nrun = "runs/shop"\n').replace(
        "dimension = 16\nepochs = 4\n", "epochs = 4\ndimension = 32\ntemperature = 0.0512\nhidden = [128, 64]\n"
    )
    found, original = load_settings(tmp_path / "tuned.toml"), load_settings(tmp_path / "shop.toml")
    assert found.two_tower.hidden == (128, 64)
    assert found.model_copy(update={"two_tower": original.two_tower}) == original


def test_a_copy_of_a_copy_stays_in_the_run(tmp_path: Path) -> None:
    written(tmp_path, CONFIG)
    second = tmp_path / "second.toml"
    write_copy(tmp_path / "tuned.toml", second, "ranking", {"id_dropout": 0.25}, tmp_path / "runs" / "shop")
    settings = load_settings(second)
    assert settings.run == tmp_path / "runs" / "shop"
    assert (settings.two_tower.dimension, settings.ranking.id_dropout, settings.ranking.epochs) == (32, 0.25, 2)
    assert second.read_text().count("run = ") == 1


def test_a_run_elsewhere_is_named_whole(tmp_path: Path) -> None:
    config = tmp_path / "configs" / "shop.toml"
    config.parent.mkdir()
    config.write_text('run = "../runs/mine"\n')
    write_copy(config, config.parent / "tuned.toml", "two_tower", VALUES, load_settings(config).run)
    assert load_settings(config.parent / "tuned.toml").run.resolve() == (tmp_path / "runs" / "mine").resolve()


@pytest.mark.parametrize("text", ["", "# nothing\n", "[evaluate]\nbootstrap = 100\n", "[two_tower]"])
def test_a_section_that_is_not_there_is_added(tmp_path: Path, text: str) -> None:
    written(tmp_path, text)
    assert load_settings(tmp_path / "tuned.toml").two_tower.dimension == 32


def test_baselines_have_sections_of_their_own(tmp_path: Path) -> None:
    text = "[evaluate]\nbootstrap = 100\n\n[evaluate.baseline_parameters.als]\nfactors = 8\nseed = 3\n"
    written(tmp_path, text, "evaluate.baseline_parameters.als", {"factors": 16, "l2": 3.0})
    assert "half_life_days" not in written(tmp_path, text.replace("als", "item_knn").replace("seed", "half_life_days"), *NONE)
    written(tmp_path, text, *NONE)
    settings = load_settings(tmp_path / "tuned.toml").evaluate
    assert settings.bootstrap == 100
    assert settings.baseline_parameters == {"als": {"factors": 8, "seed": 3}, "item_knn": {"neighbours": 20}}


@pytest.mark.parametrize(
    "text",
    [
        "two_tower = {dimension = 16}\n",
        "two_tower.dimension = 16\n",
        "[two_tower]\nhidden = [\n  64,\n]\n",
        '[two_tower]\n"dimension" = 16\n',
    ],
)
def test_what_cannot_be_edited_is_left_to_the_user(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be edited.*\[two_tower\]\s+dimension = 32"):
        written(tmp_path, text)
    assert not (tmp_path / "tuned.toml").exists()


def test_a_section_is_toml() -> None:
    values = {"similarity": "dot", "decay": True, "half_life_days": None, "embedding_l2": 1e-06}
    assert section_text("x.y", values) == '[x.y]\nsimilarity = "dot"\ndecay = true\nembedding_l2 = 1e-06'
