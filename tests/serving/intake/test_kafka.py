"""Events from a topic, against the mock cluster of librdkafka: a fake, but one that speaks Kafka's protocol, with groups and offsets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

from cartwheel.core.errors import ServerError, UsageError
from serving.intake.dead_letters import DeadLetters
from serving.intake.kafka import KafkaConsumer
from serving.store.event import Tracked
from serving.store.sqlite_store import SqliteStore
from serving.store.store import Kept
from workflows.events.kinds import EVENT_TYPES

ROOT = Path(__file__).resolve().parents[3]
TYPES = frozenset(EVENT_TYPES)
QUICK = {"session.timeout.ms": "6000", "heartbeat.interval.ms": "500"}
"""Options under which a broker gives up soon what has gone."""


class Cluster:
    """A broker of librdkafka's own in this process, and who writes to it."""

    def __init__(self) -> None:
        self._producer = confluent_kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock"})
        broker = next(iter(self._producer.list_topics(timeout=20).brokers.values()))
        self.servers = f"{broker.host}:{broker.port}"

    def put(self, topic: str, *values: Any, stamp: int = 1_700_000_000_000) -> None:
        for value in values:
            content = value if isinstance(value, bytes) else json.dumps(value).encode()
            self._producer.produce(topic, content, key=b"anna", timestamp=stamp)  # one partition, so one order
        assert self._producer.flush(20) == 0


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


def view(number: int, **more: Any) -> dict[str, Any]:
    return {"event_id": f"e{number}", "user_id": "anna", "item_id": f"i{number}", "event_type": "view", **more}


def taken(consumer: KafkaConsumer, count: int) -> None:
    deadline, found = time.monotonic() + 60, 0
    while found < count and time.monotonic() < deadline:
        found += consumer.step()
    assert found == count


def stepped(consumer: KafkaConsumer) -> None:
    """Step for a minute, or until something fails."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        consumer.step()


def test_messages_are_kept_once_and_bad_ones_are_aside(cluster: Cluster, tmp_path: Path) -> None:
    said = {key: value for key, value in view(7).items() if key != "event_id"}
    cluster.put("first", view(0), view(1), view(1), view(2, event_type="odd"), b"no JSON", b"\xff", [1], {**said, "price": None})
    with SqliteStore(tmp_path / "events.db", Kept()) as store:
        consumer = KafkaConsumer(cluster.servers, "first", "g", store, DeadLetters(tmp_path / "dead"), TYPES, QUICK)
        taken(consumer, 8)
        assert (consumer.consumed.accepted, consumer.consumed.duplicates, consumer.consumed.refused) == (3, 1, 4)
        kept = [event for _, event in store.journal(99)]
        assert [event.event_id for event in kept][:2] == ["e0", "e1"]
        assert kept[2].event_id.startswith("first:")
        assert kept[2].time_us == 1_700_000_000_000_000, "the instant of the message"
        consumer.close()
        cluster.put("first", view(3))
        again = KafkaConsumer(cluster.servers, "first", "g", store, DeadLetters(tmp_path / "dead"), TYPES, QUICK)
        taken(again, 1)
        again.close()
    reasons = [json.loads(line)["source"] for line in (tmp_path / "dead").read_text().splitlines()]
    assert reasons == ["topic first"] * 4


class Failing(SqliteStore):
    """A store that fails once, before it keeps or after it has kept."""

    fail, keeps = True, False

    def add(self, events: Sequence[Tracked], now_us: int) -> list[bool]:
        new = super().add(events, now_us) if self.keeps or not self.fail else []
        if self.fail:
            self.fail = False
            raise ServerError("It died.")
        return new


@pytest.mark.parametrize("keeps", [False, True])
def test_what_could_not_be_acknowledged_is_given_again_and_counts_once(cluster: Cluster, tmp_path: Path, keeps: bool) -> None:
    topic = f"again-{keeps}"
    cluster.put(topic, *(view(number) for number in range(5)))
    with Failing(tmp_path / "events.db", Kept()) as store:
        store.keeps = keeps
        consumer = KafkaConsumer(cluster.servers, topic, "g", store, DeadLetters(tmp_path / "dead"), TYPES, QUICK)
        with pytest.raises(ServerError, match="It died"):
            stepped(consumer)
        deadline = time.monotonic() + 60
        while consumer.consumed.accepted + consumer.consumed.duplicates < 5 and time.monotonic() < deadline:
            consumer.step()
        assert [event.event_id for _, event in store.journal(99)] == [f"e{number}" for number in range(5)]
        consumer.close()


def test_what_one_that_died_was_given_another_takes_up(cluster: Cluster, tmp_path: Path) -> None:
    cluster.put("left", *(view(number) for number in range(3)))
    with Failing(tmp_path / "events.db", Kept()) as store:
        store.keeps = True
        dying = KafkaConsumer(cluster.servers, "left", "g", store, DeadLetters(tmp_path / "dead"), TYPES, QUICK)
        with pytest.raises(ServerError, match="It died"):
            stepped(dying)
        dying.close()  # it has committed nothing
        other = KafkaConsumer(cluster.servers, "left", "g", store, DeadLetters(tmp_path / "dead"), TYPES, QUICK)
        taken(other, 3)
        assert other.consumed.duplicates > 0
        assert [event.event_id for _, event in store.journal(99)] == ["e0", "e1", "e2"]
        other.close()


def test_options_are_checked_and_a_broker_that_is_away_is_said(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "events.db", Kept()) as store:
        letters = DeadLetters(tmp_path / "dead")
        for options in ({"no.such": "x"}, {"enable.auto.commit": "true"}, {"session.timeout.ms": "soon"}):
            with pytest.raises(UsageError, match=r"Kafka option"):
                KafkaConsumer("127.0.0.1:1", "t", "g", store, letters, TYPES, options)


def test_the_command_takes_messages_in_and_stops(cluster: Cluster, tmp_path: Path) -> None:
    repository = tmp_path / "run" / "repository"
    repository.mkdir(parents=True)
    (repository / "cartwheel.json").write_text("{}")
    cluster.put("command", *(view(number) for number in range(20)))
    command = [sys.executable, "-m", "cartwheel.cli.main", "consume", str(tmp_path / "run"), "--stream", "command"]
    consuming = subprocess.Popen(
        [*command, "--kafka", cluster.servers, "--option", "session.timeout.ms=6000"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    deadline = time.monotonic() + 90
    while not (tmp_path / "run" / "live" / "events.db").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    with SqliteStore(tmp_path / "run" / "live" / "events.db", Kept()) as store:
        while len(store.journal(99)) < 20 and time.monotonic() < deadline:
            time.sleep(0.05)
    consuming.send_signal(signal.SIGTERM)
    _, said = consuming.communicate(timeout=60)
    assert consuming.returncode == 0, said
    assert "20 events accepted, 0 duplicates, 0 rejected." in said
