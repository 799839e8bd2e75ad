"""An upstream without a model, with dials: for tests, measurements and a first look. It ships.

It answers OpenAI's Chat Completions, Completions, Embeddings and Models, Responses in short, and Anthropic's Messages.
What it answers depends on the request alone, unless a dial says otherwise.
"""

import asyncio
import gzip
import random
import zlib
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from freehold.gateway.chat import DONE, event
from freehold.gateway.hangup import Hangup
from freehold.records import Record

WORDS = ("the", "owned", "model", "answers", "in", "a", "few", "plain", "words", "about", "payroll", "and", "safety")

ACCENTS = ("é", "Zürich", "naïve", "日本", "€5", "🎉", "\u2028", 'say "ja"', "a\\b", "tab\tline\n")
_CUT_S = 0.002  # long enough that both pieces are read apart


class Dials(Record, frozen=True, kw_only=True):
    """`errors` and `cuts` are shares (0..1) of requests; a cut breaks a stream off after `cut_after` events.

    `split` sends a stream in pieces of that many bytes, `pause_ms` waits before each of its events. `split_at` cuts
    any answer's body in two behind that many bytes, the second piece a moment later; a request's own header
    `X-Fake-Split-At` wins. `accents` answers in words of two to four bytes a letter. `html` answers a page. `endless`
    never ends a stream. `gzip` compresses whole answers, asked for or not.
    """

    latency_ms: float = 0.0
    errors: float = 0.0
    status: int = 500
    rate_limit: int | None = None
    cuts: float = 0.0
    cut_after: int = 2
    split: int | None = None
    split_at: int | None = None
    accents: bool = False
    pause_ms: float = 0.0
    html: bool = False
    endless: bool = False
    gzip: bool = False
    tokens: int = 12
    seed: int = 0


