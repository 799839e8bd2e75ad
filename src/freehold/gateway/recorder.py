"""What a request leaves behind: its exchange, redacted, and one priced row an attempt; on disk before `keep` returns.

The policy for a disk that takes nothing is `refuse` (no answer without a record) or `serve-uncaptured` (loudly).
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
from msgspec.structs import replace

from freehold.errors import ResourceError
from freehold.gateway.call import Call
from freehold.gateway.guardrails import Look
from freehold.gateway.journal import Journal
from freehold.gateway.keeper import encode
from freehold.gateway.person import anonymous
from freehold.gateway.prices import Price
from freehold.gateway.tokens import Tokens
from freehold.store.exchanges import Attempt, Entry, Exchange, Feedback

log = logging.getLogger(__name__)

Policy = Literal["refuse", "serve-uncaptured"]


class Hiding(Protocol):
    """Takes what is personal or secret out of the texts of one exchange, the same placeholder for the same value."""

    counts: Counter[str]

    def hide(self, text: str) -> str: ...


class NoRedaction:
    """Keeps texts as they are."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def hide(self, text: str) -> str:
        return text


@dataclass(slots=True)
class Tried:
    """One attempt at a target, and how it went. `price` is a target's own (a deployment names it), else the list's."""

    target: str
    model: str
    at: int
    outcome: str
    tokens: Tokens
    seconds: float
    price: Price | None
    machine_cost: int | None = None
    machine_currency: str | None = None
    span: str | None = None
    adapter: str | None = None


@dataclass(slots=True)
class Told:
    """How a request ended, as its client saw it. `answer` is the content, or the merged stream.

    `looks` is what guardrails found.
    """

    status: int
    finished: bool
    answer: bytes | None
    answered_by: str
    started: float
    first_byte: float | None = None
    shadow_of: str | None = None
    looks: Sequence[Look] = ()


class Recorder:
    """Writes entries. `redaction` makes a fresh one for each exchange, `pseudonym` stands for a person's id.

    `line` writes a line of the log, where there is one a request.
    """

    def __init__(
        self,
        journal: Journal,
        policy: Policy,
        redaction: Callable[[], Hiding],
        pseudonym: Callable[[str], str],
        line: Callable[[Entry], None] | None = None,
    ) -> None:
        self._line = line
        self._journal = journal
        self._policy = policy
        self._redaction = redaction
        self._pseudonym = pseudonym
        self.uncaptured = 0

    async def keep(self, call: Call, key: str | None, told: Told, tried: list[Tried]) -> None:
        """Returns when it is on disk; raises `ResourceError` where the policy is to refuse."""
        entry = entry_of(call, key, told, tried, Making(self._redaction(), self._pseudonym, time.perf_counter()))
        if self._line is not None:
            self._line(entry)
        try:
            await self._journal.append(encode(entry))
        except ResourceError:
            if self._policy == "refuse":
                raise
            self.uncaptured += 1
            log.error("exchange %s was answered and NOT recorded: the disk takes nothing", call.id)

    def would_hide(self, answer: bytes) -> bool:
        """Whether redaction finds something to hide in an answer."""
        redaction = self._redaction()
        _redacted(answer, redaction)
        return redaction.counts.total() > 0

    def redact_feedback(self, said: Feedback) -> Feedback:
        """A correction is text like any other."""
        if said.correction is None:
            return said
        return replace(said, correction=self._redaction().hide(said.correction))


class Making(NamedTuple):
    """What an entry is made with: a fresh redaction, who stands for a person, and when it ended (`perf_counter`)."""

    redaction: Hiding
    pseudonym: Callable[[str], str]
    ended: float


def entry_of(call: Call, key: str | None, told: Told, tried: Sequence[Tried], making: Making) -> Entry:
    """An exchange as it is kept, and one priced row an attempt."""
    caller, redaction = call.caller, making.redaction
    tags = msgspec.json.encode(caller.tags).decode() if caller.tags else "{}"
    content, person = anonymous(call.content, making.pseudonym)
    if caller.subject is not None:
        person = making.pseudonym(caller.subject)
    request = _redacted(content, redaction) if caller.keep else None
    answer = _redacted(told.answer, redaction) if caller.keep and told.answer is not None else None
    exchange = Exchange(
        id=call.id,
        at=tried[0].at if tried else time.time_ns() // 1000,
        endpoint=call.endpoint.name,
        model=call.model,
        answered_by=told.answered_by,
        key=key,
        session=caller.session,
        subject=person,
        tags=tags,
        stream=call.stream,
        status=told.status,
        finished=told.finished,
        request=request,
        answer=answer,
        redactions=redaction.counts.total(),
        latency_ms=(making.ended - told.started) * 1000,
        first_byte_ms=(told.first_byte - told.started) * 1000 if told.first_byte else None,
        shadow_of=told.shadow_of,
        guardrails=redaction.hide(msgspec.json.encode(told.looks).decode()) if told.looks else None,
    )
    return Entry(exchange, tuple(_row(call, key, tags, at, each) for at, each in enumerate(tried, 1)))


def cost_of(tried: Tried) -> tuple[int | None, str | None]:
    """Pico-units and their currency; None where no price is known."""
    if tried.machine_cost is not None:
        return tried.machine_cost, tried.machine_currency
    if tried.price is None:
        return None, None
    return tried.price.cost(tried.tokens), tried.price.currency


def _row(call: Call, key: str | None, tags: str, number: int, tried: Tried) -> Attempt:
    cost, currency = cost_of(tried)
    return Attempt(
        exchange=call.id,
        attempt=number,
        at=tried.at,
        model=tried.model,
        target=tried.target,
        key=key,
        tags=tags,
        outcome=tried.outcome,
        input_tokens=tried.tokens.input,
        cached_tokens=tried.tokens.cached,
        output_tokens=tried.tokens.output,
        reasoning_tokens=tried.tokens.reasoning,
        cost=cost,
        currency=currency,
        estimated=tried.tokens.estimated,
        seconds=tried.seconds,
        adapter=tried.adapter,
    )


# Names, not texts: what an exchange is found and read by.
_NAMES = frozenset(
    ("model", "id", "object", "role", "type", "finish_reason", "system_fingerprint", "tool_call_id", "service_tier")
)
_WORDLESS = frozenset((int, float, bool, type(None)))


def _redacted(content: bytes, redaction: Hiding) -> str:
    if isinstance(redaction, NoRedaction):
        return _text(content)
    try:
        document = msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return redaction.hide(_text(content))
    return msgspec.json.encode(_walk(document, redaction)).decode()


def _text(content: bytes) -> str:
    """As a text that every store keeps: NUL, which no JSON holds as it is, is none that PostgreSQL does."""
    return content.decode(errors="replace").replace("\0", "\ufffd")


def _walk(value: Any, redaction: Hiding) -> Any:  # noqa: ANN401 (any JSON value)
    """Numbers and the like are passed over where they stand: an embedding has thousands."""
    if isinstance(value, str):
        return redaction.hide(value)
    if isinstance(value, dict):
        return {
            name: each if name in _NAMES or type(each) in _WORDLESS else _walk(each, redaction)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [each if type(each) in _WORDLESS else _walk(each, redaction) for each in value]
    return value
