"""Any table whose columns the configuration maps: how a shop brings its own export without a line of code."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import polars as pl

from cartwheel.core.errors import ConfigError
from workflows.events import reading
from workflows.events.instants import ISO, fault_of
from workflows.events.schema import CANONICAL, EVENT_TYPES
from workflows.events.sources.base import FileSource
from workflows.settings import SourceSettings

_NEAR: Final = 0.8
"""From this similarity on two names are one with a typing error: ``session`` and ``session_id`` have .82, ``user`` and ``user_id`` .73."""
_RESERVED: Final = frozenset({"reason", "file", "row"})


class Table(FileSource):
    """A mapped table.

    ``source.columns`` says which column of the file is which canonical one; a column that already has the canonical name needs no
    entry. An entry that is no canonical name brings an own column along under that name; every file must have it. Where sessions are
    mapped, rows without user are anonymous baskets.
    """

    kind = "table"
    requires_own = True

    def __init__(self, settings: SourceSettings, base_folder: Path) -> None:
        self._settings = settings
        names = {column: (settings.columns.get(column, column),) for column in CANONICAL}
        needed = {"timestamp", *(column for column in settings.columns if column in CANONICAL)}
        for column, default in (("event_type", settings.default_event_type), ("item_id", settings.default_item_id)):
            if default is None:
                needed.add(column)
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
        """Raise ``ConfigError`` for a time format or column names that cannot work."""
        if settings.timestamp_format is not None and (fault := fault_of(settings.timestamp_format)):
            raise ConfigError(
                f"source.timestamp_format is '{settings.timestamp_format}', which {fault}.", "Leave it out for ISO 8601."
            )
        for column in settings.columns:
            if column.startswith("_") or column in _RESERVED:
                raise ConfigError(
                    f"source.columns.{column}: this name is reserved.",
                    "Names with a leading underscore, reason, file and row are.",
                )
            _check_own_name(column, settings.columns[column])

    def shape(self, events: pl.LazyFrame) -> pl.LazyFrame:
        """Rename event types, and fill missing types and items with the defaults."""
        event_type = pl.col("event_type")
        if self._settings.event_types:
            event_type = event_type.replace(self._settings.event_types)
        if self._settings.default_event_type:
            event_type = event_type.fill_null(self._settings.default_event_type)
        item = pl.col("item_id")
        if self._settings.default_item_id:
            item = item.fill_null(self._settings.default_item_id)
        return events.with_columns(event_type, item)


def _check_own_name(column: str, name: str) -> None:
    """Refuse a name that is rather a canonical one with a typing error than the name of an own column.

    ``category_id`` or ``old_price`` name something of their own, and a name that the file has as well is meant as it is.
    """
    if column in CANONICAL or column == name:
        return
    bare = column.strip().lower()
    if any(bare.startswith(f"{canonical}_") or bare.endswith(f"_{canonical}") for canonical in CANONICAL):
        return
    near = difflib.get_close_matches(bare, CANONICAL, n=1, cutoff=_NEAR)
    if near:
        raise ConfigError(
            f"source.columns.{column}: this is no canonical column, but nearly one. Did you mean '{near[0]}'?",
            "Give a column of your own a name that cannot be mistaken for a canonical one, or the name that it has in the file.",
        )


def check_event_types(settings: SourceSettings, extra_types: Sequence[str]) -> None:
    """Raise ``ConfigError`` for an event type that ``settings`` map to and that neither Cartwheel nor ``extra_types`` knows."""
    named = {f"source.event_types.{value}": canonical for value, canonical in settings.event_types.items()}
    if settings.default_event_type is not None:
        named["source.default_event_type"] = settings.default_event_type
    known = (*EVENT_TYPES, *extra_types)
    for where, event_type in named.items():
        if event_type not in known:
            raise ConfigError(
                f"{where} is '{event_type}', which is not an event type.{reading.did_you_mean(event_type, known)}",
                f"Event types are {', '.join(known)}; events.extra_types adds the shop's own.",
            )
