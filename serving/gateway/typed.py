"""``cartwheel.v1.Shop`` over gRPC: the messages of ``serving/contract/shop.proto``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import grpc
from grpc import aio
from pydantic import ValidationError

from serving.client.predictions import Prediction, Value
from serving.client.requests import RecommendRequest, When
from serving.contract.shop import MESSAGES, SERVICE
from serving.contract.tensors import DEFAULT_K
from serving.gateway.asking import Asking, Wanted
from serving.gateway.gate import TRACK, Gate
from serving.gateway.item_states import SET_ITEMS, set_items
from serving.gateway.keys import Role
from serving.gateway.placements import Placements, Who, Wish
from serving.gateway.refusal import Code, RefusedError, invalid, wrong_rules
from serving.gateway.rpc import abort, parsed
from serving.gateway.set_links import LINK, set_links
from serving.gateway.visit import Visit
from serving.rules.rules import Rules

DOOR: Final = "typed"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LATEST: Final = 253_402_300_799_000_000
"""Unix microseconds at the end of the year 9999, the last that a datetime holds."""


class Typed(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers the service.

    Args:
        gate: what every request passes.
        asking: asks the questions.
    """

    def __init__(self, gate: Gate, asking: Asking) -> None:
        self._gate, self._asking = gate, asking
        self._placements = Placements(gate, asking)
        methods = {
            "Recommend": self._recommend,
            "Cart": self._cart,
            "SimilarItems": self._similar_items,
            "Predict": self._predict,
            "Track": self._track,
            "SetItems": self._set_items,
            "Link": self._link,
            "Explain": self._explain,
            "Page": self._page,
        }
        self._handlers = {
            f"/{SERVICE}/{name}": grpc.unary_unary_rpc_method_handler(
                self._answering(MESSAGES[f"{name}Request"], answer, _role(name))
            )
            for name, answer in methods.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Return what answers a method; None for those of other services."""
        return self._handlers.get(handler_call_details.method)

    def _answering(
        self, kind: Any, answer: Callable[[Visit, Any, float | None], Awaitable[Any]], role: Role
    ) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def call(raw: bytes, context: Any) -> bytes:
            visit = Visit(DOOR)
            try:
                self._gate.enter(visit, context.invocation_metadata() or (), role=role)
                request = parsed(kind, raw)
                content: bytes = (await answer(visit, request, context.time_remaining())).SerializeToString()
                visit.code = Code.OK
            except (RefusedError, aio.AioRpcError) as error:
                await abort(context, visit, error)
            finally:
                self._gate.leave(visit)
            return content

        return call

    async def _recommend(self, visit: Visit, request: Any, seconds: float | None) -> Any:
        who = RecommendRequest(request.user_id or None, list(request.recent_items), list(request.exclude), _when(request))
        diversity = request.diversity if request.HasField("diversity") else None
        visit.ladder = not request.ranked_only
        visit.rules = _rules(request.rules) if request.HasField("rules") else None
        answer = await self._asking.recommend(visit, who, diversity, _wanted(request, seconds))
        told = MESSAGES["RecommendResponse"](**self._told(visit), rung=visit.rung, fewer=answer.fewer)
        for item in answer.items:
            because = "" if item.because_of is None else str(item.because_of)
            told.items.add(
                item_id=str(item.item_id),
                score=item.score,
                reason=item.reason.name.lower(),
                because_of=because,
                why=item.sentence,
                retrievers=item.retrievers,
            )
        return told

    async def _cart(self, visit: Visit, request: Any, seconds: float | None) -> Any:
        answer = await self._asking.cart(
            visit, list(request.cart_items), request.user_id or None, list(request.recent_items), _wanted(request, seconds)
        )
        told = MESSAGES["CartResponse"](
            **self._told(visit), **_given(probability=answer.probability), unavailable=answer.unavailable
        )
        for line in answer.lines:
            told.lines.add(item_id=str(line.item_id), **_given(probability=line.probability))
        for item in answer.completions:
            told.completions.add(item_id=str(item.item_id), score=item.score)
        return told

    async def _similar_items(self, visit: Visit, request: Any, seconds: float | None) -> Any:
        told = MESSAGES["SimilarItemsResponse"]()
        user = request.user_id or None
        for item in await self._asking.similar_items(visit, request.item_id, _wanted(request, seconds), user):
            told.items.add(item_id=str(item.item_id), score=item.score)
        told.version, told.request_id = self._gate.version(visit), visit.request_id
        return told

    async def _predict(self, visit: Visit, request: Any, seconds: float | None) -> Any:
        columns = {name: _value(value) for name, value in request.columns.items()}
        entity = request.entity if request.HasField("entity") else None
        answer = await self._asking.predict(visit, request.task, entity, columns, Wanted(seconds))
        return _predicted(answer, self._told(visit))

    async def _track(self, visit: Visit, request: Any, _seconds: float | None) -> Any:
        visit.ensemble = TRACK
        outcome = await self._gate.track(visit, [_event(event) for event in request.events])
        message = MESSAGES["TrackResponse"](**self._told(visit), accepted=outcome.accepted, duplicates=outcome.duplicates)
        for place, why in outcome.refused.items():
            message.refused.add(index=place, reason=why.reason, detail=why.detail)
        return message

    async def _page(self, visit: Visit, request: Any, seconds: float | None) -> Any:
        rules = _rules(request.rules) if request.HasField("rules") else None
        lists = (list(request.recent_items), list(request.cart_items), list(request.exclude))
        who = Who(request.user_id or None, *lists, _when(request), rules)
        wishes = [Wish(each.placement, each.item_id, each.k if each.HasField("k") else DEFAULT_K) for each in request.sections]
        told = MESSAGES["PageResponse"](**self._told(visit))
        for section in await self._placements.page(visit, who, wishes, seconds):
            part = told.sections.add(placement=section.placement, fewer=section.fewer)
            for item in section.items:
                because = "" if item.because_of is None else str(item.because_of)
                part.items.add(item_id=str(item.item_id), score=item.score, reason=item.reason, because_of=because, why=item.why)
        told.rung, told.version = visit.rung, self._gate.version(visit)
        return told

    async def _explain(self, visit: Visit, request: Any, seconds: float | None) -> Any:
        who = RecommendRequest(request.user_id or None, list(request.recent_items), list(request.exclude), _when(request))
        visit.rules = _rules(request.rules) if request.HasField("rules") else None
        found = await self._asking.explain(visit, who, request.item_id, _wanted(request, seconds))
        return MESSAGES["ExplainResponse"](
            **self._told(visit),
            **_given(rank=found.rank, score=found.score, needed_score=found.needed),
            outcome=found.outcome,
            why=found.why,
            change=found.change,
            violated=found.violated,
        )

    async def _set_items(self, visit: Visit, request: Any, _seconds: float | None) -> Any:
        visit.ensemble = SET_ITEMS
        states = [{field.name: value for field, value in item.ListFields()} for item in request.items]
        unknown = await set_items(self._gate, states)
        return MESSAGES["SetItemsResponse"](**self._told(visit), accepted=len(states), unknown=unknown)

    async def _link(self, visit: Visit, request: Any, _seconds: float | None) -> Any:
        visit.ensemble = LINK
        links = [{field.name: value for field, value in link.ListFields()} for link in request.links]
        return MESSAGES["LinkResponse"](**self._told(visit), accepted=await set_links(self._gate, links))

    def _told(self, visit: Visit) -> dict[str, str]:
        return {"version": self._gate.version(visit), "request_id": visit.request_id}


def _predicted(answer: Prediction, told: Mapping[str, str]) -> Any:
    message = MESSAGES["PredictResponse"](
        **told,
        **_given(
            probability=answer.probability,
            quantity=answer.quantity,
            decision=answer.decision,
            threshold=answer.threshold,
            known=answer.known,
            low=answer.low,
            high=answer.high,
            order=answer.order,
            effect=answer.effect,
        ),
        score=answer.score,
        base_rate=answer.base_rate,
        calibrated=answer.calibrated,
    )
    for reason in answer.reasons:
        message.reasons.add(column=reason.column, title=reason.title, contribution=reason.contribution)
    return message


def _event(event: Any) -> dict[str, Any]:
    """Return an event as the intake checks it: what is empty or absent is not known."""
    return {field.name: value for field, value in event.ListFields()}


def _role(method: str) -> Role:
    return {"Track": Role.TRACK, "Link": Role.TRACK, "SetItems": Role.OPERATE}.get(method, Role.ASK)


def _rules(message: Any) -> Rules:
    """Return rules of a message; what is empty or absent is not said."""
    content: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.name in ("pinned", "promoted"):
            content[field.name] = [{each.name: part for each, part in one.ListFields()} for one in value]
        else:
            content[field.name] = value if isinstance(value, (str, int, float)) else list(value)
    try:
        return Rules.model_validate(content)
    except ValidationError as error:
        raise invalid(wrong_rules(error)) from error


def _wanted(request: Any, seconds: float | None) -> Wanted:
    k = request.k if request.HasField("k") else DEFAULT_K
    return Wanted(seconds, k, _when(request) if "timestamp" in request.DESCRIPTOR.fields_by_name else None)


def _when(request: Any) -> When:
    if not request.HasField("timestamp"):
        return None
    microseconds: int = request.timestamp
    if microseconds == 0:
        return "snapshot"
    if not 0 < microseconds <= _LATEST:
        raise invalid(f"timestamp is {microseconds}; expected Unix microseconds, or 0 for the instant of the export.")
    return _EPOCH + timedelta(microseconds=microseconds)


def _value(value: Any) -> Value:
    kind = value.WhichOneof("kind")
    if kind is None:
        return None
    if kind in ("texts", "numbers"):
        return list(getattr(value, kind).values)
    found: Value = getattr(value, kind)
    return found


def _given(**fields: Any) -> dict[str, Any]:
    """Return the fields that are known; protobuf knows no other way to leave one out."""
    return {name: value for name, value in fields.items() if value is not None}
