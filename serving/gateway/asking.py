"""Questions in the shop's own terms, as the typed service and JSON ask them: put into tensors, passed on, and read again.

They are checked and read as Cartwheel's clients do it, so that all three say the same of a wrong value.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from grpc import aio
from tritonclient.grpc import InferResult, service_pb2

from cartwheel.core.errors import UsageError
from serving.client.answers import CartPrediction, Metadata, Recommendations, ScoredItem, ShopId, parse_metadata
from serving.client.connection import read_outputs, without_prefix
from serving.client.predictions import Prediction, ServedTask, Value, ask_predict, parse_task
from serving.client.requests import Question, RecommendRequest, When, ask_cart, ask_recommend, ask_similar_items
from serving.contract.tensors import DEFAULT_K
from serving.gateway.explain import Asked, Explanation, explain
from serving.gateway.gate import Gate
from serving.gateway.refusal import Code, RefusedError, invalid
from serving.gateway.served import Served
from serving.gateway.visit import Visit

Answer = TypeVar("Answer")
_HERE: Final = "this server"


@dataclass(frozen=True)
class Wanted:
    """What every question may say.

    Attributes:
        seconds: how long the caller waits; None without a bound.
        k: how many items.
        timestamp: when it is asked.
    """

    seconds: float | None = None
    k: int = DEFAULT_K
    timestamp: When = None


@dataclass(frozen=True)
class _Known:
    """What is known of a version: how its ids are written, and its declared tasks."""

    metadata: Metadata
    tasks: Mapping[str, ServedTask]


class Asking:
    """Asks typed questions.

    Args:
        gate: what every request passes.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._known: dict[str, _Known] = {}

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the declared tasks."""
        return tuple(self._of(self._gate.served).tasks)

    @property
    def shop(self) -> tuple[str, ...]:
        """Names of the other ensembles."""
        return tuple(name for name, one in self._gate.served.ensembles.items() if not one.is_task)

    async def recommend(self, visit: Visit, who: RecommendRequest, diversity: float | None, wanted: Wanted) -> Recommendations:
        """Ask for the items that suit a shopper best; see :meth:`serving.client.client.Client.recommend`.

        Raises:
            UsageError: if a value cannot be honoured, naming it.
            RefusedError: if it is not answered.
        """
        known = self._chosen(visit, who.user_id)
        [answer] = await self._ask(visit, "recommend", wanted, lambda: ask_recommend([who], wanted.k, diversity, known.metadata))
        if len(answer) == wanted.k:
            return answer
        why = f"{len(answer)} of {wanted.k} items are answered: the others are excluded, or left out for this shopper."
        return replace(answer, fewer=visit.fewer or why)

    async def explain(self, visit: Visit, who: RecommendRequest, item: ShopId, wanted: Wanted) -> Explanation:
        """Ask why an item is or is not answered; see :meth:`recommend` for the errors."""
        if str(item) == "":
            raise invalid("item_id is empty; give the item that is to be explained.")
        begun, visit.explores = time.monotonic(), False
        answer = await self.recommend(visit, who, None, wanted)
        known, route = self._chosen(visit, who.user_id), visit.route
        assert route is not None
        question = ask_recommend([who], wanted.k, None, known.metadata)
        left = None if wanted.seconds is None else wanted.seconds - (time.monotonic() - begun)
        plain, cart, ask = await self._gate.plain(visit, _serialised(question), left)
        rules = plain.book.effective(visit.rules)
        asked = Asked(str(item), wanted.k, [str(each) for each in who.exclude], cart, rules, answer)
        try:
            return await explain(asked, plain.book.assortment, plain, ask)
        except aio.AioRpcError as error:
            raise RefusedError(error.code(), without_prefix(error.details() or ""), "triton") from error

    async def cart(
        self, visit: Visit, lines: Sequence[ShopId], user: ShopId | None, recents: Sequence[ShopId], wanted: Wanted
    ) -> CartPrediction:
        """Ask what of a cart will be bought; see :meth:`serving.client.client.Client.cart` and :meth:`recommend`."""
        known = self._chosen(visit, user)
        return await self._ask(
            visit, "cart", wanted, lambda: ask_cart(lines, user, recents, wanted.k, wanted.timestamp, known.metadata)
        )

    async def similar_items(
        self, visit: Visit, item: ShopId, wanted: Wanted, user: ShopId | None = None
    ) -> tuple[ScoredItem, ...]:
        """Ask for the nearest items of an item, for ``user`` without what is left out for them; see :meth:`recommend` for the errors."""
        known = self._chosen(visit, user)
        return await self._ask(visit, "similar_items", wanted, lambda: ask_similar_items(item, wanted.k, known.metadata, user))

    async def predict(
        self, visit: Visit, task: str, entity: ShopId | None, columns: Mapping[str, Value], wanted: Wanted
    ) -> Prediction:
        """Ask a declared task; see :meth:`recommend` for the errors."""
        tasks = self._chosen(visit, entity).tasks
        if task not in tasks:
            there = f"there are {', '.join(tasks)}" if tasks else "there is none"
            raise RefusedError(Code.NOT_FOUND, f"There is no declared task {task!r}; {there}.", "unknown_model")
        entities = None if entity is None else [entity]
        rows = {name: [value] for name, value in columns.items()}
        return (await self._ask(visit, task, wanted, lambda: ask_predict(tasks[task], entities, rows)))[0]

    def metadata(self, visit: Visit, who: ShopId | None) -> Metadata:
        """Choose the version for a question about ``who``, and return what it says about its run."""
        return self._chosen(visit, who).metadata

    def _chosen(self, visit: Visit, who: ShopId | None) -> _Known:
        """Choose the version for a question about ``who``, and return what is known of it."""
        return self._of(self._gate.choose(visit, lambda: "" if who is None else str(who)))

    def _of(self, served: Served) -> _Known:
        if served.version not in self._known:
            ensembles = served.ensembles
            shop = next((one for one in ensembles.values() if not one.is_task), None)
            metadata = parse_metadata(shop.parameters, _HERE) if shop else Metadata()
            tasks = {name: parse_task(one.parameters, name, _HERE) for name, one in ensembles.items() if one.is_task}
            latest = list(self._known.items())[-1:]
            self._known = dict([*latest, (served.version, _Known(metadata, tasks))])
        return self._known[served.version]

    async def _ask(self, visit: Visit, ensemble: str, wanted: Wanted, ask: Callable[[], Question[Answer]]) -> Answer:
        assert visit.route is not None
        if ensemble not in visit.route.served.ensembles:
            raise RefusedError(Code.NOT_FOUND, f"This server does not answer {ensemble!r}.", "unknown_model")
        visit.ensemble = ensemble
        try:
            question = ask()
        except UsageError as error:
            raise RefusedError(Code.INVALID_ARGUMENT, str(error), "invalid") from error
        try:
            answer = await self._gate.ask(visit, _serialised(question), wanted.seconds)
        except aio.AioRpcError as error:
            raise RefusedError(error.code(), without_prefix(error.details() or ""), "triton") from error
        return question.parse(read_outputs(InferResult(service_pb2.ModelInferResponse.FromString(answer))))


def _serialised(question: Question[Any]) -> bytes:
    request = service_pb2.ModelInferRequest(model_name=question.ensemble)
    for tensor in question.inputs:
        request.inputs.append(tensor._get_tensor())
        request.raw_input_contents.append(tensor._get_content())
    content: bytes = request.SerializeToString()
    return content
