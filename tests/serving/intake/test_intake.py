"""Events that come in: durable before they are acknowledged, each once, bad ones aside, and landed for the next training."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from cartwheel.core.errors import ServerError
from serving.intake.dead_letters import DeadLetters
from serving.intake.intake import BusyError, Intake, keep
from serving.intake.landing import land
from serving.store.event import Tracked, shopper_key
from serving.store.sqlite_store import SqliteStore
from serving.store.store import Kept, Store
from workflows.events.kinds import EVENT_TYPES
from workflows.events.sources import open_source
from workflows.events.validate import check_events
from workflows.settings import EventSettings, SourceSettings

ROOT = Path(__file__).resolve().parents[3]
KEPT = Kept(events=100_000)


def raw(number: int, **more: object) -> dict[str, object]:
    return {"event_id": f"e{number}", "user_id": "anna", "item_id": f"i{number}", "event_type": "view", **more}


def test_what_is_bad_is_aside_with_its_reason_and_the_rest_is_kept(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "dead-letters.jsonl")
    with SqliteStore(tmp_path / "events.db", KEPT) as store:

        async def send() -> None:
            intake = Intake(store, letters, 10, ("wave",), clock=lambda: 1_700_000_000_000_000)
            outcome = await intake.track([raw(1), raw(2, event_type="odd"), raw(1), raw(3, event_type="wave"), 7], "web")
            assert (outcome.accepted, outcome.duplicates) == (2, 1)
            assert {place: why.reason for place, why in outcome.refused.items()} == {1: "unknown event type", 4: "not an event"}
            await intake.close()

        asyncio.run(send())
        assert [event.event_id for _, event in store.journal(9)] == ["e1", "e3"]
    lines = [json.loads(line) for line in letters.path.read_text().splitlines()]
    assert [(line["reason"], line["source"]) for line in lines] == [("unknown event type", "web"), ("not an event", "web")]
    assert lines[0]["event"] == raw(2, event_type="odd")
    assert lines[0]["detail"].startswith("event_type is 'odd'; known are ")


class Slow(SqliteStore):
    """A store whose commits wait for a word, and fail where they are told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, KEPT)
        self.go, self.batches, self.fail = threading.Event(), [0], False

    def add(self, events: Sequence[Tracked], now_us: int) -> list[bool]:
        assert self.go.wait(20)
        self.batches.append(len(events))
        if self.fail:
            raise ServerError("The store is away.")
        return super().add(events, now_us)


def test_what_waits_is_bounded_and_shares_a_commit(tmp_path: Path) -> None:
    with Slow(tmp_path / "events.db") as store:

        async def send() -> None:
            intake = Intake(store, DeadLetters(tmp_path / "dead"), 5)
            first = asyncio.create_task(intake.track([raw(0)]))
            await asyncio.sleep(0.05)
            others = [asyncio.create_task(intake.track([raw(number), raw(number + 10)])) for number in (1, 2)]
            await asyncio.sleep(0)
            with pytest.raises(BusyError, match=r"5 events wait to be kept already \(serve\.max_track_waiting\)"):
                await intake.track([raw(9)])
            assert not first.done(), "nothing is acknowledged before it is kept"
            store.go.set()
            assert [outcome.accepted for outcome in await asyncio.gather(first, *others)] == [1, 2, 2]
            assert (await intake.track([raw(9)])).accepted == 1
            await intake.close()

        asyncio.run(send())
        assert store.batches == [0, 1, 4, 1]


def test_a_store_that_fails_fails_who_waits_and_nothing_after(tmp_path: Path) -> None:
    with Slow(tmp_path / "events.db") as store:
        store.go.set()

        async def send() -> None:
            intake = Intake(store, DeadLetters(tmp_path / "dead"), 5)
            store.fail = True
            with pytest.raises(ServerError, match="The store is away"):
                await intake.track([raw(1)])
            store.fail = False
            assert (await intake.track([raw(1)])).accepted == 1
            given_up = asyncio.create_task(intake.track([raw(2)]))
            await asyncio.sleep(0)
            given_up.cancel()
            assert (await intake.track([raw(3)])).accepted == 1
            assert intake.waiting == 0
            await intake.close()

        asyncio.run(send())
        assert [event.event_id for _, event in store.journal(9)] == ["e1", "e2", "e3"]


