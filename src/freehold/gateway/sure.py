"""An owned model that answers only what it is sure of; the other requests go on to the incumbent (`cascade.py`)."""

from collections.abc import AsyncIterator

from freehold.errors import FreeholdError
from freehold.gateway.chat import ChatRequest, Piece, Reply
from freehold.gateway.owned import Respondent
from freehold.store.deployments import Cascade


class UnsureError(FreeholdError):
    """The owned model is not sure enough of its answer; the request goes on to the incumbent."""

    http_status = 503

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply


class Sure:
    """An owned model that gives only the answers it is sure of; raises `UnsureError` on the others."""

    def __init__(self, inner: Respondent, cascade: Cascade) -> None:
        self._inner = inner
        self._cascade = cascade
        self.fingerprint = inner.fingerprint

    async def answer(self, chat: ChatRequest) -> Reply:
        reply = await self._inner.answer(chat)
        if reply.confidence is None or self._cascade.curve.at(reply.confidence) < self._cascade.threshold:
            raise UnsureError(reply)
        return reply

    async def stream(self, chat: ChatRequest) -> AsyncIterator[Piece]:
        """In one piece: only at its end is it known whether the answer may be given."""
        reply = await self.answer(chat)
        yield Piece(reply.text, None, reply.calls, reply.scores)
        yield Piece("", reply)
