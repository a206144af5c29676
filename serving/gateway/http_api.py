"""JSON over HTTP, with its OpenAPI page at ``/docs`` and ``/openapi.json``."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final, Optional

from fastapi import FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from grpc import aio
from starlette.exceptions import HTTPException

import cartwheel
from serving.client.requests import RecommendRequest
from serving.gateway import bodies
from serving.gateway.asking import Asking, Wanted
from serving.gateway.gate import TRACK, Gate
from serving.gateway.item_states import SET_ITEMS, set_items
from serving.gateway.keys import Role
from serving.gateway.kserve import KServe
from serving.gateway.live import FULL, told
from serving.gateway.metrics import CONTENT_TYPE, Metrics
from serving.gateway.placements import PLACEMENTS, Placements, Who, Wish
from serving.gateway.refusal import HTTP_STATUS, Code, RefusedError
from serving.gateway.rest import DOOR as REST
from serving.gateway.rest import MODELS, Rest
from serving.gateway.rpc import failed
from serving.gateway.set_links import LINK, set_links
from serving.gateway.visit import REQUEST_ID, Visit

Health = Callable[[], Awaitable[tuple[bool, dict[str, Any]]]]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
DOOR: Final = "json"
VISIT: Final = "cartwheel.visit"
"""Where the visit of a question stands in its scope."""
_QUESTIONS: Final = "/v1/"
TRACKED: Final = "/v1/track"
ITEMS: Final = "/v1/items"
LINKS: Final = "/v1/links"
_METRICS: Final = "/metrics"
_ABOUT: Final = """Recommendations, carts, similar items and a shop's own questions.

