"""Any table whose columns the configuration maps: how a shop brings its own export without a line of code."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from cartwheel.errors import ConfigError
from workflows import reading
from workflows.events import CANONICAL, EVENT_TYPES
from workflows.instants import ISO, UNITS, is_format
from workflows.settings import SourceSettings
from workflows.sources.base import FileSource

_REQUIRED: Final = ("item_id", "timestamp")
_RESERVED: Final = frozenset({"reason", "file", "row"})


class Table(FileSource):
    """A mapped table.

    ``source.columns`` says which column of the file is which canonical one; a column that already has the canonical name needs no
    entry. An entry that is no canonical name brings an own column along under that name. Where sessions are mapped, rows without
    user are anonymous baskets.
    """

    kind = "table"

    def __init__(self, settings: SourceSettings, base_folder: Path) -> None:
        self._settings = settings
        names = {column: (settings.columns.get(column, column),) for column in CANONICAL}
        needed = {*_REQUIRED, *(column for column in settings.columns if column in CANONICAL)}
        if settings.default_event_type is None:
            needed.add("event_type")
        if "session_id" not in settings.columns:
            needed.add("user_id")
        super().__init__(settings, base_folder)
        self.required = {column: names[column] for column in CANONICAL if column in needed}  # type: ignore[misc]
        self.optional = {column: names[column] for column in CANONICAL if column not in needed}  # type: ignore[misc]
        self.own = {column: (name,) for column, name in settings.columns.items() if column not in CANONICAL}  # type: ignore[misc]
        self.timestamp_formats = (settings.timestamp_format or ISO,)

    @property
    def anonymous_baskets(self) -> bool:
        """Rows without user are anonymous baskets where sessions are mapped."""
        return "session_id" in self._settings.columns

    def check_settings(self, settings: SourceSettings) -> None:
        """Raise ``ConfigError`` for event types, a time format or column names that cannot work."""
        for value, canonical in settings.event_types.items():
            _check_event_type(f"source.event_types.{value}", canonical)
        if settings.default_event_type is not None:
            _check_event_type("source.default_event_type", settings.default_event_type)
        if settings.timestamp_format is not None and not is_format(settings.timestamp_format):
            raise ConfigError(
                f"source.timestamp_format is '{settings.timestamp_format}', which is no time format.",
                f"Use {', '.join(UNITS)} for Unix time, a strptime pattern such as '%d.%m.%Y %H:%M', or leave it out for ISO 8601.",
            )
        for column in settings.columns:
            if column.startswith("_") or column in _RESERVED:
                raise ConfigError(
                    f"source.columns.{column}: this name is reserved.",
                    "Names with a leading underscore, reason, file and row are.",
                )

    def shape(self, events: pl.LazyFrame) -> pl.LazyFrame:
        """Rename event types, and fill missing ones with the default."""
        event_type = pl.col("event_type")
        if self._settings.event_types:
            event_type = event_type.replace(self._settings.event_types)
        if self._settings.default_event_type:
            event_type = event_type.fill_null(self._settings.default_event_type)
        return events.with_columns(event_type)


def _check_event_type(where: str, event_type: str) -> None:
    if event_type not in EVENT_TYPES:
        raise ConfigError(
            f"{where} is '{event_type}', which is no event type.{reading.did_you_mean(event_type, EVENT_TYPES)}",
            f"Event types are {', '.join(EVENT_TYPES)}.",
        )
