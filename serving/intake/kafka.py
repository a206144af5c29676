"""Consumes events from a Kafka topic as one member of a consumer group.

An offset is committed only when the events up to it are durable or among the dead letters. What is given again counts once, for its event
id, or where it has none its topic, partition and offset, is known. https://kafka.apache.org/documentation/#consumerconfigs
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cartwheel.core.errors import MissingDependencyError, ServerError, UsageError
from cartwheel.core.packages import INSTALL
from serving.intake.dead_letters import DeadLetters
from serving.intake.intake import keep
from serving.intake.taking import Taker
from serving.store.store import Store, unreachable

AT_ONCE: Final = 500
_WAIT_SECONDS: Final = 0.5
_OWN: Final = ("bootstrap.servers", "group.id", "enable.auto.commit", "enable.auto.offset.store")
"""What the arguments say, or what would lose events."""


class KafkaConsumer(Taker):
    """One consumer of a group.

    Args:
        servers: ``HOST:PORT`` of some brokers, separated by commas.
        topic: each message is a JSON object with the fields of an event.
        group: a new one begins with the first message that there is.
        store: what keeps events.
        letters: where those go that are not sound.
        types: event types that are known.
        options: further settings of librdkafka, such as ``security.protocol``.

    Raises:
        MissingDependencyError: if the extra ``kafka`` is not installed.
        UsageError: if an option is not known, or is not to be set.
    """

    def __init__(
        self,
        servers: str,
        topic: str,
        group: str,
        store: Store,
        letters: DeadLetters,
        types: frozenset[str],
        options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._topic, self._store, self._letters, self._types = topic, store, letters, types
        self._client = _client(servers, group, options or {})
        self._client.subscribe([topic])

    def step(self) -> int:
        """Take what is there, waiting half a second at most; return how many messages it was.

        Raises:
            ServerError: if Kafka or the store does not answer; the messages will be given again.
        """
        import confluent_kafka

        try:
            found = self._client.consume(AT_ONCE, _WAIT_SECONDS)
            broken = [message for message in found if message.error() is not None]
            messages = [message for message in found if message.error() is None]
            if messages:
                self._take(messages)
        except confluent_kafka.KafkaException as error:
            raise unreachable(f"the topic {self._topic!r}", error) from error
        if broken:
            raise ServerError(f"Kafka does not give the topic {self._topic!r}: {broken[0].error().str()}.", "It is tried again.")
        return len(messages)

    def close(self) -> None:
        """Leave the group."""
        self._client.close()

    def _take(self, messages: Sequence[Any]) -> None:
        try:
            raws = [_event(message) for message in messages]
            outcome = keep(self._store, self._letters, raws, self._types, f"topic {self._topic}", time.time_ns() // 1000)
        except BaseException:
            self._step_back(messages)
            raise
        self._client.commit(offsets=_positions(messages), asynchronous=False)
        self.consumed.add(outcome)

    def _step_back(self, messages: Sequence[Any]) -> None:
        """Have messages given again: the client has gone on behind them."""
        for position in _positions(reversed(messages), behind=0):
            self._client.seek(position)


def _client(servers: str, group: str, options: Mapping[str, str]) -> Any:
    try:
        import confluent_kafka
    except ImportError as error:
        raise MissingDependencyError("Kafka needs the package confluent-kafka.", INSTALL.format("kafka")) from error
    taken = [name for name in options if name in _OWN]
    if taken:
        raise UsageError(f"The Kafka option {taken[0]} cannot be set.", "Omit it.")
    settings = {
        "auto.offset.reset": "earliest",
        "client.id": f"{socket.gethostname()}-{os.getpid()}",
        **options,
        "bootstrap.servers": servers,
        "group.id": group,
        "enable.auto.commit": False,
    }
    try:
        return confluent_kafka.Consumer(settings)
    except (confluent_kafka.KafkaException, ValueError, TypeError) as error:
        told = error.args[0].str() if error.args and hasattr(error.args[0], "str") else str(error)
        raise UsageError(f"A Kafka option is invalid: {told}.", "See the configuration of librdkafka.") from None


def _positions(messages: Any, behind: int = 1) -> list[Any]:
    """Return the place of the last of the messages of each partition, or ``behind`` it."""
    import confluent_kafka

    last = {(message.topic(), message.partition()): message.offset() + behind for message in messages}
    return [confluent_kafka.TopicPartition(topic, partition, offset) for (topic, partition), offset in last.items()]


def _event(message: Any) -> Any:
    """Return the event of a message: one that says no time is of the instant of the message; what is no JSON object stays text."""
    text = (message.value() or b"").decode("utf-8", "replace")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = text
    if not isinstance(said, dict):
        return text
    milliseconds = message.timestamp()[1]
    name = f"{message.topic()}:{message.partition()}:{message.offset()}"
    told = {field: value for field, value in said.items() if value is not None and value != ""}
    return {"event_id": name, **({"timestamp": milliseconds * 1000} if milliseconds > 0 else {}), **told}
