"""``cartwheel features``: proposes which of the shop's own columns to declare as features."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from cartwheel.core.errors import ConfigError
from cartwheel.core.files import write_text

if TYPE_CHECKING:
    import polars as pl

    from cartwheel.config import RunSettings
    from workflows.features.suggest import Columns

app = typer.Typer(
    name="features",
    help="Own columns as features of every model.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_LOOKED_AT: Final = 200_000
"""Events that are looked at where the run has not checked them yet."""
_KEYS: Final = ("user_id", "item_id", "session_id")


@app.callback()
def _features() -> None:
    """Keep ``suggest`` a command of its own although it is the only one."""


@app.command()
def suggest(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="The configuration file, with [tables.<name>] and [source].")
    ] = Path("cartwheel.toml"),
    write: Annotated[bool, typer.Option("--write", help="Append the section to the configuration file.")] = False,
) -> None:
    """Inspect the side tables and the log's own columns, and propose [features.own.<name>] for each.

    Name the shop's tables first, then let this command inspect their columns:

        [tables.items]
        path = "items.csv"          # Parquet, CSV or JSON lines; a file, a folder or a glob
        key = "sku"                 # the column with the ids of the events; item_id by default
        valid_from = "changed_at"   # time from which a row is valid; by default rows are assumed to be always known

    `cartwheel features suggest shop.toml` prints a section for each column with its findings: the kind of its values, and the number of
    distinct and missing ones. Ids, constants and copies of a key are left out, with the reason. Review it, and remove columns that are
    only known with the outcome; `--write` appends it to the configuration.

    Own columns of the events are those added by source.columns.
    """
    from cartwheel.config import load_settings
    from workflows.features.suggest import as_toml
    from workflows.features.suggest import suggest as propose

    settings = load_settings(config)
    tables = _tables(settings)
    if not tables:
        raise ConfigError(
            f"{config}: there is neither a table nor an own column of the events.",
            "Declare a table as [tables.items], or add columns of the events in source.columns.",
        )
    own = settings.features.own
    text = as_toml(propose(tables), {*own, *(feature.origin for feature in own.values())})
    if not text:
        Console(stderr=True).print("Every column is already declared.")
        return
    if write:
        _append(config, text)
        Console(stderr=True).print(f"written to {config}", highlight=False, markup=False, soft_wrap=True)
    else:
        sys.stdout.write(text)


def _tables(settings: RunSettings) -> list[Columns]:
    import polars as pl

    from workflows.events.side_tables import FIXED, KEY, REASON, checked_rows, on_of
    from workflows.features.suggest import EVENTS, Columns
    from workflows.settings import IDENTITY

    found = []
    events = _own_of_events(settings)
    if events is not None:
        found.append(Columns(EVENTS, "", events, _KEYS))
    for name, table in settings.tables.items():
        if name != IDENTITY:
            rows = checked_rows(name, table, on_of(name, table)).filter(pl.col(REASON).is_null())
            columns = [column for column in rows.columns if column not in FIXED and not column.startswith("_")]
            found.append(Columns(name, on_of(name, table), rows.select(KEY, *columns), (KEY,), table.valid_from is None))
    return found


def _own_of_events(settings: RunSettings) -> pl.DataFrame | None:
    """Return the keys and own columns of some events: checked ones where the run has them, else raw ones; None where there are none."""
    import polars as pl

    from cartwheel.core.run_layout import RunLayout
    from workflows.events.event_log import EVENT_COLUMNS
    from workflows.events.reading import collect
    from workflows.events.sources import open_source

    checked = RunLayout(settings.run).events
    if checked.is_file():
        table = pl.scan_parquet(checked, glob=False)
    elif settings.source.kind == "simulated":
        return None
    else:
        table = open_source(settings.source, settings.run, settings.events.extra_types).scan()
    own = [name for name in table.collect_schema().names() if name not in EVENT_COLUMNS and not name.startswith("_")]
    return collect(table.select(*_KEYS, *own).head(_LOOKED_AT), checked) if own else None


def _append(config: Path, text: str) -> None:
    """Append sections to a configuration, whole or not at all."""
    from cartwheel.config import load_settings

    before = config.read_text(encoding="utf-8")
    write_text(config, f"{before.rstrip()}\n\n{text}")
    try:
        load_settings(config)
    except ConfigError as error:
        write_text(config, before)
        raise ConfigError(
            f"{config} writes [features] in a form that cannot be extended automatically ({error.found}).",
            f"Add this by hand:\n{text}",
        ) from None
