"""A model behind somebody's API: the request goes on as it came, the answer comes back as it is.

Only two things are ever changed on the way: the model's name, where a deployment gives it another one, and the wish for
counts in a stream, which the gateway needs and keeps from clients that did not ask.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec

from freehold.gateway.call import Call
from freehold.gateway.endpoints import MESSAGES
from freehold.gateway.events import Splitter
from freehold.gateway.faults import GatewayError
from freehold.gateway.sources import Failure, Headers, SourceError, Whole

TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=300)
LONGEST_ANSWER_BYTES = 64 * 1024 * 1024

_NOT_PASSED_BACK = frozenset(
    b"content-length connection keep-alive transfer-encoding te trailer upgrade content-encoding server date "
    b"set-cookie".split()
)
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OPTIONS = msgspec.json.Decoder(dict[str, Any] | None)


class Upstream:
    """One address and model. `model` None leaves the name as the caller wrote it, `key` None the caller's key."""

    def __init__(
        self, base_url: str, http: aiohttp.ClientSession, model: str | None = None, key: str | None = None
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._http = http
        self._model = model
        self._key = key
        self.name = f"{self._base_url}#{model}" if model else self._base_url

    async def fetch(self, call: Call) -> Whole:
        try:
            async with self._post(call, self._content(call)) as response:
                content = await _read(response)
                whole = Whole(response.status, content, passed_back(response))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from None
        if response.status >= 400:
            raise self._refusal(whole, response.headers.get("retry-after"))
        if "json" not in response.headers.get("content-type", ""):
            raise self._not_an_answer(response.headers.get("content-type", "nothing"), content)
        return whole

    async def open(self, call: Call) -> AsyncIterator[bytes]:
        splitter = Splitter()
        try:
            async with self._post(call, self._content(call)) as response:
                if response.status >= 400:
                    whole = Whole(response.status, await _read(response), passed_back(response))
                    raise self._refusal(whole, response.headers.get("retry-after"))
                kind = response.headers.get("content-type", "nothing")
                if "event-stream" not in kind:
                    raise self._not_an_answer(kind, await response.content.read(200))
                async for chunk in response.content.iter_any():
                    for event in splitter.feed(chunk):
                        yield event
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from None
        except ValueError as error:  # an event that does not end
            raise self._broken(str(error)) from None

    def _post(self, call: Call, content: bytes) -> Any:  # noqa: ANN401 (aiohttp's request context)
        headers = list(call.caller.headers)
        secret = self._key or call.caller.secret
        if secret:
            headers.append(
                ("x-api-key", secret) if call.endpoint is MESSAGES else ("authorization", f"Bearer {secret}")
            )
        return self._http.post(
            self._base_url + call.endpoint.path, data=content, headers=headers, timeout=TIMEOUT, allow_redirects=False
        )

    def _content(self, call: Call) -> bytes:
        wants_usage = call.stream and call.endpoint.asks_usage and not asks_usage(call.content)
        if self._model is None and not wants_usage:
            return call.content
        fields = _FIELDS.decode(call.content)
        if self._model is not None:
            fields["model"] = msgspec.Raw(msgspec.json.encode(self._model))
        if wants_usage:
            options = _OPTIONS.decode(fields.get("stream_options") or b"null") or {}
            fields["stream_options"] = msgspec.Raw(msgspec.json.encode({**options, "include_usage": True}))
        return msgspec.json.encode(fields)

    def _refusal(self, whole: Whole, retry_after: str | None) -> SourceError:
        wait = int(retry_after) if retry_after and retry_after.isdigit() else None
        said = f"{self._base_url} answered {whole.status}"
        fault = GatewayError(whole.status, said, code="upstream_refused", retry_after_s=wait)
        if not _is_error_object(whole.content):
            status = whole.status if whole.status < 500 else 502
            what = f"{said} and no JSON error: {_start(whole.content)}"
            return SourceError(_failure(whole), GatewayError(status, what, code="upstream_refused", retry_after_s=wait))
        return SourceError(_failure(whole), fault, whole)

    def _unreachable(self, error: Exception) -> SourceError:
        if isinstance(error, TimeoutError | asyncio.TimeoutError):
            fault = GatewayError(504, f"{self._base_url} did not answer in time", code="upstream_timeout")
            return SourceError(Failure.TIMEOUT, fault)
        return self._broken(f"cannot be reached or broke off ({type(error).__name__})")

    def _not_an_answer(self, kind: str, content: bytes) -> SourceError:
        return self._broken(f"answered {kind} where JSON or events were due: {_start(content)}")

    def _broken(self, what: str) -> SourceError:
        return SourceError(Failure.SERVER, GatewayError(502, f"{self._base_url} {what}", code="upstream_failed"))


def resolved_key(reference: str | None) -> str | None:
    """The key that ${NAME} stands for; raises `GatewayError` where the environment does not hold it."""
    match = _REFERENCE.fullmatch(reference or "")
    if match is None:
        return None
    if match[1] not in os.environ:
        what = f"this model's key is {reference}, and the gateway's environment does not hold it"
        raise GatewayError(503, what, code="missing_upstream_key")
    return os.environ[match[1]]


class _Options(msgspec.Struct):
    include_usage: bool | None = None


class _Asked(msgspec.Struct):
    stream_options: _Options | None = None


_ASKED = msgspec.json.Decoder(_Asked)


def asks_usage(content: bytes) -> bool:
    """Whether the caller asked for the counts of a stream."""
    if b"include_usage" not in content:
        return False
    try:
        options = _ASKED.decode(content).stream_options
    except msgspec.MsgspecError:
        return False
    return bool(options and options.include_usage)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, unless it never ends."""
    content = await response.content.read(-1) if response.content_length is not None else b""
    if response.content_length is not None:
        return content
    parts, size = [], 0
    async for chunk in response.content.iter_any():
        parts.append(chunk)
        size += len(chunk)
        if size > LONGEST_ANSWER_BYTES:
            raise aiohttp.ClientPayloadError("the answer does not end")
    return b"".join(parts)


def _failure(whole: Whole) -> Failure:
    if whole.status in (401, 403):
        return Failure.BAD_KEY
    if whole.status == 429:
        return Failure.RATE_LIMIT
    if whole.status in (408, 504):
        return Failure.TIMEOUT
    if whole.status >= 500:
        return Failure.SERVER
    return Failure.CONTEXT_LENGTH if b"context_length" in whole.content else Failure.REQUEST


def _is_error_object(content: bytes) -> bool:
    try:
        return "error" in _FIELDS.decode(content)
    except msgspec.MsgspecError:
        return False


def passed_back(response: aiohttp.ClientResponse) -> Headers:
    """The upstream's headers that go on to the client."""
    return [(name, value) for name, value in response.raw_headers if name.lower() not in _NOT_PASSED_BACK]


def _start(content: bytes) -> str:
    return repr(content[:120].decode(errors="replace"))
