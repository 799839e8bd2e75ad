"""Chat completions in OpenAI's words: what is read from a request, and what an owned model's answer looks like.

Source of the shapes: OpenAI's API reference, *Chat Completions*. Only what an owned model needs is typed here;
a request that is passed on to an upstream is passed byte for byte.
"""

import time
import uuid
from typing import Any

import msgspec

from freehold.gateway.faults import GatewayError
from freehold.records import Message


class Envelope(msgspec.Struct):
    """The little that routing needs to know of any request."""

    model: str
    stream: bool | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Part(msgspec.Struct):
    """One part of a message's content."""

    type: str
    text: str | None = None


class Turn(msgspec.Struct):
    """One message of the conversation."""

    role: str
    content: str | list[Part] | None = None


class NamedSchema(msgspec.Struct):
    schema: dict[str, Any] | None = None


class ResponseFormat(msgspec.Struct):
    type: str
    json_schema: NamedSchema | None = None


class ChatRequest(msgspec.Struct):
    """A request that an owned model can answer."""

    model: str
    messages: list[Turn]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    logprobs: bool | None = None
    response_format: ResponseFormat | None = None
    tools: list[dict[str, Any]] | None = None

    def turns(self) -> tuple[Message, ...]:
        """The conversation as plain text turns; a `GatewayError` names the message that an owned model cannot read."""
        if not self.messages:
            raise GatewayError(400, "messages is empty; send at least one", code="invalid_value", param="messages")
        return tuple(_message(at, turn) for at, turn in enumerate(self.messages))

    def bound(self) -> int | None:
        """The longest answer that the caller allows, in tokens."""
        wanted = self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens
        if wanted is not None and wanted < 1:
            raise GatewayError(
                400, f"max_tokens is {wanted}; it must be at least 1", code="invalid_value", param="max_tokens"
            )
        return wanted

    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class Reply(msgspec.Struct, frozen=True):
    """An owned model's whole answer. `machine_s` is its share of the time that its machine worked, in seconds.

    `confidence` (0..1, uncalibrated) is there where a cascade asks for it.
    """

    text: str
    finish_reason: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    machine_s: float = 0.0
    confidence: float | None = None


class Piece(msgspec.Struct, frozen=True):
    """A piece of a streamed answer; the last one carries the reason and the counts, with no text left out."""

    text: str
    last: Reply | None = None


def new_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"


def usage(reply: Reply) -> dict[str, Any]:
    return {
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": reply.input_tokens + reply.output_tokens,
        "prompt_tokens_details": {"cached_tokens": reply.cached_tokens},
    }


def completion(model: str, fingerprint: str, reply: Reply) -> dict[str, Any]:
    """The answer to a request that is not streamed."""
    message = {"role": "assistant", "content": reply.text, "refusal": None}
    return {
        "id": new_id(),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": fingerprint,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason}],
        "usage": usage(reply),
    }


class Chunks:
    """The events of one streamed answer, each a whole `data:` line."""

    def __init__(self, model: str, fingerprint: str) -> None:
        self._head = {
            "id": new_id(),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": fingerprint,
        }

    def opening(self) -> bytes:
        return self._event({"role": "assistant", "content": ""}, None)

    def text(self, text: str) -> bytes:
        return self._event({"content": text}, None)

    def closing(self, reply: Reply) -> tuple[bytes, ...]:
        """The reason, the counts, and the end."""
        counts = event({**self._head, "choices": [], "usage": usage(reply)})
        return self._event({}, reply.finish_reason), counts, DONE

    def _event(self, delta: dict[str, str], finish_reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return event({**self._head, "choices": [choice]})


DONE = b"data: [DONE]\n\n"


def event(value: Any) -> bytes:  # noqa: ANN401 (any JSON-able value)
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


def _message(at: int, turn: Turn) -> Message:
    role = _ROLES.get(turn.role)
    if role is None:
        raise GatewayError(
            400,
            f"messages[{at}].role is {turn.role!r}; an owned model reads system, developer, user and assistant",
            code="unsupported_value",
            param=f"messages[{at}].role",
        )
    if isinstance(turn.content, list):
        return Message(role=role, content="".join(_text(at, part) for part in turn.content))
    return Message(role=role, content=turn.content or "")


def _text(at: int, part: Part) -> str:
    if part.type != "text" or part.text is None:
        raise GatewayError(
            400,
            f"messages[{at}].content holds a part of type {part.type!r}; an owned model reads text",
            code="unsupported_value",
            param=f"messages[{at}].content",
        )
    return part.text
