"""``cartwheel consume`` and ``cartwheel land``: events from a stream, and events to Parquet."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Optional

import typer

from cartwheel.core.errors import UsageError
from serving.settings import ServeSettings

Path_ = Annotated[
    Path, typer.Argument(help="A run directory, a repository, or a configuration file, as `cartwheel serve` takes it.")
]
Store = Annotated[Optional[str], typer.Option("--store", help="`sqlite` or a URL of Redis, instead of serve.store.")]  # noqa: UP045 - typer on 3.10


def consume(
    path: Path_,
    stream: Annotated[str, typer.Option("--stream", help="Key of the stream; each entry has the fields of an event.")],
    url: Annotated[str, typer.Option("--redis", help="URL of the Redis that holds the stream.")] = "redis://127.0.0.1:6379/0",
    group: Annotated[str, typer.Option("--group", help="Consumer group; consumers of one group share the stream.")] = "cartwheel",
    store: Store = None,
) -> None:
    """Take in events from a stream of Redis, until it is stopped: checked, kept once, and acknowledged when they are durable."""
    from serving.intake.dead_letters import DEAD_LETTERS, DeadLetters
    from serving.intake.streams import Consumer
    from serving.store.opened import open_store
    from workflows.events.kinds import EVENT_TYPES

    settings, folder = _settings(path, store)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    opened = open_store(settings, folder)
    assert opened is not None
    with opened:
        letters, types = DeadLetters(folder / DEAD_LETTERS), frozenset((*EVENT_TYPES, *settings.extra_types))
        consumer = Consumer(url, stream, group, opened, letters, types)
        print(f"consuming {stream} as {group}; stop with Ctrl-C or SIGTERM", file=sys.stderr, flush=True)
        consumer.run(ended.is_set, lambda sentence: print(sentence, file=sys.stderr, flush=True))
        done = consumer.consumed
        consumer.close()
    print(f"{done.accepted:,} events accepted, {done.duplicates:,} known already, {done.refused:,} refused.", file=sys.stderr)


def land(
    path: Path_,
    out: Annotated[Path, typer.Option("--out", help="Folder of the Parquet files, which `prepare` reads as a table.")],
    store: Store = None,
) -> None:
    """Write the events that came in to Parquet for the next training, each once, and take them out of the journal."""
    from serving.intake.landing import land as write
    from serving.store.opened import open_store

    settings, folder = _settings(path, store)
    opened = open_store(settings, folder)
    assert opened is not None
    with opened:
        files = write(opened, out)
    for file in files:
        print(file)


def _settings(path: Path, store: str | None) -> tuple[ServeSettings, Path]:
    """Return the section ``[serve]`` and the folder of the store.

    Raises:
        UsageError: if no events are kept.
    """
    from cartwheel.cli.serve import repository_of
    from serving.server.state_folder import live_folder

    settings, run = ServeSettings(), path
    if path.suffix == ".toml":
        from cartwheel.config import load_settings

        configured = load_settings(path)
        settings, run = configured.serve, configured.run
    if store is not None:
        settings = settings.model_copy(update={"store": store})
    if settings.store == "off":
        raise UsageError("serve.store is off: no events are kept.", "Give --store sqlite, or a URL of Redis.")
    return settings, live_folder(repository_of(run).resolve(), settings)
