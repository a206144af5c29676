"""One request from its first byte to its answer, whichever way it came in."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from serving.gateway.refusal import Code
from serving.rules.rules import Rules

if TYPE_CHECKING:
    from serving.gateway.routes import Route

RANKED: Final = "ranked"
"""The rung of an answer that the full ensemble gave."""
REQUEST_ID: Final = "x-request-id"
SESSION_ID: Final = "x-session-id"
_GIVEN_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


@dataclass
class Visit:
    """What is known of a request.

    Attributes:
        door: the way it came in: ``kserve``, ``typed`` or ``json``.
        ensemble: what it asks; empty before that is known.
        request_id: the caller's or a made one.
        caller: name of the key that it bears; empty without one.
        rung: what answered.
        rules: of the request, beside those of the shop; None where it gives none.
        k: how many items the caller wants where more are asked for, to explore; else 0.
        explores: whether its items are shown to a shopper as they are answered, so that they may be explored and are logged as shown.
        fewer: why fewer items are answered than were asked for, in a sentence; empty where not.
        ladder: whether an answer of a lower rung is wanted where there is none of the highest.
        as_recorded: whether it goes to Triton as it is, without stored events and rules, as one that was recorded.
        code: how it ended.
        reason: why it was refused, in a word; empty where it was not.
        begun: when, by ``time.perf_counter``.
        headers: its headers, or gRPC metadata.
        route: the version that answers it; None before that is known.
        stages: its parts, each with its begin and end by ``time.perf_counter``.
    """

    door: str
    ensemble: str = ""
    request_id: str = ""
    caller: str = ""
    rung: str = ""
    rules: Rules | None = None
    k: int = 0
    explores: bool = True
    fewer: str = ""
    ladder: bool = False
    as_recorded: bool = False
    code: Code = Code.CANCELLED
    reason: str = ""
    begun: float = field(default_factory=time.perf_counter)
    headers: Sequence[tuple[str, str | bytes]] = ()
    route: Route | None = None
    stages: list[tuple[str, float, float]] = field(default_factory=list)

    def shopper(self, user: str) -> str:
        """Return by what the version is chosen: the user, else the visit that the caller names, else the request itself."""
        return user or header(self.headers, SESSION_ID) or self.request_id

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note how long a part of it takes."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.stages.append((name, begun, time.perf_counter()))

    def name(self, *given: str) -> None:
        """Take the first of the given request ids that can be one, or make one, unless there is one already."""
        if not self.request_id:
            self.request_id = next((text for text in given if text and _GIVEN_ID.fullmatch(text)), "") or secrets.token_hex(8)


def header(headers: Iterable[tuple[str, str | bytes]], name: str) -> str:
    """Return the value of a header or of gRPC metadata by its name in small letters; empty where there is none."""
    for key, value in headers:
        if key == name:
            return value if isinstance(value, str) else value.decode("latin-1")
    return ""
