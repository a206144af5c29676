"""The sources of shop events: one file each, all on the interface of ``workflows.events.sources.base``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from cartwheel.core.errors import ConfigError
from workflows.events.reading import did_you_mean
from workflows.events.sources.base import Source
from workflows.events.sources.movielens import MovieLens
from workflows.events.sources.online_retail import OnlineRetail
from workflows.events.sources.rees46 import Rees46
from workflows.events.sources.retailrocket import RetailRocket
from workflows.events.sources.table import Table, check_event_types
from workflows.settings import SourceSettings

SOURCES: Final[dict[str, Callable[[SourceSettings, Path], Source]]] = {
    "rees46": Rees46,
    "retailrocket": RetailRocket,
    "online_retail": OnlineRetail,
    "movielens": MovieLens,
    "table": Table,
}
"""Kind -> what opens it; a new source is one file and one line here."""


def open_source(settings: SourceSettings, base_folder: Path, extra_types: Sequence[str] = ()) -> Source:
    """Return the source that ``settings`` names, its files found but not yet read.

    Args:
        settings: the section ``source`` of the configuration.
        base_folder: where relative paths start: the folder of the configuration file.
        extra_types: event types that are known beside those that every log may have.

    Raises:
        ConfigError: the kind is unknown, a path is missing, or a setting does not fit the kind.
        DataError: there are no files to read at the path.
    """
    opener = SOURCES.get(settings.kind)
    if opener is None:
        raise ConfigError(
            f"source.kind is '{settings.kind}', which is no known source.{did_you_mean(settings.kind, SOURCES)}",
            f"Known are {', '.join(sorted(SOURCES))}.",
        )
    check_event_types(settings, extra_types)
    return opener(settings, base_folder)
