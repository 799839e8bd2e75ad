"""Where an answer can come from, and the classes in which one can fail to come."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import msgspec

from freehold.errors import FreeholdError, ModelFileError, UserError
from freehold.gateway.body import typed
from freehold.gateway.call import Call
from freehold.gateway.chat import ChatRequest, Chunks, Reply, completion
from freehold.gateway.endpoints import CHAT
from freehold.gateway.faults import GatewayError, fault_of
from freehold.gateway.owned import Respondent
from freehold.gateway.several import gathered, merged
from freehold.gateway.sure import UnsureError
from freehold.gateway.tokens import Tokens
from freehold.store.traffic import UNSURE

Headers = list[tuple[bytes, bytes]]


class Failure(StrEnum):
    """Why an attempt failed. What may be tried again, and where, depends on it."""

    BAD_KEY = "bad_key"
    RATE_LIMIT = "rate_limit"
    SERVER = "server"
    TIMEOUT = "timeout"
    CONTEXT_LENGTH = "context_length"
    REQUEST = "request"
    HUNG_UP = "hung_up"
    UNSURE = UNSURE

    @property
    def passes(self) -> bool:
        """Whether the same target may answer a moment later."""
        return self in (Failure.RATE_LIMIT, Failure.SERVER, Failure.TIMEOUT)

    @property
    def elsewhere(self) -> bool:
        """Whether another target may answer."""
        return self not in (Failure.REQUEST, Failure.HUNG_UP)


@dataclass(slots=True)
class Whole:
    """A whole answer: its status, the headers that go on to the client, its content."""

    status: int
    content: bytes
    headers: Headers = field(default_factory=list)


class SourceError(GatewayError):
    """An attempt failed. `refusal` is the upstream's own answer, passed on as it is where nothing else answers.

    `tokens` are those that the attempt took all the same.
    """

    def __init__(
        self, failure: Failure, fault: GatewayError, refusal: Whole | None = None, tokens: Tokens | None = None
    ) -> None:
        super().__init__(
            fault.status, str(fault), code=fault.code, param=fault.param, retry_after_s=fault.retry_after_s
        )
        self.failure = failure
        self.refusal = refusal
        self.tokens = tokens or Tokens()

    def whole(self, path: str) -> Whole:
        """What the client is told: the upstream's own words where it had any, else ours."""
        if self.refusal is not None:
            return self.refusal
        headers = [(b"content-type", b"application/json")]
        if self.retry_after_s is not None:
            headers.append((b"retry-after", str(self.retry_after_s).encode()))
        return Whole(self.status, msgspec.json.encode(self.document(path)), headers)


class Source(Protocol):
    """Something that answers. Both methods raise `SourceError`; `open` only before or instead of its next event."""

    name: str

    async def fetch(self, call: Call) -> Whole:
        """The answer as a whole."""

    def open(self, call: Call) -> AsyncIterator[bytes]:
        """The answer as server-sent events, each whole."""


_CHAT = msgspec.json.Decoder(ChatRequest)


class OwnedSource:
    """An owned model, in OpenAI's words."""

    def __init__(self, name: str, respondent: Respondent) -> None:
        self.name = name
        self._respondent = respondent

    async def fetch(self, call: Call) -> Whole:
        try:
            replies = await gathered([self._respondent.answer(each) for each in self._read(call).each()])
        except UnsureError as error:
            raise _unsure(call, error.reply) from None
        except FreeholdError as error:
            raise failed(error) from None
        call.machine_s = sum(reply.machine_s for reply in replies)
        call.adapter = replies[0].adapter
        answer = completion(call.model, self._respondent.fingerprint, *replies)
        return Whole(200, msgspec.json.encode(answer))

    async def open(self, call: Call) -> AsyncIterator[bytes]:
        """Always with the counts: whoever passes the events on keeps them from a client that did not ask."""
        chunks = Chunks(call.model, self._respondent.fingerprint)
        replies: dict[int, Reply] = {}
        opened: set[int] = set()
        try:
            chats = self._read(call).each()
            async for at, piece in merged([self._respondent.stream(each) for each in chats]):
                call.adapter = call.adapter or piece.adapter
                if at not in opened:
                    opened.add(at)
                    yield chunks.opening(at)
                for event in chunks.piece(piece, at):
                    yield event
                if piece.last is not None:
                    replies[at] = piece.last
                    yield chunks.ended(piece.last, at)
        except UnsureError as error:
            raise _unsure(call, error.reply) from None
        except FreeholdError as error:
            raise failed(error) from None
        call.machine_s = sum(reply.machine_s for reply in replies.values())
        for event in chunks.closing(*(replies[at] for at in sorted(replies))):
            yield event

    def _read(self, call: Call) -> ChatRequest:
        if call.endpoint is not CHAT:
            what = (
                f"{call.model} is an owned model: it answers /v1/chat/completions, not /v1{call.endpoint.path}; and it "
                "cannot score a text (echo with logprobs): `freehold benchmark` does, in torch"
            )
            raise GatewayError(400, what, code="unsupported_endpoint", param="model")
        return typed(call.content, _CHAT)


def _unsure(call: Call, reply: Reply) -> SourceError:
    """An answer that is not given: its tokens and machine time were spent all the same."""
    call.machine_s, call.adapter = reply.machine_s, reply.adapter
    what = f"{call.model} is not sure enough of its answer, and the model behind it does not answer"
    fault = GatewayError(503, what, code="unsure")
    return SourceError(Failure.UNSURE, fault, tokens=_counted(reply))


def _counted(reply: Reply) -> Tokens:
    return Tokens(input=reply.input_tokens, cached=reply.cached_tokens, output=reply.output_tokens)


def failed(error: FreeholdError) -> SourceError:
    """One of our own errors as a failed attempt."""
    fault = fault_of(error)
    if fault.status >= 500:
        return SourceError(Failure.SERVER, fault)
    if isinstance(error, UserError) and "context holds" in str(error):
        longer = GatewayError(400, str(error), code="context_length_exceeded", param="messages")
        return SourceError(Failure.CONTEXT_LENGTH, longer)
    if isinstance(error, ModelFileError):  # nobody's request is at fault: another target may answer it
        return SourceError(Failure.SERVER, fault)
    return SourceError(Failure.REQUEST, fault)
