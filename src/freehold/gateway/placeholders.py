"""A model that learned on placeholders is asked with placeholders, and its answer is filled in again (invariant 2).

The values never leave this process: they are hidden before the model sees the text, and restored in what it answers.
"""

from collections.abc import AsyncIterator, Callable, Sequence

from msgspec.structs import replace

from freehold.data.redact import Redaction
from freehold.gateway.chat import CallTurn, ChatRequest, Part, Piece, Reply, Turn
from freehold.gateway.owned import Respondent
from freehold.gateway.tools import ToolCall


class Placeholders:
    """Whatever answers, asked with placeholders."""

    def __init__(self, inner: Respondent, patterns: Callable[[], Redaction] = Redaction) -> None:
        self._inner = inner
        self._patterns = patterns
        self.fingerprint = inner.fingerprint

    async def answer(self, chat: ChatRequest) -> Reply:
        redaction = self._patterns()
        reply = await self._inner.answer(_hidden(chat, redaction))
        return _restored(reply, redaction)

    async def stream(self, chat: ChatRequest) -> AsyncIterator[Piece]:
        redaction = self._patterns()
        restoring = redaction.restoring()
        async for piece in self._inner.stream(_hidden(chat, redaction)):
            text = restoring.feed(piece.text)
            calls = _calls(piece.calls, redaction)
            if piece.last is not None:
                last = _restored(piece.last, redaction)
                yield Piece(text + restoring.finish(), last, calls, piece.scores)
            elif text or calls or piece.scores:
                yield Piece(text, None, calls, piece.scores)


def _hidden(chat: ChatRequest, redaction: Redaction) -> ChatRequest:
    return replace(chat, messages=[_turn(turn, redaction) for turn in chat.messages])


def _turn(turn: Turn, redaction: Redaction) -> Turn:
    if turn.tool_calls:
        turn = replace(turn, tool_calls=[_call(call, redaction) for call in turn.tool_calls])
    if isinstance(turn.content, str):
        return replace(turn, content=redaction.hide(turn.content))
    if turn.content is None:
        return turn
    return replace(turn, content=[_part(part, redaction) for part in turn.content])


def _part(part: Part, redaction: Redaction) -> Part:
    return part if part.text is None else replace(part, text=redaction.hide(part.text))


def _call(call: CallTurn, redaction: Redaction) -> CallTurn:
    hidden = redaction.hide(call.function.arguments)
    return replace(call, function=replace(call.function, arguments=hidden))


def _restored(reply: Reply, redaction: Redaction) -> Reply:
    return replace(reply, text=redaction.restore(reply.text), calls=_calls(reply.calls, redaction))


def _calls(calls: Sequence[ToolCall], redaction: Redaction) -> tuple[ToolCall, ...]:
    return tuple(replace(call, arguments=redaction.restore(call.arguments)) for call in calls)
