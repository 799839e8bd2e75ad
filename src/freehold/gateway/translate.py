"""A model that speaks Chat Completions, asked in another dialect: the request becomes a chat, the answer is put back.

A broken answer stays one (invariant 6): only a chat's own `[DONE]` becomes the end of a translated stream.
"""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import msgspec

from freehold.gateway.call import Call
from freehold.gateway.dialects.completions import Completions
from freehold.gateway.dialects.dialect import Asked, Dialect
from freehold.gateway.dialects.messages import Messages
from freehold.gateway.dialects.responses import Responses
from freehold.gateway.endpoints import CHAT, COMPLETIONS, DONE, MESSAGES, RESPONSES
from freehold.gateway.events import data_of
from freehold.gateway.faults import GatewayError
from freehold.gateway.sources import Failure, Source, SourceError, Whole

DIALECTS: dict[str, Dialect] = {
    COMPLETIONS.name: Completions(),
    RESPONSES.name: Responses(),
    MESSAGES.name: Messages(),
}

_FIELDS = msgspec.json.Decoder(dict[str, Any])


def spoken(source: Source, call: Call) -> Source:
    """The source as it can be asked this: itself for a chat, and for what there is no translation of."""
    dialect = DIALECTS.get(call.endpoint.name)
    return source if dialect is None else Translated(source, dialect)


def check_sayable(call: Call) -> None:
    """Raise `GatewayError` of 400 where a model that speaks only Chat Completions cannot be asked this at all."""
    if call.endpoint is not CHAT and call.endpoint.name not in DIALECTS:
        what = f"{call.model} speaks Chat Completions only, and /v1{call.endpoint.path} cannot be said in it"
        raise GatewayError(400, what, code="unsupported_endpoint", param="model")


class Translated:
    """A source that speaks Chat Completions, in another dialect."""

    def __init__(self, inner: Source, dialect: Dialect) -> None:
        self.name = inner.name
        self._inner = inner
        self._dialect = dialect

    async def fetch(self, call: Call) -> Whole:
        asked, chat = self._asked(call)
        try:
            whole = await self._inner.fetch(chat)
        except SourceError as error:
            raise _in_words_of(call, error) from None
        finally:
            call.told_by(chat)
        answer = self._dialect.answer(asked, _completion(whole.content))
        return Whole(whole.status, msgspec.json.encode(answer), whole.headers)

    async def open(self, call: Call) -> AsyncIterator[bytes]:
        asked, chat = self._asked(call)
        stream = self._dialect.stream(asked)
        try:
            async with aclosing(self._inner.open(chat)) as events:  # type: ignore[type-var]
                async for each in events:
                    call.told_by(chat)
                    data = data_of(each).strip()
                    if data == DONE:
                        for event in stream.finish():
                            yield event
                        return
                    for event in stream.feed(_completion(data)) if data else ():
                        yield event
        except SourceError as error:
            raise _in_words_of(call, error) from None
        finally:
            call.told_by(chat)

    def _asked(self, call: Call) -> tuple[Asked, Call]:
        try:
            document = self._dialect.chat(call.content)
        except GatewayError as fault:
            raise SourceError(Failure.REQUEST, fault) from None
        asked = Asked(_FIELDS.decode(call.content), document, call.id, int(time.time()))
        return asked, replace(call, endpoint=CHAT, content=msgspec.json.encode(document))


def _completion(content: bytes) -> dict[str, Any]:
    """A chat's answer, or one chunk of it; an error among them is a broken answer."""
    try:
        found = _FIELDS.decode(content)
    except msgspec.MsgspecError:
        fault = GatewayError(502, "the upstream's answer is no chat completion", code="upstream_failed")
        raise SourceError(Failure.SERVER, fault) from None
    if found.get("error"):
        said = found["error"].get("message") if isinstance(found["error"], dict) else found["error"]
        fault = GatewayError(502, f"the upstream broke off: {said}", code="upstream_failed")
        raise SourceError(Failure.SERVER, fault)
    return found


def _in_words_of(call: Call, error: SourceError) -> SourceError:
    """An upstream's refusal said what it had to say in OpenAI's shape; the caller speaks another."""
    refusal = error.refusal
    if refusal is None or call.endpoint is not MESSAGES:
        return error
    said = _FIELDS.decode(refusal.content).get("error")
    message = said.get("message") if isinstance(said, dict) else said
    fault = GatewayError(refusal.status, str(message), code=error.code, retry_after_s=error.retry_after_s)
    content = msgspec.json.encode(fault.document(call.endpoint.path))
    error.refusal = Whole(refusal.status, content, refusal.headers)
    return error
