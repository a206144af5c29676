"""Opens the store that the settings name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from serving.settings import ServeSettings
from serving.store.sqlite_store import SqliteStore
from serving.store.store import Kept, Store

FILE: Final = "events.db"
"""Name of the embedded store's file in its folder."""


def open_store(settings: ServeSettings, folder: Path) -> Store | None:
    """Open the store of ``serve.store``; None where it is off.

    Args:
        settings: the section ``[serve]``.
        folder: of the embedded store.

    Raises:
        MissingDependencyError: if it is Redis and the extra ``redis`` is not installed.
        UsageError: if it names neither.
        ServerError: if it cannot be opened.
    """
    kept = Kept(settings.max_events, settings.event_days, settings.event_id_hours)
    if settings.store == "off":
        return None
    if settings.store == "sqlite":
        return SqliteStore(folder / FILE, kept)
    from serving.store.redis_store import RedisStore

    return RedisStore(settings.store, kept)
