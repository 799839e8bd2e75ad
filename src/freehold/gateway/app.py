"""Which address is answered by what. Every refusal leaves through `Refusals`, in one shape."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar, cast

import aiohttp
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.errors import FreeholdError, NotFoundError
from freehold.gateway import body, openapi
from freehold.gateway.call import caller_of
from freehold.gateway.chat import Envelope
from freehold.gateway.door import Desk, Door
from freehold.gateway.endpoints import ENDPOINTS, Endpoint
from freehold.gateway.faults import fault_of, unserved
from freehold.gateway.metrics import Metrics
from freehold.gateway.operations import EVENTS, JSON, REFUSED, Operation, Says
from freehold.gateway.relay import PATHS, Relay
from freehold.gateway.upstream import resolved_key
from freehold.store import exchanges
from freehold.store.database import Store

log = logging.getLogger(__name__)

T = TypeVar("T")
OPENAPI = "/openapi.json"
_FEEDBACK = msgspec.json.Decoder(exchanges.Feedback)
_HEX = re.compile("[0-9a-f]{12}")
_YOUNG_S, _CARRIED_S = 10.0, 2.0  # an exchange is in the journal at once, and in the store within this


class Model(msgspec.Struct, frozen=True):
    """A name that can be asked."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "freehold"


class Models(msgspec.Struct, frozen=True):
    """Ours, then an upstream's as it lists them."""

    object: str
    data: list[Model]


class Said(msgspec.Struct, frozen=True):
    """A verdict was kept."""

    exchange: str
    verdict: str


class Account(msgspec.Struct, frozen=True):
    """An exchange, each attempt with its cost, and what was said of it."""

    exchange: exchanges.Exchange
    attempts: list[exchanges.Attempt]
    feedback: list[exchanges.Feedback]


class Status(msgspec.Struct, frozen=True):
    """In one word, or one sentence."""

    status: str


_CORRECTED = {"properties": {"verdict": {"const": "corrected"}, "correction": {"type": "string"}}}
_OTHERWISE = {"properties": {"verdict": {"not": {"const": "corrected"}}, "correction": {"type": "null"}}}
_JUDGED = Annotated[
    exchanges.Feedback,
    msgspec.Meta(extra_json_schema={"oneOf": [_CORRECTED | {"required": ["correction"]}, _OTHERWISE]}),
]
_MODELS = Says("Every model that can be asked.", gives={JSON: Models}, fails=REFUSED)
_MODEL = Says("One model.", gives={JSON: Model}, fails=(*REFUSED, 404))
_SAY = Says("Say what an answer was worth.", {JSON: _JUDGED}, {JSON: Said}, (400, 404, 413, *REFUSED))
_EXCHANGE = Says("An exchange and its cost.", gives={JSON: Account}, fails=(*REFUSED, 404))
_HEALTHZ = Says("The process lives.", gives={JSON: Status}, open=True)
_READYZ = Says("The store takes what is kept.", gives={JSON: Status}, also={503: Status}, open=True)
_METRICS = Says("Counts for Prometheus.", gives={"text/plain": None}, open=True)
_THIS = Says("This document.", gives={JSON: dict[str, Any]}, open=True)


