"""The asyncio client of a Cartwheel server: :class:`serving.client.client.Client` with ``await``.

Example:
    >>> async with AsyncClient("127.0.0.1:8001") as shop:  # doctest: +SKIP
    ...     answer = await shop.recommend("anna", k=5)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import TypeVar

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from cartwheel.core.errors import ServerError
from serving.client.answers import CartPrediction, Health, Metadata, Recommendations, ScoredItem, ShopId, parse_metadata
from serving.client.client import METADATA_ENSEMBLE
from serving.client.connection import (
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT_SECONDS,
    Attempts,
    Tls,
    channel_arguments,
    read_outputs,
)
from serving.client.inferring import Given, Inferred, ServedModelForm, ask_infer, parse_model
from serving.client.predictions import Prediction, ServedTask, Value, ask_predict, parse_task
from serving.client.requests import Happened, Question, RecommendRequest, When, ask_cart, ask_recommend, ask_similar_items
from serving.contract.model_form import ModelForm
from serving.contract.tasks import TaskForm
from serving.contract.tensors import DEFAULT_K
from serving.rules.rules import Rules

Result = TypeVar("Result")


class AsyncClient:
    """Asks one server from one event loop; any number of tasks may ask at once. Cancelling a task cancels its request.

    Args:
        address: ``host:port`` of the server's gRPC.
        tls: how to speak TLS; None means plain text.
        timeout_seconds: the time that each call may take, retries included.
        retries: how often a lost or refused connection is tried again.

    Raises:
        UsageError: if an argument cannot be honoured.
    """

    def __init__(
        self,
        address: str,
        *,
        tls: Tls | None = None,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        retries: int = DEFAULT_RETRIES,
    ) -> None:
        self._address = address
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._metadata: Metadata | None = None
        self._tasks: dict[str, ServedTask] = {}
        self._models: dict[str, ServedModelForm] = {}
        self._attempts()
        self._arguments = channel_arguments(address, tls)
        self._connection: InferenceServerClient | None = None

    async def recommend(
        self,
        user_id: ShopId | None = None,
        *,
        recent_items: Sequence[ShopId] = (),
        exclude: Sequence[ShopId] = (),
        k: int = DEFAULT_K,
        timestamp: When = None,
        diversity: float | None = None,
        events: Sequence[Happened] = (),
        rules: Rules | None = None,
    ) -> Recommendations:
        """Ask for the items that suit a visitor best; see :meth:`serving.client.client.Client.recommend`."""
        request = RecommendRequest(user_id, recent_items, exclude, timestamp, events)
        return (await self.recommend_many([request], k=k, diversity=diversity, rules=rules))[0]

    async def recommend_many(
        self,
        requests: Sequence[RecommendRequest],
        *,
        k: int = DEFAULT_K,
        diversity: float | None = None,
        rules: Rules | None = None,
    ) -> tuple[Recommendations, ...]:
        """Ask for the best items of several visitors in one request; see :meth:`serving.client.client.Client.recommend`."""
        return await self._ask(lambda metadata: ask_recommend(requests, k, diversity, metadata, rules))

    async def cart(
        self,
        cart_items: Sequence[ShopId],
        *,
        user_id: ShopId | None = None,
        recent_items: Sequence[ShopId] = (),
        k: int = DEFAULT_K,
        timestamp: When = None,
        events: Sequence[Happened] = (),
    ) -> CartPrediction:
        """Ask how likely each line of a cart is bought, and what completes it; see :meth:`serving.client.client.Client.cart`."""
        return await self._ask(lambda metadata: ask_cart(cart_items, user_id, recent_items, k, timestamp, metadata, events))

    async def similar_items(
        self, item_id: ShopId, *, k: int = DEFAULT_K, user_id: ShopId | None = None
    ) -> tuple[ScoredItem, ...]:
        """Ask for the nearest items of an item; see :meth:`serving.client.client.Client.similar_items`."""
        return await self._ask(lambda metadata: ask_similar_items(item_id, k, metadata, user_id))

    async def predict(
        self, task: str, /, entity: ShopId | None = None, columns: Mapping[str, Value] | None = None, **more: Value
    ) -> Prediction:
        """Ask a declared task about one entity, or about columns.

        Args:
            task: its name.
            entity: user or item id; an unknown one is a normal request, answered from what is given and from missing values.
            columns: raw columns that replace what is stored; None stands for a value that is not known.
            **more: likewise, by keyword.

        Returns:
            Probability or quantity, the decision at the task's costs, and the strongest reasons.

        Raises:
            UsageError: if a value cannot be honoured, naming it.
            ServerError: if the server cannot be reached, is late, or breaks.
        """
        given = {name: [value] for name, value in {**(columns or {}), **more}.items()}
        return (await self.predict_many(task, None if entity is None else [entity], given))[0]

    async def predict_many(
        self,
        task: str,
        /,
        entities: Sequence[ShopId] | None = None,
        columns: Mapping[str, Sequence[Value]] | None = None,
        **more: Sequence[Value],
    ) -> tuple[Prediction, ...]:
        """Ask a declared task about several entities in one request, each column with a value for each; see :meth:`predict`."""
        given = {**(columns or {}), **more}
        attempts = self._attempts()

        async def once(seconds: float) -> tuple[Prediction, ...]:
            question = ask_predict(self._tasks.get(task) or await self._read_task(task, seconds), entities, given)
            left = attempts.seconds_left()
            return question.parse(read_outputs(await self._server.infer(question.ensemble, question.inputs, client_timeout=left)))

        return await self._try(attempts, once)

    async def infer(
        self, model: str, /, columns: Mapping[str, Sequence[Given]] | None = None, **more: Sequence[Given]
    ) -> Inferred:
        """Ask a model of `cartwheel serve-model` about rows; see :meth:`serving.client.client.Client.infer`."""
        given = {**(columns or {}), **more}
        attempts = self._attempts()

        async def once(seconds: float) -> Inferred:
            question = ask_infer(self._models.get(model) or await self._read_model(model, seconds), given)
            left = attempts.seconds_left()
            return question.parse(read_outputs(await self._server.infer(question.ensemble, question.inputs, client_timeout=left)))

        return await self._try(attempts, once)

    async def model(self, model: str, /) -> ModelForm:
        """Ask which raw columns a model is asked with, and what it answers; see :meth:`serving.client.client.Client.model`."""
        return (await self._try(self._attempts(), lambda seconds: self._read_model(model, seconds))).form

    async def task(self, task: str, /) -> TaskForm:
        """Ask what a declared task answers, and which columns a request may give.

        Raises:
            UsageError: if the server has no declared task of that name.
            ServerError: if the server cannot be reached, is late, or breaks.
        """
        return (await self._try(self._attempts(), lambda seconds: self._read_task(task, seconds))).form

    async def health(self) -> Health:
        """Ask whether the server answers and its models are ready; a server that does not answer is no error here."""
        attempts = self._attempts()
        try:
            live = await self._try(attempts, lambda seconds: self._server.is_server_live(client_timeout=seconds))
            ready = await self._try(attempts, lambda seconds: self._server.is_server_ready(client_timeout=seconds))
        except ServerError as error:
            return Health(live=False, ready=False, detail=str(error))
        return Health(live=live, ready=ready)

    async def metadata(self) -> Metadata:
        """Ask what the server says about its run; see :meth:`serving.client.client.Client.metadata`."""
        return await self._try(self._attempts(), self._read_metadata)

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    @property
    def _server(self) -> InferenceServerClient:
        """The connection, made on first use because it belongs to the running event loop."""
        if self._connection is None:
            self._connection = InferenceServerClient(**self._arguments)
        return self._connection

    def _attempts(self) -> Attempts:
        return Attempts(self._address, self._timeout_seconds, self._retries)

    async def _ask(self, ask: Callable[[Metadata], Question[Result]]) -> Result:
        attempts = self._attempts()

        async def once(seconds: float) -> Result:
            # With each try anew: after a lost connection another run's server may answer.
            metadata = self._metadata or await self._read_metadata(seconds)
            question = ask(metadata)
            left = attempts.seconds_left()
            return question.parse(read_outputs(await self._server.infer(question.ensemble, question.inputs, client_timeout=left)))

        return await self._try(attempts, once)

    async def _read_metadata(self, seconds: float) -> Metadata:
        answer = await self._server.get_model_config(METADATA_ENSEMBLE, client_timeout=seconds)
        parameters = {name: value.string_value for name, value in answer.config.parameters.items()}
        self._metadata = metadata = parse_metadata(parameters, self._address)
        return metadata

    async def _read_task(self, task: str, seconds: float) -> ServedTask:
        answer = await self._server.get_model_config(task, client_timeout=seconds)
        parameters = {name: value.string_value for name, value in answer.config.parameters.items()}
        self._tasks[task] = served = parse_task(parameters, task, self._address)
        return served

    async def _read_model(self, model: str, seconds: float) -> ServedModelForm:
        answer = await self._server.get_model_config(model, client_timeout=seconds)
        parameters = {name: value.string_value for name, value in answer.config.parameters.items()}
        self._models[model] = served = parse_model(parameters, model, self._address)
        return served

    async def _try(self, attempts: Attempts, call: Callable[[float], Awaitable[Result]]) -> Result:
        while True:
            try:
                return await call(attempts.seconds_left())
            except InferenceServerException as error:
                self._metadata = None
                self._tasks.clear()
                self._models.clear()
                pause = attempts.pause_after(error)
            await asyncio.sleep(pause)
