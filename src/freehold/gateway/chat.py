"""Chat completions in OpenAI's words: what is read from a request, and what an owned model's answer looks like.

Source of the shapes: OpenAI's API reference, *Chat Completions*. Only what an owned model needs is typed here;
a request that is passed on to an upstream is passed byte for byte.
"""

import time
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from freehold.gateway.faults import GatewayError
from freehold.gateway.tools import NamedChoice, Tool, ToolCall
from freehold.records import Message
from freehold.render import Called, ToolMessage

MOST_RIVALS = 20
MOST_ANSWERS = 128


ModelName = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Envelope(msgspec.Struct):
    """The little that routing needs to know of any request."""

    model: ModelName
    stream: bool | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Part(msgspec.Struct):
    """One part of a message's content."""

    type: str
    text: str | None = None


class _Call(msgspec.Struct):
    name: str
    arguments: str = "{}"


class CallTurn(msgspec.Struct):
    """A call that an earlier answer made."""

    function: _Call
    id: str = ""


class Turn(msgspec.Struct):
    """One message of the conversation."""

    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[CallTurn] | None = None
    tool_call_id: str | None = None


class NamedSchema(msgspec.Struct):
    schema: dict[str, Any] | None = None


class ResponseFormat(msgspec.Struct):
    type: str
    json_schema: NamedSchema | None = None


class Structured(msgspec.Struct):
    """vLLM's word for what an answer is held to: one of these."""

    json: dict[str, Any] | str | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None


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
    top_logprobs: int | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: Structured | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    tools: list[Tool] | None = None
    tool_choice: str | NamedChoice | None = None
    parallel_tool_calls: bool | None = None

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
        found = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        if "" in found:
            raise GatewayError(400, "stop holds an empty text", code="invalid_value", param="stop")
        return found

    def rivals(self) -> int | None:
        """How many rivals of each token are asked for; None without log-probabilities."""
        wanted = self.top_logprobs or 0
        if not 0 <= wanted <= MOST_RIVALS or (wanted and not self.logprobs):
            what = f"top_logprobs is {wanted}; it may be 0 to {MOST_RIVALS}, with logprobs true"
            raise GatewayError(400, what, code="invalid_value", param="top_logprobs")
        return wanted if self.logprobs else None

    def each(self) -> "list[ChatRequest]":
        """The request once for each of its `n` answers; with a seed, each has its own."""
        count = 1 if self.n is None else self.n
        if not 1 <= count <= MOST_ANSWERS:
            what = f"n is {count}; it may be 1 to {MOST_ANSWERS}"
            raise GatewayError(400, what, code="invalid_value", param="n")
        seeds = [None if self.seed is None else self.seed + at for at in range(count)]
        return [msgspec.structs.replace(self, n=1, seed=seed) for seed in seeds]


