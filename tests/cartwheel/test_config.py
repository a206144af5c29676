"""A configuration is read whole, or refused in a sentence that names the key."""

from pathlib import Path

import pytest

from cartwheel.config import load_settings
from cartwheel.core.errors import ConfigError

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.toml"))


def write(folder: Path, text: str) -> Path:
    path = folder / "shop.toml"
    path.write_text(text)
    return path


def test_an_empty_file_means_the_defaults_and_a_run_directory_named_for_it(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, ""))
    assert settings.source.kind == "simulated"
    assert settings.run == tmp_path.resolve() / "runs" / "shop"


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, 'run = "here"\n[source]\nkind = "table"\npath = "events/*.csv"\n'))
    assert settings.run == tmp_path.resolve() / "here"
    assert settings.source.path == tmp_path.resolve() / "events/*.csv"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[two_tower]\nepoch = 3\n", "two_tower.epoch is not a known key; did you mean 'epochs'?"),
        ("sed = 3\n", "sed is not a known key; did you mean 'seed'?"),
        ("[serve]\nzzz = 1\n", "serve.zzz is not a known key; known keys here: gateway, host, grpc_port"),
        ("[ranking]\nepochs = 0\n", "ranking.epochs = 0 is not accepted: input should be greater than 0."),
        ('[two_tower]\nepochs = "many"\n', "two_tower.epochs = 'many' is not accepted: input should be a valid integer"),
        ('[export]\ntarget = "moon"\n', "export.target = 'moon' is not accepted: input should be 'embedded' or 'native'."),
        (
            '[retrieval]\nmodel = "ease"\n',
            "retrieval.model = 'ease' is not accepted: input should be 'two_tower', 'als' or 'bpr'.",
        ),
        ("[retrieval]\nparameters = { factors = 8 }\n", 'parameters holds factors, which model = "two_tower" does not read'),
        ('[tables.items]\npath = "i.csv"\nkei = "sku"\n', "tables.items.kei is not a known key; did you mean 'key'?"),
        ('[features.own.colour]\nkind = "colour"\n', "features.own.colour.kind = 'colour' is not accepted"),
        ('[features.own."the colour"]\nkind = "category"\n', "expected a name of letters, digits and underscores"),
        ('[prepare]\ninteraction_types = ["vew"]\n', "names 'vew', which is not an event type. Did you mean 'view'?"),
        ('[events]\nextra_types = ["Scan"]\n', "events.extra_types.0 = 'Scan' is not accepted"),
        ("[source\n", "is not valid TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, text))
    assert sentence in str(caught.value)
    assert "shop.toml" in str(caught.value)


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"two_tower\.epochs = 0 .*sed is not"):
        load_settings(write(tmp_path, "sed = 1\n[two_tower]\nepochs = 0\n"))


def test_a_missing_file_and_a_folder_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no configuration file"):
        load_settings(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(tmp_path)


def test_tables_and_own_features_are_read(tmp_path: Path) -> None:
    text = '[tables.items]\npath = "items.csv"\n[features.own.colour]\nkind = "category"\nfrom = "items.farbe"\n'
    settings = load_settings(write(tmp_path, text))
    assert settings.tables["items"].path == tmp_path.resolve() / "items.csv"
    assert settings.features.own["colour"].origin == "items.farbe"


def test_event_types_of_the_shop_can_be_interactions(tmp_path: Path) -> None:
    text = '[events]\nextra_types = ["scan"]\n[prepare]\ninteraction_types = ["click", "scan"]\n'
    assert load_settings(write(tmp_path, text)).prepare.interaction_types == ("click", "scan")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configurations_of_the_repository_are_valid(path: Path) -> None:
    assert load_settings(path).source.path is not None


def test_the_run_whose_ids_are_kept_is_found_from_the_folder_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text('[features]\nkeep_ids_of = "runs/last_month"\nengine = "nvtabular"\n')
    features = load_settings(path).features
    assert features.keep_ids_of == tmp_path / "runs/last_month"
    assert features.engine == "nvtabular"


def test_the_key_that_recommend_leave_out_replaced_says_what_to_write(tmp_path: Path) -> None:
    path = tmp_path / "cartwheel.toml"
    path.write_text("[prepare]\nexclude_recent = false\n")
    with pytest.raises(
        ConfigError, match=r'prepare\.exclude_recent is no longer a key; .* write leave_out = "recent" for true, or "nothing"'
    ):
        load_settings(path)
    path.write_text('[recommend]\nleave_out = "seen"\n')
    with pytest.raises(ConfigError, match=r"recommend\.leave_out = 'seen' is not accepted: .*'interacted' or 'nothing'"):
        load_settings(path)