class FakeUpstream:
    """The ASGI application. `seen` counts the requests, `cancelled` those whose caller went away; `path`,
    `last`, `headers` and `secret` are what the last one brought."""

    def __init__(self, dials: Dials) -> None:
        self.dials = dials
        self.seen = 0
        self.cancelled = 0
        self.path = ""
        self.last: dict[str, Any] = {}
        self.headers: dict[bytes, bytes] = {}
        self.secret = ""
        self._random = random.Random(dials.seed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        content = b""
        while True:
            message = await receive()
            content += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.seen += 1
        self.path = scope["path"]
        self.headers = headers = dict(scope["headers"])
        self.secret = headers.get(b"authorization", headers.get(b"x-api-key", b"")).decode()
        try:
            async with Hangup(receive):
                await self._turned(scope["path"], content, send)
        except ClientDisconnect:
            self.cancelled += 1

    def _cut(self) -> int | None:
        """Where this request's answer is cut in two."""
        own = self.headers.get(b"x-fake-split-at", b"")
        return int(own) if own.isdigit() else self.dials.split_at

    async def _turned(self, path: str, content: bytes, send: Send) -> None:
        """The dials first, then the answer."""
        dials = self.dials
        if dials.latency_ms:
            await asyncio.sleep(dials.latency_ms / 1000)
        if dials.html:
            return await _send(send, 200, b"<html>a login page</html>", b"text/html")
        if dials.rate_limit is not None and self.seen > dials.rate_limit:
            return await _send(send, 429, _error("slow down", "rate_limit_exceeded"), retry=b"1")
        if self._random.random() < dials.errors:
            return await _send(send, dials.status, _error("the dial says so", "server_error"))
        await self._answer(path, content, send)

    async def _answer(self, path: str, content: bytes, send: Send) -> None:
        if path.endswith("/models"):
            models = [{"id": "gpt-4o-mini", "object": "model", "created": 0, "owned_by": "fake"}]
            return await _send(send, 200, msgspec.json.encode({"object": "list", "data": models}))
        if path.endswith("/audio/speech"):
            return await _send(send, 200, b"ID3" + bytes(2000), b"audio/mpeg")
        if "/audio/" in path:
            return await _send(send, 200, msgspec.json.encode({"text": f"heard {len(content)} bytes"}))
        try:
            self.last = request = msgspec.json.decode(content)
        except msgspec.MsgspecError:
            return await _send(send, 400, _error("the body is not JSON", "invalid_json"))
        if path.endswith("/images/generations"):
            return await _send(send, 200, msgspec.json.encode({"created": 0, "data": [{"url": "http://127.0.0.1/i"}]}))
        dialect = next((known for end, known in _DIALECTS.items() if path.endswith(end)), None)
        if dialect is None:
            return await _send(send, 404, _error(f"{path} is not served", "unknown_url"))
        if self.dials.accents:
            request["accents"] = True
        await self._spoken(dialect, request, send)

    async def _spoken(self, dialect: "_Dialect", request: dict[str, Any], send: Send) -> None:
        cut = self._cut()
        if not request.get("stream"):
            whole = msgspec.json.encode(dialect.whole(request, self.dials.tokens))
            if cut is not None:
                return await _send_cut(send, whole, b"application/json", cut)
            return await (_send_pressed if self.dials.gzip else _send)(send, 200, whole)
        events = dialect.events(request, self.dials.tokens)
        if cut is not None:
            return await _send_cut(send, b"".join(events), b"text/event-stream", cut)
        await self._stream(events, send)

    async def _stream(self, events: list[bytes], send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        cut = self._random.random() < self.dials.cuts
        async for piece in self._pieces(events[: self.dials.cut_after] if cut else events):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _pieces(self, events: list[bytes]) -> AsyncIterator[bytes]:
        while self.dials.endless:
            yield events[0]
            await asyncio.sleep(0.001)
        if self.dials.split is None:
            for each in events:
                if self.dials.pause_ms:
                    await asyncio.sleep(self.dials.pause_ms / 1000)
                yield each
            return
        stream = b"".join(events)
        for at in range(0, len(stream), self.dials.split):
            yield stream[at : at + self.dials.split]
            await asyncio.sleep(0)


class _Chat:
    """Chat Completions, with a tool call where the request offers tools."""

    def whole(self, request: dict[str, Any], tokens: int) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": " ".join(_words(request, tokens)), "refusal": None}
        reason = "stop"
        if request.get("tools"):
            message = {"role": "assistant", "content": None, "tool_calls": [_tool_call(request)]}
            reason = "tool_calls"
        choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
        return {**_head(request, "chat.completion"), "choices": [choice], "usage": _usage(request, tokens)}

    def events(self, request: dict[str, Any], tokens: int) -> list[bytes]:
        head = _head(request, "chat.completion.chunk")
        reason = "tool_calls" if request.get("tools") else "stop"
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        if request.get("tools"):
            call = _tool_call(request)
            start = {**call, "index": 0, "function": {"name": call["function"]["name"], "arguments": ""}}
            deltas.append({"tool_calls": [start]})
            arguments = call["function"]["arguments"]
            deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": letter}}]} for letter in arguments]
        else:
            deltas += [{"content": (" " if at else "") + word} for at, word in enumerate(_words(request, tokens))]
        chunks = [_choice(delta, None) for delta in deltas] + [_choice({}, reason)]
        events = [event({**head, "choices": [choice]}) for choice in chunks]
        if (request.get("stream_options") or {}).get("include_usage"):
            events.append(event({**head, "choices": [], "usage": _usage(request, tokens)}))
        return [*events, DONE]


class _Completions:
    def whole(self, request: dict[str, Any], tokens: int) -> dict[str, Any]:
        choice = {"index": 0, "text": " ".join(_words(request, tokens)), "finish_reason": "stop", "logprobs": None}
        return {**_head(request, "text_completion"), "choices": [choice], "usage": _usage(request, tokens)}

    def events(self, request: dict[str, Any], tokens: int) -> list[bytes]:
        head = _head(request, "text_completion")
        words = [(" " if at else "") + word for at, word in enumerate(_words(request, tokens))]
        chunks = [event({**head, "choices": [{"index": 0, "text": word, "finish_reason": None}]}) for word in words]
        return [*chunks, event({**head, "choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}), DONE]


class _Embeddings:
    def whole(self, request: dict[str, Any], tokens: int) -> dict[str, Any]:
        given = request.get("input")
        texts = given if isinstance(given, list) else [given]
        data = [{"object": "embedding", "index": at, "embedding": [0.1, 0.2, 0.3]} for at, _ in enumerate(texts)]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": request.get("model"), "usage": usage}

    def events(self, request: dict[str, Any], tokens: int) -> list[bytes]:
        return [event(self.whole(request, tokens)), DONE]


class _Rerank:
    def whole(self, request: dict[str, Any], tokens: int) -> dict[str, Any]:
        results = [
            {"index": at, "relevance_score": 1 / (at + 1)} for at, _ in enumerate(request.get("documents") or ())
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "results": results, "model": request.get("model"), "usage": usage}

    def events(self, request: dict[str, Any], tokens: int) -> list[bytes]:
        return [event(self.whole(request, tokens)), DONE]


class _Responses:
    def whole(self, request: dict[str, Any], tokens: int) -> dict[str, Any]:
        text = {"type": "output_text", "text": " ".join(_words(request, tokens)), "annotations": []}
        message = {"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [text]}
        usage = {"input_tokens": 20, "output_tokens": tokens, "total_tokens": 20 + tokens}
        details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        return {
            **_head(request, "response"),
            "created_at": 0,
            "status": "completed",
            "output": [message],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": usage | details,
        }

    def events(self, request: dict[str, Any], tokens: int) -> list[bytes]:
        whole = self.whole(request, tokens)
        documents: list[dict[str, Any]] = [{"type": "response.created", "response": {**whole, "status": "in_progress"}}]
        for at, word in enumerate(_words(request, tokens)):
            delta = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": (" " if at else "") + word}
            documents.append({"type": "response.output_text.delta", **delta})
        documents.append({"type": "response.completed", "response": whole})
        return [_named(each | {"sequence_number": at}) for at, each in enumerate(documents)]


class _Messages:
    def whole(self, request: dict[str, Any], tokens: int) -> dict[str, Any]:
        usage = {"input_tokens": 20, "output_tokens": tokens}
        content = [{"type": "text", "text": " ".join(_words(request, tokens))}]
        return {**self._message(request), "content": content, "stop_reason": "end_turn", "usage": usage}

    def events(self, request: dict[str, Any], tokens: int) -> list[bytes]:
        start = {**self._message(request), "content": [], "stop_reason": None}
        start["usage"] = {"input_tokens": 20, "output_tokens": 1}
        documents: list[dict[str, Any]] = [
            {"type": "message_start", "message": start},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        ]
        for at, word in enumerate(_words(request, tokens)):
            delta = {"type": "text_delta", "text": (" " if at else "") + word}
            documents.append({"type": "content_block_delta", "index": 0, "delta": delta})
        documents += [
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": tokens}},
            {"type": "message_stop"},
        ]
        return [_named(each) for each in documents]

    def _message(self, request: dict[str, Any]) -> dict[str, Any]:
        head = {"id": "msg_1", "type": "message", "role": "assistant", "model": request.get("model")}
        return {**head, "stop_sequence": None}


_Dialect = _Chat | _Completions | _Embeddings | _Rerank | _Responses | _Messages
_DIALECTS: dict[str, _Dialect] = {
    "/chat/completions": _Chat(),
    "/completions": _Completions(),
    "/embeddings": _Embeddings(),
    "/rerank": _Rerank(),
    "/responses": _Responses(),
    "/messages": _Messages(),
}


def _named(document: dict[str, Any]) -> bytes:
    return f"event: {document['type']}\n".encode() + event(document)


def _words(request: dict[str, Any], tokens: int) -> list[str]:
    """Words that depend on what was asked alone."""
    asked = request.get("messages") or request.get("prompt") or request.get("input") or ""
    words = ACCENTS if request.get("accents") else WORDS
    start = zlib.crc32(msgspec.json.encode(asked)) % len(words)
    return [words[(start + at) % len(words)] for at in range(tokens)]


def _head(request: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "fake-1", "object": kind, "created": 0, "model": request.get("model")}


def _choice(delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}


def _tool_call(request: dict[str, Any]) -> dict[str, Any]:
    name = request["tools"][0].get("function", {}).get("name", "tool")
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": '{"city":"Zürich"}'}}


def _usage(request: dict[str, Any], tokens: int) -> dict[str, Any]:
    given = len(msgspec.json.encode(request.get("messages") or request.get("prompt") or "")) // 4
    details = {"prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}
    return {"prompt_tokens": given, "completion_tokens": tokens, "total_tokens": given + tokens, **details}


def _error(message: str, code: str) -> bytes:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return msgspec.json.encode({"error": error})


async def _send_cut(send: Send, content: bytes, kind: bytes, at: int) -> None:
    """A body in two pieces."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": content[:at], "more_body": True})
    await asyncio.sleep(_CUT_S)
    await send({"type": "http.response.body", "body": content[at:]})


async def _send_pressed(send: Send, status: int, content: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": gzip.compress(content)})


async def _send(
    send: Send, status: int, content: bytes, kind: bytes = b"application/json", retry: bytes | None = None
) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(content)).encode())]
    if retry is not None:
        headers.append((b"retry-after", retry))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