class TokenScore(msgspec.Struct, frozen=True):
    """A token's natural log-probability before any constraint, as OpenAI writes it: its text, and its bytes."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: "tuple[TokenScore, ...] | None" = None

    @property
    def document(self) -> dict[str, Any]:
        plain = {"token": self.token, "logprob": self.logprob, "bytes": self.bytes}
        return plain if self.top_logprobs is None else plain | {"top_logprobs": [t.document for t in self.top_logprobs]}


class Reply(msgspec.Struct, frozen=True):
    """An owned model's whole answer. `machine_s` is its share of the time that its machine worked, in seconds.

    `confidence` (0..1, uncalibrated) is there where a cascade asks for it, `scores` where log-probabilities are asked
    for. `finish_reason` is `stop`, `length` or `tool_calls`. `adapter` is the SHA-256 of the adapter file that the
    engine used.
    """

    text: str
    finish_reason: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    machine_s: float = 0.0
    confidence: float | None = None
    calls: tuple[ToolCall, ...] = ()
    scores: tuple[TokenScore, ...] | None = None
    adapter: str | None = None


class Piece(msgspec.Struct, frozen=True):
    """A piece of a streamed answer, each tool call whole; the last one carries the whole answer with its counts."""

    text: str
    last: Reply | None = None
    calls: tuple[ToolCall, ...] = ()
    scores: tuple[TokenScore, ...] | None = None
    adapter: str | None = None


def new_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"


def usage(*replies: Reply) -> dict[str, Any]:
    """The counts of all answers to one request: its prompt is counted once."""
    first, output = replies[0], sum(reply.output_tokens for reply in replies)
    return {
        "prompt_tokens": first.input_tokens,
        "completion_tokens": output,
        "total_tokens": first.input_tokens + output,
        "prompt_tokens_details": {"cached_tokens": first.cached_tokens},
    }


def completion(model: str, fingerprint: str, *replies: Reply) -> dict[str, Any]:
    """The answer to a request that is not streamed: one choice a reply."""
    return {
        "id": new_id(),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": fingerprint,
        "choices": [_choice(at, reply) for at, reply in enumerate(replies)],
        "usage": usage(*replies),
    }


def _choice(at: int, reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.calls:
        message |= {"content": reply.text or None, "tool_calls": [call.document for call in reply.calls]}
    return {
        "index": at,
        "message": message,
        "logprobs": _logprobs(reply.scores),
        "finish_reason": reply.finish_reason,
    }


def _logprobs(scores: Sequence[TokenScore] | None) -> dict[str, Any] | None:
    return None if scores is None else {"content": [score.document for score in scores], "refusal": None}


class Chunks:
    """The events of one streamed answer, each a whole `data:` line. `at` is the choice's place."""

    def __init__(self, model: str, fingerprint: str) -> None:
        self._calls: Counter[int] = Counter()
        self._head = {
            "id": new_id(),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": fingerprint,
        }

    def opening(self, at: int = 0) -> bytes:
        return self._event(at, {"role": "assistant", "content": ""})

    def piece(self, piece: Piece, at: int = 0) -> tuple[bytes, ...]:
        """What one piece says: its text with the scores, then its calls."""
        said = (self._event(at, {"content": piece.text}, piece.scores),) if piece.text or piece.scores else ()
        return (*said, *(self._call(at, call) for call in piece.calls))

    def ended(self, reply: Reply, at: int = 0) -> bytes:
        """One choice is whole."""
        return self._event(at, {}, finish_reason=reply.finish_reason)

    def closing(self, *replies: Reply) -> tuple[bytes, ...]:
        """The counts, and the end."""
        return event({**self._head, "choices": [], "usage": usage(*replies)}), DONE

    def _call(self, at: int, call: ToolCall) -> bytes:
        self._calls[at] += 1
        return self._event(at, {"tool_calls": [{"index": self._calls[at] - 1, **call.document}]})

    def _event(
        self,
        at: int,
        delta: dict[str, Any],
        scores: Sequence[TokenScore] | None = None,
        finish_reason: str | None = None,
    ) -> bytes:
        choice = {"index": at, "delta": delta, "logprobs": _logprobs(scores), "finish_reason": finish_reason}
        return event({**self._head, "choices": [choice]})


DONE = b"data: [DONE]\n\n"


def event(value: Any) -> bytes:  # noqa: ANN401 (any JSON-able value)
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


def _message(at: int, turn: Turn) -> Message:
    role = _ROLES.get(turn.role)
    if role is None:
        raise GatewayError(
            400,
            f"messages[{at}].role is {turn.role!r}; an owned model reads {', '.join(_ROLES)}",
            code="unsupported_value",
            param=f"messages[{at}].role",
        )
    content = turn.content or ""
    if isinstance(content, list):
        content = "".join(_text(at, part) for part in content)
    if role == "tool" or turn.tool_calls:
        calls = tuple(_called(at, call) for call in turn.tool_calls or ())
        return ToolMessage(role=role, content=content, calls=calls, call_id=turn.tool_call_id, name=turn.name)
    return Message(role=role, content=content)


def _called(at: int, call: CallTurn) -> Called:
    try:
        arguments = msgspec.json.decode(call.function.arguments or "{}", type=dict[str, Any])
    except msgspec.MsgspecError:
        where = f"messages[{at}].tool_calls"
        what = f"{where}: the arguments of {call.function.name} are no JSON object"
        raise GatewayError(400, what, code="invalid_value", param=where) from None
    return Called(id=call.id, name=call.function.name, arguments=arguments)


def _text(at: int, part: Part) -> str:
    if part.type != "text" or part.text is None:
        raise GatewayError(
            400,
            f"messages[{at}].content holds a part of type {part.type!r}; an owned model reads text",
            code="unsupported_value",
            param=f"messages[{at}].content",
        )
    return part.text
