"""The embedded store: one SQLite file in WAL mode, for the gateways and consumers of one machine.

A commit is on the disk before it is acknowledged (``synchronous=FULL``). What is new and what is known is decided in the same commit, so
that a process killed anywhere has either kept a batch or not. https://www.sqlite.org/wal.html
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from serving.store.event import OfItem, Recent, Tracked
from serving.store.item_state import ItemState
from serving.store.link import Link
from serving.store.store import Kept, Store, unreachable

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS journal (place INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS known (id TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS known_at ON known (at);
CREATE TABLE IF NOT EXISTS recent (
    shopper TEXT NOT NULL, time INTEGER NOT NULL, place INTEGER NOT NULL, item TEXT NOT NULL, kind TEXT NOT NULL, price REAL,
    quantity REAL, session TEXT, PRIMARY KEY (shopper, time, place)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS recent_time ON recent (time);
CREATE INDEX IF NOT EXISTS recent_item ON recent (item, time, place);
CREATE TABLE IF NOT EXISTS items (item TEXT PRIMARY KEY, place INTEGER NOT NULL, price REAL, stock REAL, available INTEGER) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS items_place ON items (place);
CREATE TABLE IF NOT EXISTS links (
    visitor TEXT NOT NULL, user TEXT NOT NULL, since INTEGER NOT NULL, at INTEGER NOT NULL, place INTEGER NOT NULL,
    PRIMARY KEY (visitor, since)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS links_place ON links (place);
"""
_SINCE: Final = {"quantity": "REAL", "session": "TEXT"}
"""Columns of ``recent`` that files of before do not have."""
_BUSY_MILLISECONDS: Final = 5_000
_SWEEP_US: Final = 60_000_000
_SWEEP_SHOPPERS: Final = 10_000
_DIGITS: Final = 20
_SURPLUS: Final = """
DELETE FROM recent WHERE shopper = ?1 AND (time, place) < (
    SELECT time, place FROM recent WHERE shopper = ?1 ORDER BY time DESC, place DESC LIMIT 1 OFFSET ?2
)
"""
_SET_ITEM: Final = """
INSERT INTO items VALUES (?1, (SELECT COALESCE(MAX(place), 0) + 1 FROM items), ?2, ?3, ?4) ON CONFLICT (item) DO UPDATE SET
place = excluded.place, price = COALESCE(?2, price), stock = COALESCE(?3, stock), available = COALESCE(?4, available)
"""
_LINK: Final = """
INSERT OR REPLACE INTO links VALUES (?, ?, ?, ?, (SELECT COALESCE(MAX(place), 0) + 1 FROM links))
"""
_LINKS: Final = "SELECT visitor, user, since, place FROM links WHERE place > ? ORDER BY place"
_ITEMS: Final = "SELECT item, price, stock, available, place FROM items WHERE place > ? ORDER BY place"
_RECENT: Final = """
SELECT item, kind, time, price, quantity, session FROM recent WHERE shopper = ? AND time > ? ORDER BY time DESC, place DESC LIMIT ?
"""
_OF_ITEM: Final = """
SELECT shopper, kind, time, price, quantity FROM recent WHERE item = ? AND time > ? ORDER BY time DESC, place DESC LIMIT ?
"""


