"""What a repository offers to callers: its public ensembles, their parameters and limits, and the version of the export."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cartwheel.core.errors import RunError
from serving.client.answers import DEFAULT_MAX_K
from serving.contract import questions
from serving.contract.limits import PARAMETER, Limits, with_limits
from serving.contract.tasks import PARAMETER as TASK
from serving.contract.version import CONFIG, told_writer, version_of
from serving.settings import ServeSettings

_LINE: Final = re.compile(
    r'^parameters \{ key: (?P<key>"(?:[^"\\]|\\.)*") value: \{ string_value: (?P<value>"(?:[^"\\]|\\.)*") \} \}$', re.MULTILINE
)
_PRICES: Final = 'input [ { name: "priced" '
_EVENTS: Final = 'input [ { name: "events_item" '
"""Begins the line of a configuration that takes a shopper's events."""


@dataclass(frozen=True)
class Public:
    """One ensemble that may be asked from outside.

    Attributes:
        name: its name.
        parameters: those of its configuration, as clients read them.
        limits: how large a request may be; None where the repository does not say.
        takes_events: whether a request may give a shopper's events.
        takes_prices: whether the gateway may give what items cost now.
    """

    name: str
    parameters: Mapping[str, str]
    limits: Limits | None
    takes_events: bool = False
    takes_prices: bool = False

    @property
    def last_event_us(self) -> int:
        """Instant of the last event that the export knows, Unix microseconds; 0 where it does not say."""
        return int(self.parameters.get("last_event_us", 0))

    @property
    def max_k(self) -> int:
        """The most items of an answer."""
        return int(self.parameters.get("max_k", DEFAULT_MAX_K))

    @property
    def is_task(self) -> bool:
        """Whether it answers a declared task."""
        return TASK in self.parameters


@dataclass(frozen=True)
class Served:
    """A repository, seen from outside.

    Attributes:
        version: the first digits of a SHA-256 over all that the export wrote.
        ensembles: name -> ensemble.
    """

    version: str
    ensembles: Mapping[str, Public]

    @property
    def max_k(self) -> int:
        """The most items of an answer of the recommender."""
        return next((each.max_k for each in self.ensembles.values() if not each.is_task), 0)

    @classmethod
    def read(cls, repository: Path, settings: ServeSettings) -> Served:
        """Read a repository; public is a model whose configuration holds a question, which those of steps do not.

        Raises:
            RunError: if a configuration cannot be read, or there is nothing to ask.
        """
        found = {}
        configs = sorted(repository.glob(f"*/{CONFIG}"))
        try:
            for config in configs:
                text = with_limits(config.read_text(encoding="utf-8"), settings)
                parameters = {json.loads(line["key"]): json.loads(line["value"]) for line in _LINE.finditer(text)}
                if questions.PARAMETER in parameters:
                    limits = Limits.parsed(parameters[PARAMETER]) if PARAMETER in parameters else None
                    found[config.parent.name] = Public(config.parent.name, parameters, limits, _EVENTS in text, _PRICES in text)
        except (OSError, ValueError) as error:
            raise RunError(
                f"{config} cannot be read ({error}).", "Write the repository again with `cartwheel export`."
            ) from error
        if not found:
            raise RunError(
                f"{repository} holds no ensemble that can be asked{told_writer(repository)}.",
                "Write it again with `cartwheel export`, or, of a run that another version made, with `cartwheel run`.",
            )
        return cls(version_of(repository), found)
