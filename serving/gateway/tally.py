"""What is counted of each version while two are served: answers, errors, latency, and what of the answers was clicked."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from tritonclient.grpc import service_pb2

from serving.gateway.texts import texts_of, users_of

_LATENCIES: Final = 4096
_SHOPPERS: Final = 20_000
_ANSWERS: Final = 8
"""Of a shopper, how many answers are remembered that a click may belong to."""
_ITEMS: Final = "items"


@dataclass
class Tally:
    """The counts of one version.

    Attributes:
        answered: requests that its models answered.
        failed: requests that they did not answer, though nothing was wrong with the request.
        shown: rows of items that a known shopper was answered with.
        clicked: those of them of which an item was clicked.
        milliseconds: how long the latest answers took.
    """

    answered: int = 0
    failed: int = 0
    shown: int = 0
    clicked: int = 0
    milliseconds: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))

    def took(self, seconds: float) -> None:
        """Count an answer."""
        self.answered += 1
        self.milliseconds.append(seconds * 1e3)

    def told(self) -> dict[str, float]:
        """Return the counts, with the median and the 95th percentile of the latency, as JSON values."""
        median, high = np.percentile(self.milliseconds, (50, 95)) if self.milliseconds else (0.0, 0.0)
        counts = {name: getattr(self, name) for name in ("answered", "failed", "shown", "clicked")}
        return {**counts, "p50": round(float(median), 3), "p95": round(float(high), 3)}


@dataclass
class _Shown:
    items: frozenset[bytes]
    count: Callable[[], None] | None


class Clicks:
    """Knows which version a clicked item was answered by: the latest answer to that shopper that held it; each answer counts once."""

    def __init__(self) -> None:
        self._shown: OrderedDict[str, deque[_Shown]] = OrderedDict()

    def answered(self, request: bytes, answer: bytes, tally: Tally) -> None:
        """Remember what shoppers were answered with.

        Args:
            request: serialised ``ModelInferRequest``.
            answer: serialised ``ModelInferResponse`` to it; one without a list of items is none that can be clicked.
            tally: of the version that answered.
        """
        users = users_of(service_pb2.ModelInferRequest.FromString(request))
        for user, items in zip(users, _rows(service_pb2.ModelInferResponse.FromString(answer)), strict=False):
            if user and items:
                tally.shown += 1
                self._remember(user, _Shown(items, lambda: _click(tally)))

    def clicked(self, events: Iterable[Any]) -> None:
        """Count events on items that their shopper was answered with.

        Args:
            events: sound events as callers give them.
        """
        for event in events:
            item = str(event.get("item_id", "")).encode()
            for shown in reversed(self._shown.get(str(event.get("user_id", "")), ())):
                if item in shown.items:
                    if shown.count is not None:
                        shown.count()
                        shown.count = None
                    break

    def _remember(self, user: str, shown: _Shown) -> None:
        self._shown.setdefault(user, deque(maxlen=_ANSWERS)).append(shown)
        self._shown.move_to_end(user)
        if len(self._shown) > _SHOPPERS:
            self._shown.popitem(last=False)


def _click(tally: Tally) -> None:
    tally.clicked += 1


def _rows(answer: Any) -> Sequence[frozenset[bytes]]:
    """Return the items of each row of an answer; none where it holds no list of items."""
    for place, output in enumerate(answer.outputs):
        if output.name == _ITEMS and len(output.shape) == 2 and place < len(answer.raw_output_contents):
            texts, width = texts_of(answer.raw_output_contents[place]), output.shape[1]
            return [frozenset(texts[row * width : (row + 1) * width]) - {b""} for row in range(output.shape[0])]
    return []
