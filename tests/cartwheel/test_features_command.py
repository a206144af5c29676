"""``cartwheel features suggest`` on a shop's own files."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cartwheel.cli.main import app
from cartwheel.config import load_settings
from cartwheel.core.errors import ConfigError

CONFIG = """# our shop
[source]
kind = "table"
path = "events.csv"
default_event_type = "view"
columns = { shade = "shade" }

[tables.items]
path = "items.csv"

[features]
min_item_events = 3
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    rows = "".join(f"u{n % 5},i{n % 4},2024-01-{1 + n % 28:02d},{['dark', 'light'][n % 4 % 2]}\n" for n in range(60))
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp,shade\n" + rows)
    (tmp_path / "items.csv").write_text("item_id,colour,fee\ni0,red,1\ni1,blue,1\ni2,red,1\ni3,red,1\n")
    path = tmp_path / "shop.toml"
    path.write_text(CONFIG)
    return path


def suggest(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["features", "suggest", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_it_prints_a_section_with_reasons(config: Path) -> None:
    text = suggest(config)
    assert '[features.own.shade]\nowner = "item"\nkind = "category"\nfrom = "events.shade"' in text
    assert "# items.colour: names that come again; 2 distinct in 4 rows, 0% missing; taken as always known." in text
    assert "# items.fee is left out: it is '1' in every row" in text
    assert config.read_text() == CONFIG


def test_it_writes_the_section_below_the_others_once(config: Path) -> None:
    suggest(config, "--write")
    assert config.read_text().startswith(CONFIG.rstrip())
    assert set(load_settings(config).features.own) == {"shade", "colour"}
    written = config.read_text()
    suggest(config, "--write")
    assert config.read_text() == written


def test_a_section_that_cannot_be_added_to_is_left_as_it_is(config: Path) -> None:
    inline = CONFIG.replace("[features]\nmin_item_events = 3\n", "").replace(
        "[source]", "features = { min_item_events = 3 }\n[source]"
    )
    config.write_text(inline)
    with pytest.raises(ConfigError, match="in a form that cannot be extended"):
        suggest(config, "--write")
    assert config.read_text() == inline


def test_a_configuration_without_tables_is_told_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text("")
    with pytest.raises(ConfigError, match=r"there is neither a table nor an own column.*Declare a table as \[tables\.items\]"):
        suggest(path)


def test_the_help_teaches_how_to_name_a_table() -> None:
    text = CliRunner().invoke(app, ["features", "suggest", "--help"]).stdout
    assert "[tables.items]" in text
    assert "valid_from" in text
