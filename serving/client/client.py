"""The synchronous client of a Cartwheel server.

Example:
    >>> with Client("127.0.0.1:8001") as shop:  # doctest: +SKIP
    ...     for item in shop.recommend("anna", recent_items=["lamp"], k=5):
    ...         print(item.item_id, item.score, item.sentence)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TypeVar

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from cartwheel.core.errors import ServerError
from serving.client.answers import CartPrediction, Health, Metadata, Recommendations, ScoredItem, ShopId, parse_metadata
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

METADATA_ENSEMBLE = "recommend"


class Client:
    """Asks one server; may be shared by any number of threads, whose requests then run side by side on one connection.

    Nothing is sent before the first question, so a client may be made before its server runs.

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
        self._server = InferenceServerClient(**channel_arguments(address, tls))

    def recommend(
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
        """Ask for the items that suit a visitor best.

        Args:
            user_id: the user; None or unknown is a stranger, which is a normal request.
            recent_items: items of the running visit since the exported state, the latest last; they add to the stored ones.
            exclude: items that must not be answered.
            k: how many items.
            timestamp: when it is asked; None means now.
            diversity: score taken off for each better item of the same category; None means the exported setting.
            events: what the visitor did since the exported state, in the order in which it happened; it adds to what is stored.
            rules: what may be answered and how it is arranged (docs/rules.md); they tighten the shop's, and need a gateway.

        Returns:
            At most ``k`` items, the best first.

        Raises:
            UsageError: if a value cannot be honoured, naming it.
            ServerError: if the server cannot be reached, is late, or breaks.
        """
        request = RecommendRequest(user_id, recent_items, exclude, timestamp, events)
        return self.recommend_many([request], k=k, diversity=diversity, rules=rules)[0]

    def recommend_many(
        self,
        requests: Sequence[RecommendRequest],
        *,
        k: int = DEFAULT_K,
        diversity: float | None = None,
        rules: Rules | None = None,
    ) -> tuple[Recommendations, ...]:
        """Ask for the best items of several visitors in one request; see :meth:`recommend`."""
        return self._ask(lambda metadata: ask_recommend(requests, k, diversity, metadata, rules))

    def cart(
        self,
        cart_items: Sequence[ShopId],
        *,
        user_id: ShopId | None = None,
        recent_items: Sequence[ShopId] = (),
        k: int = DEFAULT_K,
        timestamp: When = None,
        events: Sequence[Happened] = (),
    ) -> CartPrediction:
        """Ask how likely each line of a cart is bought, and what completes the cart.

        Args:
            cart_items: the lines; an empty cart is a normal request.
            user_id: whose cart it is, if known.
            recent_items: items of the running visit since the exported state, the latest last; they add to the stored ones.
            k: how many completions.
            timestamp: when it is asked; None means now.
            events: what the visitor did since the exported state, in the order in which it happened; it adds to what is stored.

        Raises:
            UsageError: if a value cannot be honoured, naming it.
            ServerError: if the server cannot be reached, is late, or breaks.
        """
        return self._ask(lambda metadata: ask_cart(cart_items, user_id, recent_items, k, timestamp, metadata, events))

    def similar_items(self, item_id: ShopId, *, k: int = DEFAULT_K, user_id: ShopId | None = None) -> tuple[ScoredItem, ...]:
        """Ask for the nearest items of an item, the nearest first.

        Args:
            item_id: the item.
            k: how many items.
            user_id: for whom what is left out of their recommendations, and their cart, is left out; a gateway reads it.

        Raises:
            UsageError: if a value cannot be honoured, naming it.
            ServerError: if the server cannot be reached, is late, or breaks.
        """
        return self._ask(lambda metadata: ask_similar_items(item_id, k, metadata, user_id))

    def predict(
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
        return self.predict_many(task, None if entity is None else [entity], given)[0]

    def predict_many(
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

        def once(seconds: float) -> tuple[Prediction, ...]:
            question = ask_predict(self._tasks.get(task) or self._read_task(task, seconds), entities, given)
            left = attempts.seconds_left()
            return question.parse(read_outputs(self._server.infer(question.ensemble, question.inputs, client_timeout=left)))

        return self._try(attempts, once)

    def infer(self, model: str, /, columns: Mapping[str, Sequence[Given]] | None = None, **more: Sequence[Given]) -> Inferred:
        """Ask a model of `cartwheel serve-model` about rows.

        Args:
            model: its name.
            columns: raw column -> a value for each row, of the types that the workflow was fitted on; None stands for what is missing,
                and of a column of lists each value is a list.
            **more: likewise, by keyword.

        Returns:
            Its answers by name, [rows, width].

        Raises:
            UsageError: if a column is missing or not known, or a value does not fit its column; names both.
            ServerError: if the server cannot be reached, is late, or breaks.
        """
        given = {**(columns or {}), **more}
        attempts = self._attempts()

        def once(seconds: float) -> Inferred:
            question = ask_infer(self._models.get(model) or self._read_model(model, seconds), given)
            left = attempts.seconds_left()
            return question.parse(read_outputs(self._server.infer(question.ensemble, question.inputs, client_timeout=left)))

        return self._try(attempts, once)

    def model(self, model: str, /) -> ModelForm:
        """Ask which raw columns a model of `cartwheel serve-model` is asked with, and what it answers.

        Raises:
            UsageError: if the server has no such model of that name.
            ServerError: if the server cannot be reached, is late, or breaks.
        """
        return self._try(self._attempts(), lambda seconds: self._read_model(model, seconds)).form

    def task(self, task: str, /) -> TaskForm:
        """Ask what a declared task answers, and which columns a request may give.

        Raises:
            UsageError: if the server has no declared task of that name.
            ServerError: if the server cannot be reached, is late, or breaks.
        """
        return self._try(self._attempts(), lambda seconds: self._read_task(task, seconds)).form

    def health(self) -> Health:
        """Ask whether the server answers and its models are ready; a server that does not answer is no error here."""
        attempts = self._attempts()
        try:
            live = self._try(attempts, lambda seconds: self._server.is_server_live(client_timeout=seconds))
            ready = self._try(attempts, lambda seconds: self._server.is_server_ready(client_timeout=seconds))
        except ServerError as error:
            return Health(live=False, ready=False, detail=str(error))
        return Health(live=live, ready=ready)

    def metadata(self) -> Metadata:
        """Ask what the server says about its run.

        The other methods ask this once, and again after a lost connection or an error.

        Raises:
            ServerError: if the server cannot be reached, is late, or breaks.
        """
        return self._try(self._attempts(), self._read_metadata)

    def close(self) -> None:
        """Close the connection."""
        self._server.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _attempts(self) -> Attempts:
        return Attempts(self._address, self._timeout_seconds, self._retries)

    def _ask(self, ask: Callable[[Metadata], Question[Result]]) -> Result:
        attempts = self._attempts()

        def once(seconds: float) -> Result:
            # With each try anew: after a lost connection another run's server may answer.
            metadata = self._metadata or self._read_metadata(seconds)
            question = ask(metadata)
            left = attempts.seconds_left()
            return question.parse(read_outputs(self._server.infer(question.ensemble, question.inputs, client_timeout=left)))

        return self._try(attempts, once)

    def _read_metadata(self, seconds: float) -> Metadata:
        answer = self._server.get_model_config(METADATA_ENSEMBLE, client_timeout=seconds)
        parameters = {name: value.string_value for name, value in answer.config.parameters.items()}
        self._metadata = metadata = parse_metadata(parameters, self._address)
        return metadata

    def _read_task(self, task: str, seconds: float) -> ServedTask:
        answer = self._server.get_model_config(task, client_timeout=seconds)
        parameters = {name: value.string_value for name, value in answer.config.parameters.items()}
        self._tasks[task] = served = parse_task(parameters, task, self._address)
        return served

    def _read_model(self, model: str, seconds: float) -> ServedModelForm:
        answer = self._server.get_model_config(model, client_timeout=seconds)
        parameters = {name: value.string_value for name, value in answer.config.parameters.items()}
        self._models[model] = served = parse_model(parameters, model, self._address)
        return served

    def _try(self, attempts: Attempts, call: Callable[[float], Result]) -> Result:
        while True:
            try:
                return call(attempts.seconds_left())
            except InferenceServerException as error:
                self._metadata = None
                self._tasks.clear()
                self._models.clear()
                pause = attempts.pause_after(error)
            time.sleep(pause)