def test_killed_anywhere_nothing_acknowledged_is_lost_and_nothing_is_counted_twice(tmp_path: Path) -> None:
    chance, acknowledged, start = random.Random(5), set[int](), 0
    for _ in range(5):
        command = [sys.executable, str(Path(__file__).with_name("killed.py")), str(tmp_path), str(start)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first, process.stderr.read() if process.stderr else ""
        lines = first + "".join(process.stdout.readline() for _ in range(chance.randrange(30)))
        time.sleep(chance.uniform(0, 0.01))
        process.send_signal(signal.SIGKILL)
        numbers = {int(line) for line in (lines + process.communicate()[0]).splitlines() if line}
        acknowledged |= numbers
        start = max(0, max(numbers) - 20)  # who sends cannot know what was kept of the last ones, and sends them again
    with SqliteStore(tmp_path / "events.db", KEPT) as store:
        land(store, tmp_path / "landed")
        ids = pl.read_parquet(tmp_path / "landed" / "*.parquet")["event_id"].to_list()
        assert len(ids) == len(set(ids)) > 20
        assert {f"e{number}" for number in acknowledged} <= set(ids)
        assert sorted(recent.item_id for recent in store.recent([shopper_key("anna")], 0)[0]) == sorted(id_[1:] for id_ in ids)
    lines = (tmp_path / "dead-letters.jsonl").read_text().splitlines()
    refused = {json.loads(line)["event"]["event_id"] for line in lines if line.endswith("}")}
    assert {f"bad{number}" for number in acknowledged} <= refused


def test_landing_that_is_killed_between_file_and_journal_takes_nothing_twice(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "events.db", KEPT) as store:
        store.add([Tracked(f"e{number}", "a", "i", "view", 1_700_000_000_000_000 + number) for number in range(5)], 0)

        class Killed(Store):
            def __getattribute__(self, name: str) -> object:
                if name == "landed":
                    raise KeyboardInterrupt
                return getattr(store, name)

            add = recent = of_items = journal = landed = items = set_items = link = links = close = None  # type: ignore[assignment]

        with pytest.raises(KeyboardInterrupt):
            land(Killed(), tmp_path / "landed", 3)
        land(store, tmp_path / "landed", 3)
        assert land(store, tmp_path / "landed", 3) == []
        ids = [pl.read_parquet(path)["event_id"].to_list() for path in sorted((tmp_path / "landed").iterdir())]
        assert ids == [["e0", "e1", "e2"], ["e3", "e4"]]


def test_prepare_reads_what_was_landed(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "events.db", KEPT) as store:
        letters = DeadLetters(tmp_path / "dead")
        now = 1_700_000_000_000_000
        raws = [
            raw(1, price=2.5, quantity=2, category="lamps", brand="acme", event_type="purchase", timestamp=now - 1),
            {"session_id": "visit", "item_id": "7", "event_type": "view", "timestamp": "2023-11-14T22:00:00Z"},
            raw(2, event_type="bad"),
        ]
        assert keep(store, letters, raws, frozenset(EVENT_TYPES), "test", now).accepted == 2
        (path,) = land(store, tmp_path / "landed")
    columns = {"session_id": "session_id", "event_id": "event_id"}
    settings = SourceSettings(kind="table", path=path.parent / "*.parquet", columns=columns)
    summary = check_events(open_source(settings, tmp_path), EventSettings(), tmp_path / "checked")
    assert (summary.rows, summary.quarantined, summary.own_columns) == (2, 0, ("event_id",))
    anonymous, bought = pl.read_parquet(tmp_path / "checked" / "events.parquet").to_dicts()
    assert (anonymous["user_id"], anonymous["session_id"], anonymous["item_id"]) == (None, "visit", "7")
    expected = {"user_id": "anna", "item_id": "i1", "price": 2.5, "quantity": 2.0, "category": "lamps", "brand": "acme"}
    assert {name: bought[name] for name in expected} == expected
    assert bought["timestamp"].timestamp() * 10**6 == now - 1
