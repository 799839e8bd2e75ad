"""Which address is answered by what. Every refusal leaves through `Refusals`, in one shape."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import aiohttp
import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.errors import FreeholdError, NotFoundError
from freehold.gateway import body
from freehold.gateway.call import caller_of
from freehold.gateway.door import Desk, Door
from freehold.gateway.endpoints import ENDPOINTS
from freehold.gateway.faults import fault_of, unserved
from freehold.gateway.metrics import Metrics
from freehold.gateway.relay import PATHS, Relay
from freehold.gateway.upstream import resolved_key
from freehold.store import exchanges
from freehold.store.database import Store

log = logging.getLogger(__name__)

_FEEDBACK = msgspec.json.Decoder(exchanges.Feedback)


class Refusals:
    """Whatever is raised below becomes one refusal; after the first byte it is the last event of the stream.

    The endpoints on the hot path are found by their address alone; everything else goes through the router.
    """

    def __init__(self, doors: dict[str, ASGIApp], router: ASGIApp) -> None:
        self._doors = doors
        self._router = router

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
            await unserved(scope, error.status_code, error.detail).response(scope["path"])(scope, receive, send)
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
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{name:path}", self.model, methods=["GET"]),
            Route("/freehold/v1/feedback", self.feedback, methods=["POST"]),
            Route("/freehold/v1/exchanges/{id}", self.exchange, methods=["GET"]),
            Route("/healthz", self.healthz, methods=["GET"]),
            Route("/readyz", self.readyz, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]

    async def models(self, request: Request) -> Response:
        """Ours first, then the upstream's, as the caller's key sees them."""
        self._desk.keyring.whose(caller_of(request.scope).secret)
        names = self._desk.routes.roster.names
        others = [each for each in await self._upstream_models(request) if each.get("id") not in names]
        return _json({"object": "list", "data": [*map(_model, names), *others]})

    async def model(self, request: Request) -> Response:
        self._desk.keyring.whose(caller_of(request.scope).secret)
        name = request.path_params["name"]
        if name in self._desk.routes.roster.served:
            return _json(_model(name))
        for each in await self._upstream_models(request):
            if each.get("id") == name:
                return _json(each)
        raise self._desk.routes.roster.unknown(name)

    async def feedback(self, request: Request) -> Response:
        self._desk.keyring.whose(caller_of(request.scope).secret)
        content = await body.read(request.scope, request.receive, self._desk.max_body)
        said = body.typed(content, _FEEDBACK)
        await asyncio.to_thread(exchanges.say, self._store, self._desk.recorder.redact_feedback(said))
        return _json({"exchange": said.exchange, "verdict": said.verdict})

    async def exchange(self, request: Request) -> Response:
        """One exchange, its attempts with their cost, and what was said of it."""
        allowed = self._desk.keyring.whose(caller_of(request.scope).secret)
        id = request.path_params["id"]
        exchange, attempts, said = await asyncio.to_thread(exchanges.found, self._store, id)
        if allowed is not None and exchange.key != allowed.key.id:
            raise NotFoundError(f"there is no exchange {id} of this key")
        return _json({"exchange": exchange, "attempts": attempts, "feedback": said})

    async def healthz(self, _: Request) -> Response:
        return _json({"status": "ok"})

    async def readyz(self, _: Request) -> Response:
        """Ready while the store takes what is kept; 503 while exchanges wait in the journal."""
        failing = self._desk.store_failing()
        status = {"status": "the store takes nothing; exchanges wait in the journal" if failing else "ready"}
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
        return [each for each in data if isinstance(each, dict)] if isinstance(data, list) else []


def build(desk: Desk, store: Store, more: Sequence[BaseRoute] = ()) -> ASGIApp:
    """The whole application; `more` are other rooms' routes (the console's)."""
    doors: dict[str, ASGIApp] = {f"/v1{endpoint.path}": Door(endpoint, desk) for endpoint in ENDPOINTS}
    doors |= {f"/v1{path}": Relay(path, desk) for path in PATHS}
    named = [Route(path, door, methods=["POST"]) for path, door in doors.items()]
    router = Router([*Pages(desk, store).routes(), *named, *more], redirect_slashes=False)
    return Refusals(doors, router)


def _json(value: Any) -> Response:  # noqa: ANN401 (any JSON-able value)
    return Response(msgspec.json.encode(value), media_type="application/json")


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "freehold"}
