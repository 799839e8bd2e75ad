"""Images and audio: passed through to the upstream and back as bytes. What they hold is not kept; that they were is.

The exchange and its attempt are recorded like any other, without contents, and before the last byte goes out.
"""

import re
import time
from collections.abc import AsyncIterator

import aiohttp
import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from freehold.gateway import body
from freehold.gateway.call import Call, caller_of, new_id
from freehold.gateway.chat import ModelName
from freehold.gateway.door import Desk
from freehold.gateway.endpoints import Endpoint
from freehold.gateway.faults import GatewayError
from freehold.gateway.hangup import Hangup
from freehold.gateway.limits import Reservation
from freehold.gateway.operations import ANY, FORM, JSON, REFUSED, Says
from freehold.gateway.recorder import Told, Tried
from freehold.gateway.sources import Failure
from freehold.gateway.tokens import Tokens
from freehold.gateway.upstream import passed_back, resolved_key

TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=300)

_FORM_MODEL = re.compile(rb'name="model"\r\n(?:[^\r\n]+\r\n)*\r\n([^\x00-\x1f\x7f]{1,256})\r\n')


class Named(msgspec.Struct):
    """The little that is read of such a request."""

    model: ModelName = "unnamed"


_NAMED = msgspec.json.Decoder(Named)
_FAILS = (400, 402, 404, 413, 429, 502, *REFUSED)


def _says(summary: str, media: str, kind: type[msgspec.Struct] | None) -> Says:
    return Says(summary, {media: kind}, {ANY: None}, _FAILS, passes=True, tagged=True)


PATHS = {
    "/images/generations": _says("Passed to the upstream: images.", JSON, Named),
    "/audio/speech": _says("Passed to the upstream: speech.", JSON, Named),
    "/audio/transcriptions": _says("Passed to the upstream: transcriptions.", FORM, None),
    "/audio/translations": _says("Passed to the upstream: translations.", FORM, None),
}


class Relay:
    """The ASGI application of one such address."""

    def __init__(self, path: str, desk: Desk) -> None:
        self._endpoint = Endpoint(path.strip("/").replace("/", "."), path, lambda _: False, lambda _: None)
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        caller = caller_of(scope)
        allowed = self._desk.keyring.whose(caller.secret)
        content = await body.read(scope, receive, self._desk.max_body)
        caller.keep = False
        call = Call(new_id(), self._endpoint, _model(content), False, content, caller)
        if call.model in self._desk.routes.roster.served:
            what = f"{call.model} is deployed here, and does not answer /v1{self._endpoint.path}"
            raise GatewayError(400, what, code="unsupported_endpoint", param="model")
        if allowed is not None:
            caller.secret = None
            allowed.may_use(call.model)
            held = await self._desk.limits.reserve(allowed, call.id, Reservation(), time.time_ns() // 1000)
            if held is not None:
                self._desk.limits.settle(allowed, call.id, held, (0, 0))
        key = allowed.key.id if allowed else None
        status, finished, failure = 502, False, Failure.SERVER
        try:
            async with Hangup(receive):
                async for message in self._answer(call):
                    status = message.get("status", status)
                    if not message.get("more_body", True):
                        finished = True
                        await self._keep(call, key, Told(status, True, None, self._name, started), None)
                    await send(message)
        except ClientDisconnect:
            status, failure = 499, Failure.HUNG_UP
        finally:
            if not finished:
                await self._keep(call, key, Told(status, False, None, self._name, started), failure)

    @property
    def _name(self) -> str:
        return self._desk.routes.upstream or ""

    async def _answer(self, call: Call) -> AsyncIterator[Message]:
        """ASGI messages of the upstream's answer; the last chunk comes with `more_body` False."""
        routes = self._desk.routes
        if routes.upstream is None:
            what = f"/v1{self._endpoint.path} goes to an upstream; start `freehold serve` with --upstream"
            raise GatewayError(404, what, code="no_upstream")
        secret = call.caller.secret or resolved_key(routes.upstream_key)
        headers = [*call.caller.headers, *([("authorization", f"Bearer {secret}")] if secret else [])]
        url = routes.upstream.rstrip("/") + self._endpoint.path
        try:
            async with routes.http.post(url, data=call.content, headers=headers, timeout=TIMEOUT) as response:
                start = {"type": "http.response.start", "status": response.status}
                mark = (b"x-freehold-exchange", call.id.encode())
                yield {**start, "headers": [*passed_back(response.raw_headers), mark]}
                held = b""
                async for chunk in response.content.iter_any():
                    if held:
                        yield {"type": "http.response.body", "body": held, "more_body": True}
                    held = chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            what = f"{routes.upstream} cannot be reached or broke off ({type(error).__name__})"
            raise GatewayError(502, what, code="upstream_failed") from None
        yield {"type": "http.response.body", "body": held, "more_body": False}

    async def _keep(self, call: Call, key: str | None, told: Told, failure: Failure | None) -> None:
        seconds = time.perf_counter() - told.started
        outcome = str(failure or ("ok" if told.status < 400 else "request"))
        at = time.time_ns() // 1000
        tried = Tried(self._name, call.model, at, outcome, Tokens(estimated=True), seconds, None)
        await self._desk.recorder.keep(call, key, told, [tried])


def _model(content: bytes) -> str:
    """The model that a JSON body or a form names; raises `GatewayError` of 400 where it is neither."""
    if not content.startswith(b"--"):
        return body.typed(content, _NAMED).model
    match = _FORM_MODEL.search(content)
    return match[1].decode(errors="replace").strip() if match else "unnamed"
