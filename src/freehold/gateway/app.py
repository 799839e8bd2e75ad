"""The door: which address is answered by what. Every refusal leaves through `Refusals`, in one shape."""

import logging
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.errors import FreeholdError
from freehold.gateway import body
from freehold.gateway.chat import ChatRequest, Chunks, completion, event
from freehold.gateway.faults import fault_of, unserved
from freehold.gateway.hangup import Hangup
from freehold.gateway.owned import Respondent
from freehold.gateway.roster import Roster

log = logging.getLogger(__name__)

_CHAT = msgspec.json.Decoder(ChatRequest)
_JSON = [(b"content-type", b"application/json")]
_EVENTS = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]


class ChatCompletions:
    """`POST /v1/chat/completions`."""

    def __init__(self, roster: Roster, limit: int) -> None:
        self._roster = roster
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        chat = body.typed(await body.read(scope, receive, self._limit), _CHAT)
        respondent = self._roster.respondent(chat.model)
        if respondent is None:
            raise self._roster.unknown(chat.model)
        async with Hangup(receive):
            if chat.stream:
                await _stream(chat, respondent, send)
            else:
                reply = await respondent.answer(chat)
                answer = msgspec.json.encode(completion(chat.model, respondent.fingerprint, reply))
                await _send(send, 200, _JSON, answer)


class Refusals:
    """Whatever is raised below becomes one refusal; after the first byte it is the last event of the stream."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = False
        scope["app"] = self  # so that the router raises its refusals instead of writing them

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            return
        except HTTPException as error:
            await unserved(scope, error.status_code, error.detail).response()(scope, receive, send)
        except Exception as error:
            if not isinstance(error, FreeholdError):
                log.exception("%s %s failed", scope["method"], scope["path"])
            fault = fault_of(error)
            if started:
                await send({"type": "http.response.body", "body": event(fault.body)})
            else:
                await fault.response()(scope, receive, send)


def build(roster: Roster, limit: int = body.DEFAULT_LIMIT_BYTES, more: Sequence[BaseRoute] = ()) -> ASGIApp:
    """The whole application; `more` are other rooms' routes (the console's)."""

    async def models(_: Request) -> Response:
        return _json({"object": "list", "data": [_model(name) for name in roster.names]})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in roster.served:
            raise roster.unknown(name)
        return _json(_model(name))

    async def healthz(_: Request) -> Response:
        return _json({"status": "ok"})

    routes: list[BaseRoute] = [
        Route("/v1/chat/completions", ChatCompletions(roster, limit), methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{name:path}", model, methods=["GET"]),
        Route("/healthz", healthz, methods=["GET"]),
        *more,
    ]
    return Refusals(Router(routes, redirect_slashes=False))


async def _stream(chat: ChatRequest, respondent: Respondent, send: Send) -> None:
    """Failure before the first piece is an ordinary refusal, so the response starts only then."""
    options = chat.stream_options
    chunks = Chunks(chat.model, respondent.fingerprint, bool(options and options.include_usage))
    started = False
    async for piece in respondent.stream(chat):
        data = b""
        if not started:
            await send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
            data, started = chunks.opening(), True
        if piece.text:
            data += chunks.text(piece.text)
        if piece.last is not None:
            data += chunks.closing(piece.last)
        await send({"type": "http.response.body", "body": data, "more_body": piece.last is None})


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], content: bytes) -> None:
    length = (b"content-length", str(len(content)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": content})


def _json(value: Any) -> Response:  # noqa: ANN401 (any JSON-able value)
    return Response(msgspec.json.encode(value), media_type="application/json")


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "freehold"}