class Refusals:
    """Whatever is raised below becomes one refusal; after the first byte it is the last event of the stream.

    The endpoints on the hot path are found by their address alone; everything else goes through the router.
    """

    def __init__(self, doors: dict[str, ASGIApp], router: Router) -> None:
        self._doors = doors
        self._router = router

    def _taken(self, scope: Scope) -> set[str]:
        """The methods that this address takes."""
        routes = [each for each in self._router.routes if each.matches(scope)[0] is not Match.NONE]
        return {method for each in routes for method in getattr(each, "methods", None) or ()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._router(scope, receive, send)
        started = False
        scope["app"] = self  # so that the router raises its refusals instead of writing them

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        door = self._doors.get(scope["path"]) if scope["method"] == "POST" else None
        try:
            await (door or self._router)(scope, receive, watched)
        except ClientDisconnect:
            return
        except HTTPException as error:
            refusal = unserved(scope, error.status_code, error.detail).response(scope["path"])
            if error.status_code == 405:  # RFC 9110, section 15.5.6: the methods that it does take
                refusal.headers["allow"] = ", ".join(sorted(self._taken(scope)))
            await refusal(scope, receive, send)
        except Exception as error:
            if not isinstance(error, FreeholdError):
                log.exception("%s %s failed", scope["method"], scope["path"])
            fault = fault_of(error)
            if started:
                await send({"type": "http.response.body", "body": fault.event(scope["path"])})
            else:
                await fault.response(scope["path"])(scope, receive, send)


class Pages:
    """What is looked up rather than answered: models, exchanges, health."""

    def __init__(self, desk: Desk, store: Store) -> None:
        self._desk = desk
        self._store = store

    def routes(self) -> list[BaseRoute]:
        return [
            Operation("GET", "/v1/models", self.models, _MODELS),
            Operation("GET", "/v1/models/{name:path}", self.model, _MODEL),
            Operation("POST", "/freehold/v1/feedback", self.feedback, _SAY),
            Operation("GET", "/freehold/v1/exchanges/{id}", self.exchange, _EXCHANGE),
            Operation("GET", "/healthz", self.healthz, _HEALTHZ),
            Operation("GET", "/readyz", self.readyz, _READYZ),
            Operation("GET", "/metrics", self.metrics, _METRICS),
        ]

    async def models(self, request: Request) -> Response:
        """Ours first, then the upstream's, as the caller's key sees them."""
        self._desk.keyring.whose(caller_of(request.scope).secret)
        names = self._desk.routes.roster.names
        others = [each for each in await self._upstream_models(request) if each.get("id") not in names]
        return _json(Models("list", cast(list[Model], [*map(Model, names), *others])))

    async def model(self, request: Request) -> Response:
        self._desk.keyring.whose(caller_of(request.scope).secret)
        name = request.path_params["name"]
        if name in self._desk.routes.roster.served:
            return _json(Model(name))
        for each in await self._upstream_models(request):
            if each.get("id") == name:
                return _json(each)
        raise self._desk.routes.roster.unknown(name)

    async def feedback(self, request: Request) -> Response:
        self._desk.keyring.whose(caller_of(request.scope).secret)
        content = await body.read(request.scope, request.receive, self._desk.max_body)
        said = body.typed(content, _FEEDBACK)
        kept = self._desk.recorder.redact_feedback(said)
        await _carried(said.exchange, lambda: exchanges.say(self._store, kept))
        return _json(Said(said.exchange, said.verdict))

    async def exchange(self, request: Request) -> Response:
        """One exchange, its attempts with their cost, and what was said of it."""
        allowed = self._desk.keyring.whose(caller_of(request.scope).secret)
        id = request.path_params["id"]
        exchange, attempts, said = await _carried(id, lambda: exchanges.found(self._store, id))
        if allowed is not None and exchange.key != allowed.key.id:
            raise NotFoundError(f"there is no exchange {id} of this key")
        return _json(Account(exchange, attempts, said))

    async def healthz(self, _: Request) -> Response:
        return _json(Status("ok"))

    async def readyz(self, _: Request) -> Response:
        """Ready while the store takes what is kept; 503 while exchanges wait in the journal."""
        failing = self._desk.store_failing()
        status = Status("the store takes nothing; exchanges wait in the journal" if failing else "ready")
        return Response(msgspec.json.encode(status), 503 if failing else 200, media_type="application/json")

    async def metrics(self, _: Request) -> Response:
        desk = self._desk
        metrics, values, failing = desk.metrics, desk.gauges, desk.store_failing()
        if desk.tally is not None:
            total = await desk.tally.sum(values)
            metrics, values, failing = Metrics(), total.gauges, total.failing
            metrics.add(total.counts)
        gauges = {
            "freehold_store_failing": ("1 while the store takes nothing.", float(failing)),
            "freehold_cache_bytes": ("Answers kept in memory, in bytes.", values["freehold_cache_bytes"]),
            "freehold_uncaptured": ("Answers sent without a record.", values["freehold_uncaptured"]),
        }
        return Response(metrics.text(gauges), media_type="text/plain; version=0.0.4")

    async def _upstream_models(self, request: Request) -> list[dict[str, Any]]:
        """What the upstream lists; nothing where it cannot be asked."""
        routes = self._desk.routes
        if routes.upstream is None:
            return []
        caller = caller_of(request.scope)
        if self._desk.keyring.whose(caller.secret) is not None:
            caller.secret = resolved_key(routes.upstream_key)
        headers = {"authorization": f"Bearer {caller.secret}"} if caller.secret else {}
        timeout = aiohttp.ClientTimeout(total=10)
        try:
            async with routes.http.get(f"{routes.upstream}/models", headers=headers, timeout=timeout) as response:
                listed = msgspec.json.decode(await response.read()) if response.status == 200 else {}
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError):
            return []
        data = listed.get("data") if isinstance(listed, dict) else None
        every = data if isinstance(data, list) else []
        return [each for each in every if isinstance(each, dict) and isinstance(each.get("id"), str)]


class _This:
    """`/openapi.json`; its content is there once the routes are."""

    content = b""

    async def answer(self, _: Request) -> Response:
        return Response(self.content, media_type=JSON)


def _spoken(endpoint: Endpoint) -> Says:
    """What any dialect's address takes and gives, as far as routing reads it."""
    return Says(
        endpoint.summary,
        {JSON: Envelope},
        {JSON: dict[str, Any], EVENTS: None},
        (400, 402, 404, 413, 429, 500, 501, 502, 504, *REFUSED),
        passes=True,
        tagged=True,
    )


def build(desk: Desk, store: Store, more: Sequence[BaseRoute] = ()) -> ASGIApp:
    """The whole application; `more` are other rooms' routes (the console's)."""
    doors: dict[str, ASGIApp] = {f"/v1{endpoint.path}": Door(endpoint, desk) for endpoint in ENDPOINTS}
    doors |= {f"/v1{path}": Relay(path, desk) for path in PATHS}
    named = [
        *(Operation("POST", f"/v1{each.path}", doors[f"/v1{each.path}"], _spoken(each)) for each in ENDPOINTS),
        *(Operation("POST", f"/v1{path}", doors[f"/v1{path}"], says) for path, says in PATHS.items()),
    ]
    routes = [*named, *Pages(desk, store).routes(), *more]
    this = _This()
    routes.append(Operation("GET", OPENAPI, this.answer, _THIS))
    this.content = msgspec.json.encode(openapi.document(routes))
    return Refusals(doors, Router(routes, redirect_slashes=False))


def _json(value: Any) -> Response:  # noqa: ANN401 (any JSON-able value)
    return Response(msgspec.json.encode(value), media_type="application/json")


async def _carried(exchange: str, look: Callable[[], T]) -> T:
    """What `look` finds of an exchange; one that was answered a moment ago is still on its way into the store."""
    until = time.monotonic() + _CARRIED_S
    while True:
        try:
            return await asyncio.to_thread(look)
        except NotFoundError:
            if not _is_young(exchange) or time.monotonic() > until:
                raise
            await asyncio.sleep(0.05)


def _is_young(exchange: str) -> bool:
    """Whether an exchange's id (`call.new_id`) is of the last seconds."""
    at = exchange[:12]
    return bool(_HEX.fullmatch(at)) and 0 <= time.time() - int(at, 16) / 1000 < _YOUNG_S
