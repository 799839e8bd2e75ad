"""A model behind somebody's API: the request goes on as it came, the answer comes back as it is.

Only two things are ever changed on the way: the model's name, where a deployment gives it another one, and the wish for
counts in a stream, which the gateway needs and keeps from clients that did not ask.
"""

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec

from freehold.gateway.call import Call
from freehold.gateway.endpoints import MESSAGES
from freehold.gateway.events import Splitter
from freehold.gateway.faults import GatewayError
from freehold.gateway.http_client import Answer, HttpClient
from freehold.gateway.sources import Failure, Headers, SourceError, Whole

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

    def __init__(self, base_url: str, client: HttpClient, model: str | None = None, key: str | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._client = client
        self._model = model
        self._key = key
        self.name = f"{self._base_url}#{model}" if model else self._base_url

    async def fetch(self, call: Call) -> Whole:
        try:
            async with self._post(call) as answer:
                content = await answer.read(LONGEST_ANSWER_BYTES)
        except OSError as error:
            raise self._unreachable(error) from None
        whole = Whole(answer.status, content, passed_back(answer.headers))
        if answer.status >= 400:
            raise self._refusal(whole, answer.header(b"retry-after"))
        if "json" not in answer.header(b"content-type"):
            raise self._not_an_answer(answer.header(b"content-type"), content)
        return whole

    async def open(self, call: Call) -> AsyncIterator[bytes]:
        splitter = Splitter()
        try:
            async with self._post(call) as answer:
                if answer.status >= 400:
                    whole = Whole(answer.status, await answer.read(LONGEST_ANSWER_BYTES), passed_back(answer.headers))
                    raise self._refusal(whole, answer.header(b"retry-after"))
                if "event-stream" not in answer.header(b"content-type"):
                    raise self._not_an_answer(answer.header(b"content-type"), await answer.start(200))
                async for piece in answer.pieces():
                    for event in splitter.feed(piece):
                        yield event
        except OSError as error:
            raise self._unreachable(error) from None
        except ValueError as error:  # an event that does not end
            raise self._broken(str(error)) from None

    def _post(self, call: Call) -> AbstractAsyncContextManager[Answer]:
        headers, secret = call.caller.headers, self._key or call.caller.secret
        if secret:
            name, value = ("x-api-key", secret) if call.endpoint is MESSAGES else ("authorization", f"Bearer {secret}")
            headers = [*headers, (name, value)]
        return self._client.post(self._base_url + call.endpoint.path, headers, self._content(call))

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
        if isinstance(error, ssl.SSLCertVerificationError):
            why = error.verify_message.rstrip(".")
            return self._broken(
                f"shows a certificate that does not hold here ({why}); SSL_CERT_FILE names who is trusted"
            )
        return self._broken(f"cannot be reached or broke off ({type(error).__name__})")

    def _not_an_answer(self, kind: str, content: bytes) -> SourceError:
        return self._broken(f"answered {kind or 'nothing'} where JSON or events were due: {_start(content)}")

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


def passed_back(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The upstream's headers that go on to the client."""
    return [(name, value) for name, value in headers if name.lower() not in _NOT_PASSED_BACK]


def _start(content: bytes) -> str:
    return repr(content[:120].decode(errors="replace"))
