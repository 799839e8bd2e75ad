"""Asking a served model from a page: through the gateway's own door, so that it is limited, metered and captured.

What comes back is streamed to our scripts as events of their own: `{"text": …}` a piece, then `{"done": true, …}`.
A blind conversation carries nothing that names the model: no header, no id, no error in the model's own words.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from starlette.types import Message, Receive, Scope, Send

from freehold.errors import FreeholdError, ResourceError
from freehold.gateway.door import Desk, Door
from freehold.gateway.endpoints import CHAT
from freehold.gateway.events import data_of
from freehold.gateway.faults import GatewayError, fault_of
from freehold.gateway.limits import Allowed

PATH = "/v1/chat/completions"
MOST_TURNS, LONGEST_TURN = 60, 16_000
_BLIND_FAULT = "no answer came; try again in a moment"


class Turn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One message of a conversation; visitors speak as `user` and hear `assistant`."""

    role: str
    content: str


@dataclass(frozen=True)
class Asking:
    """What is asked of which public name; `origin` is a tag of the exchange, `blind` hides who answers."""

    model: str
    messages: Sequence[dict[str, str]]
    parameters: dict[str, Any]
    origin: str
    blind: bool = False


@dataclass(frozen=True)
class _LetIn:
    """A keyring for whom we have let in already: a signed-in person (None: no limits), or a widget's visitor."""

    allowed: Allowed | None

    def whose(self, secret: str | None) -> Allowed | None:
        return self.allowed


def turns(content: str, roles: Sequence[str] = ("user", "assistant")) -> list[dict[str, str]]:
    """A conversation from a script of ours, as JSON; a `GatewayError` of 400 says what is wrong with it."""
    try:
        found = msgspec.json.decode(content.encode(), type=list[Turn])
    except msgspec.MsgspecError as error:
        raise GatewayError(400, f"messages: {error}", code="invalid_type", param="messages") from None
    return checked(found, roles)


def checked(found: Sequence[Turn], roles: Sequence[str] = ("user", "assistant")) -> list[dict[str, str]]:
    """A conversation whose messages are few, short, and in roles that may be spoken here."""
    if not found or len(found) > MOST_TURNS or any(len(each.content) > LONGEST_TURN for each in found):
        what = f"a conversation has 1 to {MOST_TURNS} messages of at most {LONGEST_TURN:,} characters"
        raise GatewayError(400, what, code="invalid_value", param="messages")
    wrong = next((each.role for each in found if each.role not in roles), None)
    if wrong is not None:
        raise GatewayError(400, f"messages: the role {wrong!r} cannot be sent here", code="invalid_value")
    return [{"role": each.role, "content": each.content} for each in found]


async def ask(desk: Desk | None, asking: Asking, receive: Receive, send: Send, allowed: Allowed | None = None) -> None:
    """Stream an answer to a script of ours, under a key's limits where there are any; a refusal comes as JSON."""
    if desk is None:
        raise ResourceError("no gateway runs beside this console; start `freehold serve`")
    open_desk = replace(desk, keyring=_LetIn(allowed))  # type: ignore[arg-type]  # all that a door asks of a keyring
    scope = _scope([(b"x-freehold-tags", f"console={asking.origin}".encode())])
    content = {"model": asking.model, "messages": asking.messages, "stream": True, **asking.parameters}
    answer = _Answer(send, asking.blind)
    try:
        await Door(CHAT, open_desk)(scope, fed(msgspec.json.encode(content), receive), answer.take)
    except FreeholdError as error:
        if answer.begun:
            raise
        await answer.refuse(error)


def _scope(headers: list[tuple[bytes, bytes]]) -> Scope:
    return {"type": "http", "method": "POST", "path": PATH, "headers": headers, "query_string": b"", "scheme": "http"}


def fed(content: bytes, receive: Receive) -> Receive:
    """A body of ours, and then whatever the client does (hang up)."""
    waiting = [content]

    async def received() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return received


class _Answer:
    """Turns the gateway's answer into events for our scripts, as it comes."""

    def __init__(self, send: Send, blind: bool) -> None:
        self._send, self._blind = send, blind
        self._rest = b""
        self._status = 200
        self._told: dict[str, Any] = {}
        self._whole = b""
        self.begun = False

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._start(message)
        elif self._status != 200:
            self._whole += message.get("body", b"")
            if not message.get("more_body"):
                await self._end_refusal()
        else:
            await self._pieces(message.get("body", b""), not message.get("more_body"))

    async def refuse(self, error: FreeholdError) -> None:
        fault = fault_of(error)
        self._status = fault.status
        self._whole = msgspec.json.encode(fault.body)
        await self._end_refusal()

    async def _start(self, message: Message) -> None:
        self._status = message["status"]
        headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        if not self._blind:
            self._told["exchange"] = headers.get("x-freehold-exchange")
        if self._status == 200:
            self.begun = True
            kind = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
            await self._send({"type": "http.response.start", "status": 200, "headers": kind})

    async def _pieces(self, content: bytes, last: bool) -> None:
        events = (self._rest + content).replace(b"\r\n", b"\n").split(b"\n\n")
        self._rest = events.pop()
        out = b"".join(self._event(each) for each in events)
        if last:
            self._told["done"] = True
            out += _event(self._told)
        if out or last:
            await self._send({"type": "http.response.body", "body": out, "more_body": not last})

    def _event(self, event: bytes) -> bytes:
        data = data_of(event)
        if not data or data.strip() == b"[DONE]":
            return b""
        document = msgspec.json.decode(data)
        if "error" in document:
            said = _BLIND_FAULT if self._blind else document["error"].get("message")
            return _event({"error": said})
        if document.get("usage") and not self._blind:
            self._told["usage"] = document["usage"]
        text = "".join(each.get("delta", {}).get("content") or "" for each in document.get("choices") or ())
        return _event({"text": text}) if text else b""

    async def _end_refusal(self) -> None:
        body = self._whole
        if self._blind:
            body = msgspec.json.encode({"error": {"message": _BLIND_FAULT, "code": "unanswered"}})
        headers = [(b"content-type", b"application/json")]
        await self._send({"type": "http.response.start", "status": self._status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"