`x-request-id` names a request; it, or a made one, is in the answer. `x-timeout-ms` says how long its caller waits."""
_REASONS: Final = {413: "too_large", 404: "unknown_path", 405: "unknown_method"}
_KINDS: Final = frozenset({"str", "int", "float", "constrained-int", "datetime", "none"})
"""What pydantic calls the kinds of value that one field may have."""
_NO_OBJECT: Final = "The body is no JSON object that can be read; send one, with `content-type: application/json`"
_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": bodies.Refusal, "description": HTTPStatus(status).phrase}
    for status in (400, 401, 403, 404, 413, 422, 429, 500, 503, 504)
}
Timeout = Annotated[Optional[int], Header(alias="x-timeout-ms", ge=1, le=3_600_000, description="How long the caller waits.")]  # noqa: UP045


def http_api(gate: Gate, asking: Asking, health: Health, kserve: KServe) -> FastAPI:
    """Return the application.

    Args:
        gate: what every request passes.
        asking: asks the questions.
        health: whether the server is ready, and the JSON object that says more.
        kserve: answers KServe v2, whichever way it is spoken.
    """
    app = FastAPI(title="Cartwheel", version=cartwheel.__version__, description=_ABOUT)
    app.add_exception_handler(RequestValidationError, _wrong)
    app.add_exception_handler(HTTPException, _not_there)
    app.add_exception_handler(Exception, _broken)
    _Questions(gate, asking).add_to(app)
    ready: dict[int | str, dict[str, Any]] = {503: {"description": "Not now."}}
    app.add_api_route("/health/live", _live(gate), tags=["health"], summary="Whether the gateway runs.")
    app.add_api_route("/health/ready", _ready(health), tags=["health"], summary="Whether it answers.", responses=ready)
    Rest(kserve, lambda scope: scope[VISIT], _failed).add_to(app)
    app.add_api_route(_METRICS, _metrics(gate.metrics), tags=["health"], summary="Prometheus metrics, Triton's included.")
    return app


def metrics_api(metrics: Metrics) -> FastAPI:
    """Return the application of the port of metrics, which gives nothing else."""
    app = FastAPI(openapi_url=None)
    app.add_api_route(_METRICS, _metrics(metrics))
    return app


class _Questions:
    """The questions, as FastAPI calls them."""

    def __init__(self, gate: Gate, asking: Asking) -> None:
        self._gate, self._asking = gate, asking
        self._placements = Placements(gate, asking)

    def add_to(self, app: FastAPI) -> None:
        """Add a path for each question that the repository answers."""
        declared: tuple[tuple[str, str, Any, type, str], ...] = (
            ("recommend", "/v1/recommend", self.recommend, bodies.RecommendAnswer, "The items that suit a shopper best."),
            ("cart", "/v1/cart", self.cart, bodies.CartAnswer, "What of a cart will be bought, and what completes it."),
            (
                "similar_items",
                "/v1/similar_items",
                self.similar_items,
                bodies.SimilarItemsAnswer,
                "The nearest items of an item.",
            ),
        )
        for name, path, call, answer, summary in declared:
            if name in self._asking.shop:
                _add(app, path, call, answer, summary)
        if self._gate.live is not None:
            _add(app, TRACKED, self.track, bodies.TrackAnswer, "Takes in what shoppers did; the next answer knows it.")
            _add(app, LINKS, self.link, bodies.LinksAnswer, "Tells who visitors are, as at a login.", method="PUT")
        if self._gate.routes.main.rulebook is not None:
            about = f"A list that is ready made: {', '.join(PLACEMENTS)}."
            _add(app, "/v1/placements/{placement}", self.placement, bodies.PlacementAnswer, about)
            _add(app, "/v1/page", self.page, bodies.PageAnswer, "Lists that are ready made, in which no item stands twice.")
            summary = "Why an item is or is not recommended to a shopper."
            _add(app, "/v1/explain", self.explain, bodies.ExplainAnswer, summary)
            if self._gate.live is not None:
                summary = "Sets price, stock and availability of items."
                _add(app, ITEMS, self.set_items, bodies.SetItemsAnswer, summary, method="PUT")
        if self._asking.tasks:
            about = f"A question that the shop has declared itself: {', '.join(self._asking.tasks)}."
            _add(app, "/v1/predict/{task}", self.predict, bodies.PredictAnswer, about)

    async def recommend(self, body: bodies.RecommendBody, request: Request, timeout: Timeout = None) -> Response:
        async def ask(visit: Visit) -> dict[str, Any]:
            visit.ladder, visit.rules = not body.ranked_only, body.rules
            who = RecommendRequest(body.user_id, body.recent_items, body.exclude, body.timestamp)
            wanted = Wanted(_seconds(timeout), body.k, body.timestamp)
            return {**bodies.recommended(await self._asking.recommend(visit, who, body.diversity, wanted)), "rung": visit.rung}

        return await self._answered(request, ask)

    async def cart(self, body: bodies.CartBody, request: Request, timeout: Timeout = None) -> Response:
        async def ask(visit: Visit) -> dict[str, Any]:
            wanted = Wanted(_seconds(timeout), body.k, body.timestamp)
            return bodies.cart(await self._asking.cart(visit, body.cart_items, body.user_id, body.recent_items, wanted))

        return await self._answered(request, ask)

    async def similar_items(self, body: bodies.SimilarItemsBody, request: Request, timeout: Timeout = None) -> Response:
        async def ask(visit: Visit) -> dict[str, Any]:
            wanted = Wanted(_seconds(timeout), body.k)
            return {"items": bodies.scored(await self._asking.similar_items(visit, body.item_id, wanted, body.user_id))}

        return await self._answered(request, ask)

    async def predict(self, task: str, body: bodies.PredictBody, request: Request, timeout: Timeout = None) -> Response:
        async def ask(visit: Visit) -> dict[str, Any]:
            wanted = Wanted(_seconds(timeout))
            return bodies.predicted(await self._asking.predict(visit, task, body.entity, body.columns, wanted))

        return await self._answered(request, ask)

    async def track(self, body: bodies.TrackBody, request: Request) -> Response:
        async def take(visit: Visit) -> dict[str, Any]:
            visit.ensemble = TRACK
            try:
                return told(await self._gate.track(visit, body.events))
            except RefusedError as error:
                if error.reason != FULL:
                    raise
                raise RefusedError(Code.RESOURCE_EXHAUSTED, error.sentence, FULL, error.retry_seconds) from error

        return await self._answered(request, take)

    async def placement(self, placement: str, body: bodies.PlacementBody, request: Request, timeout: Timeout = None) -> Response:
        async def ask(visit: Visit) -> dict[str, Any]:
            wish = Wish(placement, "" if body.item_id is None else str(body.item_id), body.k)
            [section] = await self._placements.page(visit, _who(body), [wish], _seconds(timeout))
            return {**dataclasses.asdict(section), "rung": visit.rung}

        return await self._answered(request, ask)

    async def page(self, body: bodies.PageBody, request: Request, timeout: Timeout = None) -> Response:
        async def ask(visit: Visit) -> dict[str, Any]:
            wishes = [Wish(each.placement, "" if each.item_id is None else str(each.item_id), each.k) for each in body.sections]
            sections = await self._placements.page(visit, _who(body), wishes, _seconds(timeout))
            return {"sections": [dataclasses.asdict(section) for section in sections], "rung": visit.rung}

        return await self._answered(request, ask)

    async def explain(self, body: bodies.ExplainBody, request: Request, timeout: Timeout = None) -> Response:
        async def ask(visit: Visit) -> dict[str, Any]:
            visit.rules = body.rules
            who = RecommendRequest(body.user_id, body.recent_items, body.exclude, body.timestamp)
            wanted = Wanted(_seconds(timeout), body.k, body.timestamp)
            return bodies.explained(await self._asking.explain(visit, who, body.item_id, wanted))

        return await self._answered(request, ask)

    async def set_items(self, body: bodies.SetItemsBody, request: Request) -> Response:
        async def take(visit: Visit) -> dict[str, Any]:
            visit.ensemble = SET_ITEMS
            states = [{name: value for name, value in item.model_dump().items() if value is not None} for item in body.items]
            return {"accepted": len(states), "unknown": await set_items(self._gate, states)}

        return await self._answered(request, take)

    async def link(self, body: bodies.LinksBody, request: Request) -> Response:
        async def take(visit: Visit) -> dict[str, Any]:
            visit.ensemble = LINK
            links = [{name: value for name, value in link.model_dump().items() if value is not None} for link in body.links]
            return {"accepted": await set_links(self._gate, links)}

        return await self._answered(request, take)

    async def _answered(self, request: Request, ask: Callable[[Visit], Awaitable[dict[str, Any]]]) -> Response:
        visit: Visit = request.scope[VISIT]
        try:
            content = {**await ask(visit), "version": self._gate.version(visit), "request_id": visit.request_id}
        except (RefusedError, aio.AioRpcError) as error:
            return _failed(visit, error)
        visit.code = Code.OK
        return _json(content, 200, visit)


def _add(app: FastAPI, path: str, call: Callable[..., Any], answer: type, summary: str, method: str = "POST") -> None:
    responses = {200: {"model": answer}, **_ERRORS}
    app.add_api_route(path, call, methods=[method], response_model=None, responses=responses, summary=summary, tags=["questions"])


def _who(body: bodies.PlacementBody | bodies.PageBody) -> Who:
    return Who(body.user_id, body.recent_items, body.cart_items, body.exclude, body.timestamp, body.rules)


def _role(scope: Message) -> Role | None:
    """Return what a key must allow for a path; None where none is wanted."""
    path = scope["path"] if scope["type"] == "http" else ""
    if path in (TRACKED, ITEMS, LINKS):
        return Role.OPERATE if path == ITEMS else Role.TRACK
    if path.startswith((_QUESTIONS, MODELS)):
        return Role.ASK
    return Role.OPERATE if path == _METRICS else None


def _failed(visit: Visit, error: RefusedError | aio.AioRpcError) -> Response:
    sentence = failed(visit, error)
    status = int(HTTP_STATUS.get(visit.code, HTTPStatus.INTERNAL_SERVER_ERROR))
    return _refused(status, sentence, visit.reason, visit, error.retry_seconds if isinstance(error, RefusedError) else None)


class Door:
    """An ASGI application before which every question passes the gate, and whose bodies are bounded.

    Args:
        app: what answers.
        gate: what every request passes.
        most: bytes of a body; more is answered with 413.
    """

    def __init__(self, app: FastAPI, gate: Gate, most: int) -> None:
        self.app = app
        """What answers; it may be changed at any time."""
        self._gate, self._most = gate, most

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        role = _role(scope)
        if role is None:
            await self.app(scope, receive, send)
            return
        visit = scope[VISIT] = Visit(REST if scope["path"].startswith(MODELS) else DOOR)
        try:
            headers = [(name.decode("latin-1"), value) for name, value in scope["headers"]]
            self._gate.enter(visit, headers, role=role)
            await self.app(scope, self._counted(receive), send)
        except RefusedError as error:
            await _failed(visit, error)(scope, receive, send)
        finally:
            self._gate.leave(visit)

    def _counted(self, receive: Receive) -> Receive:
        got = 0

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > self._most:
                raise HTTPException(413, f"The body has more than {self._most:,} bytes")
            return message

        return counted


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _live(gate: Gate) -> Callable[[], Awaitable[Response]]:
    async def live() -> Response:
        return _json({"state": "draining" if gate.draining else "live"})

    return live


def _ready(health: Health) -> Callable[[], Awaitable[Response]]:
    async def ready() -> Response:
        is_ready, told = await health()
        return _json(told, 200 if is_ready else 503)

    return ready


def _metrics(metrics: Metrics) -> Callable[[], Awaitable[Response]]:
    async def text() -> Response:
        return Response(await metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    return text


def _json(content: Any, status: int = 200, visit: Visit | None = None) -> Response:
    headers = {REQUEST_ID: visit.request_id} if visit is not None else None
    return Response(json.dumps(content), status, headers, media_type="application/json")


def _refused(status: int, sentence: str, reason: str, visit: Visit, retry_seconds: float | None = None) -> Response:
    answer = _json({"error": sentence, "reason": reason, "request_id": visit.request_id}, status, visit)
    if retry_seconds is not None:
        answer.headers["retry-after"] = str(math.ceil(retry_seconds))
    if status == HTTPStatus.UNAUTHORIZED:
        answer.headers["www-authenticate"] = "Bearer"
    return answer


def _visit(request: Request, code: Code, reason: str) -> Visit:
    """Return the visit of a request that did not come to a question, and note how it ends."""
    visit: Visit = request.scope.get(VISIT) or Visit(DOOR)
    visit.name(request.headers.get(REQUEST_ID, ""))
    visit.code, visit.reason = code, reason
    return visit


async def _wrong(request: Request, error: Exception) -> Response:
    """Answer a body that is not of the form that is wanted: the first field that is wrong, and what it may be."""
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    field = "" if errors[0]["type"] == "json_invalid" else _field(errors[0]["loc"])
    wanted = dict.fromkeys(each["msg"] for each in errors if _field(each["loc"]) == field)
    sentence = f"{field}: {', or '.join(wanted)}" if field else _NO_OBJECT
    visit = _visit(request, Code.INVALID_ARGUMENT, "invalid")
    return _refused(422, f"{sentence}. See /docs.", visit.reason, visit)


def _field(places: Sequence[str | int]) -> str:
    """Return ``recent_items[3]`` for the place of a value, empty for the whole body; what tells kinds of a union apart is no field."""
    parts = list(places[1:])
    while parts and isinstance(parts[-1], str) and len(parts) > 1 and (parts[-1] in _KINDS or set("[]()'") & set(parts[-1])):
        parts.pop()
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".")


async def _not_there(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.BAD_REQUEST:  # JSON that is nested too deep, or no text at all
        error = HTTPException(int(HTTPStatus.BAD_REQUEST), _NO_OBJECT)
    reason = _REASONS.get(error.status_code, "invalid")
    answer = _refused(error.status_code, f"{error.detail}. See /docs.", reason, _visit(request, Code.INVALID_ARGUMENT, reason))
    answer.headers.update(error.headers or {})
    return answer


async def _broken(request: Request, _error: Exception) -> Response:
    return _refused(
        500, "The gateway broke while answering; its log tells more.", "defect", _visit(request, Code.INTERNAL, "defect")
    )