class SqliteStore(Store):
    """Events in a SQLite file.

    Args:
        path: the file; made with its folder where it is not there.
        kept: how much is kept.

    Raises:
        ServerError: if it cannot be opened.
    """

    def __init__(self, path: Path, kept: Kept) -> None:
        self._path, self._kept = path, kept
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        self._added: Counter[str] = Counter()
        self._swept_us = 0
        with self._failing():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._writer, self._reader = self._opened(), self._opened()

    def add(self, events: Sequence[Tracked], now_us: int) -> list[bool]:
        """Keep events; see :meth:`Store.add`."""
        with self._write_lock, self._failing(), self._transaction() as commit:
            new = [self._keep(commit, event, now_us) for event in events]
            self._bound(commit, now_us)
        return new

    def _keep(self, commit: sqlite3.Cursor, event: Tracked, now_us: int) -> bool:
        if not commit.execute("INSERT OR IGNORE INTO known VALUES (?, ?)", (event.event_id, now_us)).rowcount:
            return False
        place = commit.execute("INSERT INTO journal (body) VALUES (?)", (event.text(),)).lastrowid
        if event.time_us > now_us - self._kept.oldest_us:
            of_event = (event.item_id, event.event_type, event.price, event.quantity, event.session_id)
            commit.execute("INSERT INTO recent VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (event.shopper, event.time_us, place, *of_event))
            self._added[event.shopper] += 1
        return True

    def _bound(self, commit: sqlite3.Cursor, now_us: int) -> None:
        """Remove what is too much or too old; of a shopper a quarter more than ``kept.events`` may stand between two sweeps."""
        sweep = now_us - self._swept_us > _SWEEP_US or len(self._added) > _SWEEP_SHOPPERS
        full = [shopper for shopper, count in self._added.items() if sweep or count > self._kept.events // 4]
        for shopper in full:
            commit.execute(_SURPLUS, (shopper, self._kept.events - 1))
            del self._added[shopper]
        if sweep:
            self._swept_us = now_us
            commit.execute("DELETE FROM known WHERE at < ?", (now_us - self._kept.id_us,))
            commit.execute("DELETE FROM recent WHERE time < ?", (now_us - self._kept.oldest_us,))

    def recent(self, shoppers: Sequence[str], after_us: int) -> list[list[Recent]]:
        """Return what shoppers did; see :meth:`Store.recent`."""
        with self._read_lock, self._failing():
            rows = [self._reader.execute(_RECENT, (shopper, after_us, self._kept.events)).fetchall() for shopper in shoppers]
        return [[Recent(*row) for row in reversed(found)] for found in rows]

    def of_items(self, items: Sequence[str], after_us: int) -> list[list[OfItem]]:
        """Return what was done with items; see :meth:`Store.of_items`."""
        with self._read_lock, self._failing():
            rows = [self._reader.execute(_OF_ITEM, (item, after_us, self._kept.item_events)).fetchall() for item in items]
        return [[OfItem(*row) for row in reversed(found)] for found in rows]

    def journal(self, most: int) -> list[tuple[str, Tracked]]:
        """Return the first events that are not landed; see :meth:`Store.journal`."""
        with self._read_lock, self._failing():
            rows = self._reader.execute("SELECT place, body FROM journal ORDER BY place LIMIT ?", (most,)).fetchall()
        return [(f"{place:0{_DIGITS}d}", Tracked.parsed(body)) for place, body in rows]

    def landed(self, place: str) -> None:
        """Forget the journal up to a place; see :meth:`Store.landed`."""
        with self._write_lock, self._failing(), self._transaction() as commit:
            commit.execute("DELETE FROM journal WHERE place <= ?", (int(place),))

    def set_items(self, states: Sequence[ItemState]) -> None:
        """Set the state of items; see :meth:`Store.set_items`."""
        with self._write_lock, self._failing(), self._transaction() as commit:
            for state in states:
                commit.execute(_SET_ITEM, state)

    def items(self, after: str) -> tuple[list[ItemState], str]:
        """Return the state of items; see :meth:`Store.items`."""
        with self._read_lock, self._failing():
            rows = self._reader.execute(_ITEMS, (int(after or 0),)).fetchall()
        states = [ItemState(item, price, stock, None if there is None else bool(there)) for item, price, stock, there, _ in rows]
        return states, str(rows[-1][-1]) if rows else after

    def link(self, links: Sequence[Link], now_us: int) -> None:
        """Keep who visitors are; see :meth:`Store.link`."""
        with self._write_lock, self._failing(), self._transaction() as commit:
            for link in links:
                commit.execute(_LINK, (*link, now_us))
            newest = "SELECT MAX(place) FROM links"  # which stays, for places go on from it
            commit.execute(f"DELETE FROM links WHERE at < ? AND place < ({newest})", (now_us - self._kept.oldest_us,))  # noqa: S608

    def links(self, after: str) -> tuple[list[Link], str]:
        """Return the links; see :meth:`Store.links`."""
        with self._read_lock, self._failing():
            rows = self._reader.execute(_LINKS, (int(after or 0),)).fetchall()
        return [Link(*row[:3]) for row in rows], str(rows[-1][-1]) if rows else after

    def close(self) -> None:
        """Close the file."""
        with self._write_lock, self._read_lock:
            self._writer.close()
            self._reader.close()

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        held = {row[1] for row in connection.execute("PRAGMA table_info(recent)")}
        for name, kind in _SINCE.items() if held else ():
            if name not in held:
                connection.execute(f"ALTER TABLE recent ADD COLUMN {name} {kind}")
        connection.executescript(_SCHEMA)
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Cursor]:
        cursor = self._writer.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        try:
            yield cursor
            cursor.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                cursor.execute("ROLLBACK")
            raise

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise unreachable(str(self._path), error) from error
