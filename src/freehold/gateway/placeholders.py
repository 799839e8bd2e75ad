"""A model that learned on placeholders is asked with placeholders, and its answer is filled in again (invariant 2).

The values never leave this process: they are hidden before the model sees the text, and restored in what it answers.
"""

from collections.abc import AsyncIterator

from msgspec.structs import replace

from freehold.data.redact import Redaction
from freehold.gateway.chat import ChatRequest, Part, Piece, Reply, Turn
from freehold.gateway.owned import Respondent


class Placeholders:
    """Whatever answers, asked with placeholders."""

    def __init__(self, inner: Respondent) -> None:
        self._inner = inner
        self.fingerprint = inner.fingerprint

    async def answer(self, chat: ChatRequest) -> Reply:
        redaction = Redaction()
        reply = await self._inner.answer(_hidden(chat, redaction))
        return replace(reply, text=redaction.restore(reply.text))

    async def stream(self, chat: ChatRequest) -> AsyncIterator[Piece]:
        redaction = Redaction()
        restoring = redaction.restoring()
        async for piece in self._inner.stream(_hidden(chat, redaction)):
            text = restoring.feed(piece.text)
            if piece.last is not None:
                last = replace(piece.last, text=redaction.restore(piece.last.text))
                yield Piece(text + restoring.finish(), last)
            elif text:
                yield Piece(text)


def _hidden(chat: ChatRequest, redaction: Redaction) -> ChatRequest:
    return replace(chat, messages=[_turn(turn, redaction) for turn in chat.messages])


def _turn(turn: Turn, redaction: Redaction) -> Turn:
    if isinstance(turn.content, str):
        return replace(turn, content=redaction.hide(turn.content))
    if turn.content is None:
        return turn
    return replace(turn, content=[_part(part, redaction) for part in turn.content])


def _part(part: Part, redaction: Redaction) -> Part:
    return part if part.text is None else replace(part, text=redaction.hide(part.text))
