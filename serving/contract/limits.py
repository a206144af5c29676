"""Limits on request size, set by the operator and checked by the client and by the first step.

The limits stand as JSON in the parameter ``limits`` of every model's configuration. ``cartwheel export`` writes the defaults there, and
``cartwheel serve`` writes what its settings allow into the copies of the configurations that it gives to Triton.

Triton itself (2.51) takes a message of any size up to 2 GB before it lets a model look at it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from serving.contract.tensors import EVENTS
from serving.settings import ServeSettings

PARAMETER: Final = "limits"
LISTS: Final = ("cart_items", "recent_items", "exclude", "events")
"""The lists of a request, whose widths are limited by ``serve.max_<name>``; ``events`` are several tensors."""
STORED: Final = 200
"""The most recent items that a snapshot stores (``prepare.recent_items``); what it leaves out beside them has no such bound."""
_LINE: Final = re.compile(rf'^parameters \{{ key: "{PARAMETER}" value: \{{ string_value: (?P<value>".*") \}} \}}$', re.MULTILINE)


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Attributes:
        rows: shoppers that one request may ask about, at most ``batch``.
        batch: rows that the steps answer together.
        message_bytes: size of the inputs of one request.
        widths: list -> its most values a row.
        stored: the most items that the snapshot leaves out for a shopper, which a request adds to.
        lists: lists of a model that was not trained here; ``serve.max_list`` bounds each.
    """

    rows: int
    batch: int
    message_bytes: int
    widths: Mapping[str, int]
    stored: int = STORED
    lists: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: ServeSettings, batch: int, stored: int = STORED, lists: tuple[str, ...] = ()) -> Limits:
        """Return the limits that the settings set, for steps that answer ``batch`` rows together; the rest as the attributes."""
        widths = {name: getattr(settings, f"max_{name}") for name in LISTS} | dict.fromkeys(lists, settings.max_list)
        return cls(min(settings.max_rows, batch), batch, settings.max_message_bytes, widths, stored, lists)

    def setting(self, name: str) -> str:
        """Return the setting that bounds the width of a list."""
        return "serve.max_list" if name in self.lists else f"serve.max_{name}"

    @classmethod
    def parsed(cls, text: str) -> Limits:
        """Read the limits from the parameter of a configuration.

        Raises:
            ValueError: if it is not what :meth:`parameter` wrote.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            lists = tuple(map(str, content.get("lists", ())))
            widths = {
                name: int(content["widths"][name][0]) for name in (*LISTS, *lists) if name in content["widths"]
            }  # old ones know no events
            return cls(int(content["rows"]), int(content["batch"]), int(content["bytes"]), widths, int(content["stored"]), lists)
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"{PARAMETER} holds {text[:100]!r}") from error

    def parameter(self) -> str:
        """Return the value of the parameter: ``rows``, ``batch``, ``bytes``, ``stored``, ``widths`` (tensor -> most values, setting).

        Widths name the tensors of later steps too, for Triton lets a client ask those by themselves.
        """
        widths: dict[str, tuple[int, str]] = {name: (width, self.setting(name)) for name, width in self.widths.items()}
        widths |= dict.fromkeys(("cart_index", "cart_counts"), widths["cart_items"])
        widths |= dict.fromkeys((tensor.name for tensor in EVENTS), widths["events"])
        widths["excluded"] = (self.stored + sum(self.widths[name] for name in LISTS if name in self.widths), "serve.max_exclude")
        sizes = {"rows": self.rows, "batch": self.batch, "bytes": self.message_bytes, "stored": self.stored}
        content = {**sizes, "widths": widths, **({"lists": self.lists} if self.lists else {})}
        return json.dumps(content, sort_keys=True)


def with_limits(config: str, settings: ServeSettings) -> str:
    """Return the text of a ``config.pbtxt`` with the limits that the settings set; one that has none stays as it is.

    Raises:
        ValueError: if it has limits that cannot be read.
    """

    def replaced(found: re.Match[str]) -> str:
        written = Limits.parsed(json.loads(found["value"]))
        value = json.dumps(Limits.of(settings, written.batch, written.stored, written.lists).parameter())
        return f'parameters {{ key: "{PARAMETER}" value: {{ string_value: {value} }} }}'

    return _LINE.sub(replaced, config)
