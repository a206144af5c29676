"""``cartwheel consume`` and ``cartwheel land``: events from a stream, and events to Parquet."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from cartwheel.core.errors import UsageError
from serving.settings import ServeSettings

if TYPE_CHECKING:
    from serving.intake.taking import Taker

Path_ = Annotated[Path, typer.Argument(help="A run directory, a repository, or a configuration file, as for `cartwheel serve`.")]
Store = Annotated[Optional[str], typer.Option("--store", help="`sqlite` or a Redis URL, instead of serve.store.")]  # noqa: UP045 - typer on 3.10


def consume(
    path: Path_,
    stream: Annotated[
        str, typer.Option("--stream", help="Key of the stream, or the topic; each entry has the fields of an event.")
    ],
    url: Annotated[str, typer.Option("--redis", help="URL of the Redis server of the stream.")] = "redis://127.0.0.1:6379/0",
    kafka: Annotated[
        str, typer.Option("--kafka", help="HOST:PORT of a Kafka broker, instead of Redis; separate several by commas.")
    ] = "",
    option: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer on 3.10
        typer.Option("--option", help="With --kafka: NAME=VALUE of librdkafka, such as security.protocol=SSL; may be repeated."),
    ] = None,
    group: Annotated[str, typer.Option("--group", help="Consumer group; consumers of one group share the stream.")] = "cartwheel",
    store: Store = None,
) -> None:
    """Consume events from a Redis stream or a Kafka topic until stopped: validated, deduplicated, and acknowledged when durable.

    \b
      cartwheel consume runs/shop --stream events --redis redis://10.0.0.5:6379/0
      cartwheel consume runs/shop --stream events --kafka 10.0.0.6:9092 --option security.protocol=SSL

    Entries of a stream have the fields of an event (user_id, item_id, event_type, timestamp, ...); a message of a topic is a JSON object
    of them. Set event_id if an event may be sent twice. Kafka needs the extra `kafka`, Redis the extra `redis`.
    """  # noqa: D301 - click's mark of a paragraph that it must not wrap
    from serving.intake.dead_letters import DEAD_LETTERS, DeadLetters
    from serving.store.opened import open_store
    from workflows.events.kinds import EVENT_TYPES

    if option and not kafka:
        raise UsageError("--option needs --kafka.", "Add --kafka, or omit --option.")
    settings, folder = _settings(path, store)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    opened = open_store(settings, folder)
    assert opened is not None
    with opened:
        letters, types = DeadLetters(folder / DEAD_LETTERS), frozenset((*EVENT_TYPES, *settings.extra_types))
        consumer: Taker
        if kafka:
            from serving.intake.kafka import KafkaConsumer

            consumer = KafkaConsumer(kafka, stream, group, opened, letters, types, _options(option or ()))
        else:
            from serving.intake.streams import Consumer

            consumer = Consumer(url, stream, group, opened, letters, types)
        print(f"consuming {stream} as {group}; stop with Ctrl-C or SIGTERM", file=sys.stderr, flush=True)
        consumer.run(ended.is_set, lambda sentence: print(sentence, file=sys.stderr, flush=True))
        done = consumer.consumed
        consumer.close()
    print(f"{done.accepted:,} events accepted, {done.duplicates:,} duplicates, {done.refused:,} rejected.", file=sys.stderr)


def _options(given: Sequence[str]) -> dict[str, str]:
    wrong = [text for text in given if not text.partition("=")[1]]
    if wrong:
        raise UsageError(f"--option is {wrong[0]!r}.", "Give NAME=VALUE, for example security.protocol=SSL.")
    return {name.strip(): value for name, _, value in (text.partition("=") for text in given)}


def land(
    path: Path_,
    out: Annotated[Path, typer.Option("--out", help="Folder of the Parquet files, which `prepare` reads as a table.")],
    store: Store = None,
) -> None:
    """Write the received events to Parquet for the next training, each once, and remove them from the journal."""
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
        raise UsageError("serve.store is off: no events are stored.", "Give --store sqlite, or a Redis URL.")
    return settings, live_folder(repository_of(run).resolve(), settings)
