"""Shows a share of recommendations in a random order, and writes down what was shown and with which probability.

Only questions about one shopper are explored and logged: those of many at once are a shop's own computing. More items are asked of the
model than the caller wants, so that the random order has items to draw from; what rules left out is not among them, and what they pinned
or promoted keeps its place.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from tritonclient.grpc import service_pb2

from serving.contract.tensors import DEFAULT_K
from serving.experiments.exploration import Exploration, Shown
from serving.experiments.exposures import ExposureLog
from serving.gateway.ladder import ENSEMBLE
from serving.gateway.routes import Route
from serving.gateway.tensor_values import add_tensor, read_ints, wire
from serving.gateway.texts import texts_of, users_of
from serving.gateway.visit import RANKED, Visit

_FIXED: Final = (3, 4)
"""Reasons of items that rules put at their place: pinned and promoted."""
_SIZES: Final = {"FP32": 4, "INT32": 4, "INT64": 8}


@dataclass(frozen=True)
class Asked:
    """A question that may be explored.

    Attributes:
        request: serialised, for as many items as the random order is drawn from.
        k: how many its caller wants.
        user: whom it is about.
    """

    request: bytes
    k: int
    user: str


class Explorer:
    """Explores and logs.

    Args:
        exploration: how much.
        log: where to.
    """

    def __init__(self, exploration: Exploration, log: ExposureLog) -> None:
        self._exploration, self.log = exploration, log

    def widened(self, visit: Visit, route: Route, request: bytes) -> Asked | None:
        """Return a question as it is asked; None where it is not explored, or not one that will be answered."""
        if visit.ensemble != ENSEMBLE:
            return None
        asked = service_pb2.ModelInferRequest.FromString(request)
        users, given = users_of(asked), read_ints(asked, "k")
        most = int(route.served.ensembles[ENSEMBLE].parameters.get("max_k", DEFAULT_K))
        k = DEFAULT_K if given is None else given[0] if len(given) == 1 else 0
        if len(users) != 1 or not 1 <= k <= most or (asked.outputs and "items" not in {output.name for output in asked.outputs}):
            return None
        wider = min(most, max(k, self._exploration.pool)) if self._exploration.share else k
        return Asked(_with_k(asked, wider) if wider != k else request, k, users[0])

    def shown(self, visit: Visit, version: str, asked: Asked, request: bytes, cart: Sequence[str], answer: bytes) -> bytes:
        """Return the answer that the caller gets, and log it.

        Args:
            visit: whose rung is known.
            version: that answered.
            asked: the question.
            request: serialised, with the shopper's events, as rules have not changed it yet.
            cart: what is in the shopper's cart.
            answer: serialised, of the model.
        """
        made = service_pb2.ModelInferResponse.FromString(answer)
        items = _column(made, "items")
        real = [item for item in items if item]
        reasons = _column(made, "reason")
        fixed = [int(reason) in _FIXED for reason in reasons[: len(real)]] if reasons else [False] * len(real)
        exploration = self._exploration if visit.rung == RANKED else Exploration(0.0)
        shown = exploration.shown(visit.request_id, fixed, asked.k)
        at_us = time.time_ns() // 1000
        self.log.write(at_us, self._line(visit, version, asked, request, cart, real, shown))
        places = [*shown.places, *range(len(real), len(items))][: asked.k]
        if places == list(range(len(items))):
            return answer
        return _picked(made, places)

    def _line(
        self, visit: Visit, version: str, asked: Asked, request: bytes, cart: Sequence[str], items: list[bytes], shown: Shown
    ) -> dict[str, Any]:
        texts = [item.decode("utf-8", "replace") for item in items]
        return {
            "request_id": visit.request_id,
            "version": version,
            "shopper": visit.shopper(asked.user),
            "user_id": asked.user,
            "rung": visit.rung,
            "explored": shown.explored,
            "pool": len(items),
            "items": [texts[place] for place in shown.places],
            "propensity": [round(propensity, 9) for propensity in shown.propensities],
            "model": texts[: asked.k],
            "request": base64.b64encode(request).decode("ascii"),
            "rules": "" if visit.rules is None else visit.rules.model_dump_json(exclude_defaults=True),
            "cart": list(cart),
        }


def _with_k(asked: Any, k: int) -> bytes:
    for tensor_place, tensor in enumerate(asked.inputs):
        if tensor.name == "k":
            if asked.raw_input_contents:
                asked.raw_input_contents[tensor_place] = np.array([k], "<i4").tobytes()
            else:
                del tensor.contents.int_contents[:]
                tensor.contents.int_contents.append(k)
            break
    else:
        add_tensor(asked, "k", "INT32", np.array([k]), raw=bool(asked.raw_input_contents))
    content: bytes = asked.SerializeToString()
    return content


def _column(made: Any, name: str) -> list[Any]:
    """Return the values of an output of one row; none where it is not given."""
    for place, output in enumerate(made.outputs):
        if output.name == name:
            raw = made.raw_output_contents[place]
            return texts_of(raw) if output.datatype == "BYTES" else np.frombuffer(raw, f"<i{_SIZES[output.datatype]}").tolist()
    return []


def _picked(made: Any, places: list[int]) -> bytes:
    """Return the answer with these items of its row alone, in this order."""
    for number, output in enumerate(made.outputs):
        raw = made.raw_output_contents[number]
        if output.datatype == "BYTES":
            values = texts_of(raw)
            made.raw_output_contents[number] = wire([values[place] for place in places])
        else:
            size = _SIZES[output.datatype]
            made.raw_output_contents[number] = b"".join(raw[place * size : (place + 1) * size] for place in places)
        output.shape[1] = len(places)
    content: bytes = made.SerializeToString()
    return content
