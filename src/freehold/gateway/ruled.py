"""One request's way where its deployment has guardrails or a cache: what is checked, kept in memory, and held back.

    guardrails before → the cache, else the targets → guardrails after → the record → the client

A stream waits for its end where a guardrail after the model may block or redact it; then it goes out in one go. Where
one only flags, the stream goes on as it comes, and is looked at before its last event. A hit in the cache is an
exchange of its own, whose one attempt costs nothing.
"""

import time
from typing import Any

import msgspec
from starlette.types import Send

from freehold.gateway import restream
from freehold.gateway.cache import Cache, Kept, is_settled, key_of
from freehold.gateway.call import Call, Caller
from freehold.gateway.check_pool import CheckFailedError
from freehold.gateway.door import Desk, Door, Visit, is_only_usage, opened, send_whole, streamed_tokens
from freehold.gateway.endpoints import CHAT, Endpoint
from freehold.gateway.faults import GatewayError
from freehold.gateway.guardrails import JUDGE_TOKENS, Guards
from freehold.gateway.recorder import Tried
from freehold.gateway.rules import Rules
from freehold.gateway.sources import Failure, Headers, SourceError, Whole
from freehold.gateway.tokens import Tokens, reported
from freehold.gateway.upstream import asks_usage

CACHE = "cache"
GUARDRAIL = "guardrail"


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Judged(msgspec.Struct):
    choices: list[_Choice]


_JUDGED = msgspec.json.Decoder(_Judged)


class RuledDoor(Door):
    """The way of one request; made for it."""

    def __init__(self, endpoint: Endpoint, desk: Desk, rules: Rules) -> None:
        super().__init__(endpoint, desk)
        self._rules = rules
        self._cache: Cache | None = None
        self._key = b""
        self._found: Kept | None = None
        self._looked = False

    async def _plain(self, visit: Visit, send: Send) -> None:
        try:
            await self._before(visit)
            whole = self._recalled(visit) or await self._asked(visit)
            content = await self._after(visit, whole.content)
        except GatewayError as error:
            return await self._refuse(visit, error, send)
        await self._keep(visit, whole.status, True, content)
        self._remember(visit, whole.content, ())
        await send_whole(send, Whole(whole.status, content, whole.headers), self._marks(visit))

    async def _stream(self, visit: Visit, send: Send) -> None:
        try:
            await self._before(visit)
            self._recall(visit)
            if self._found is None and not self._rules.holds:
                return await self._streamed(visit, send)
            await self._held(visit)
            merged = self._merged(visit) or b"{}"
            content = await self._after(visit, merged)
        except GatewayError as error:
            return await self._refuse(visit, error, send)
        events = visit.events if content == merged else restream.events(self._endpoint, msgspec.json.decode(content))
        marks = self._marks(visit)
        visit.first_byte = time.perf_counter()
        await self._keep(visit, 200, True, content)
        self._remember(visit, merged, tuple(visit.events))
        await self._send_all(visit, events, marks, send)

    async def _streamed(self, visit: Visit, send: Send) -> None:
        """As it comes; `_keep` looks at the whole of it before the last event goes out."""
        await super()._stream(visit, send)
        if visit.attempted and visit.tried[-1].outcome == "ok":
            self._remember(visit, self._merged(visit) or b"", tuple(visit.events))

    async def _keep(self, visit: Visit, status: int, finished: bool, answer: bytes | None) -> None:
        if finished and status == 200 and not self._looked and answer is not None:
            await self._after(visit, answer)
        await super()._keep(visit, status, finished, answer)

    async def _send_all(self, visit: Visit, events: list[bytes], marks: Headers, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"), *marks]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        hides_usage = self._endpoint.asks_usage and not asks_usage(visit.call.content)
        shown = [each for each in events if not (hides_usage and is_only_usage(each))]
        for each in shown[:-1]:
            await send({"type": "http.response.body", "body": each, "more_body": True})
        await send({"type": "http.response.body", "body": shown[-1]})

    async def _asked(self, visit: Visit) -> Whole:
        """The first target's whole answer, its attempt written down."""
        whole = await self._first(visit, lambda route: route.source.fetch(visit.call))
        self._attempted(visit, None, reported(whole.content) or self._guessed(visit, len(whole.content)))
        return whole

    async def _held(self, visit: Visit) -> None:
        """Every event of the answer, in `visit.events`: the cache's, or the first target's."""
        if self._found is not None:
            visit.events = list(self._found.events)
            return
        first, events = await self._first(visit, lambda route: opened(route.source.open(visit.call)))
        try:
            await self._pass_on(visit, first, events, _nowhere)
        except SourceError as error:
            self._attempted(visit, error.failure, self._guessed(visit))
            raise
        finally:
            await events.aclose()
        self._attempted(visit, None, streamed_tokens(self._merged(visit)) or self._guessed(visit))

    def _so_far(self, visit: Visit) -> bytes | None:
        """Nothing of an answer that was held back: no guardrail has seen it."""
        return None if self._rules.holds else super()._so_far(visit)

    def _attempted(self, visit: Visit, failure: Failure | None, tokens: Tokens) -> None:
        super()._attempted(visit, failure, tokens)
        visit.attempted = failure is None or visit.attempted

    async def _refuse(self, visit: Visit, error: GatewayError, send: Send) -> None:
        if not visit.attempted:
            visit.plan.shadow = None  # what never reached a model is not asked beside it either
        refusal = (
            error.whole(self._endpoint.path) if isinstance(error, SourceError) else _refusal(error, self._endpoint)
        )
        await self._keep(visit, refusal.status, True, refusal.content)
        await send_whole(send, refusal, self._marks(visit))

    # Guardrails

    async def _before(self, visit: Visit) -> None:
        if self._rules.before:
            visit.call.content = await self._guards(visit).before(self._rules.before, visit.call.content)

    async def _after(self, visit: Visit, answer: bytes) -> bytes:
        self._looked = True
        return await self._guards(visit).after(self._rules.after, answer) if self._rules.after else answer

    def _guards(self, visit: Visit) -> Guards:
        async def ask(model: str, messages: list[dict[str, str]]) -> str:
            return await self._judge(visit, model, messages)

        return Guards(self._rules.deployment.name, self._desk.checks, ask, self._desk.metrics, visit.looks)

    async def _judge(self, visit: Visit, model: str, messages: list[dict[str, str]]) -> str:
        """What the model of a guardrail says. Each attempt is a row of this exchange, on its caller's bill."""
        asked = {"model": model, "messages": messages, "max_tokens": JUDGE_TOKENS, "temperature": 0}
        call = Call(visit.call.id, CHAT, model, False, msgspec.json.encode(asked), Caller())
        failure: GatewayError | None = None
        for route in visit.plan.judges.get(model, ()):
            if route.breaker.is_open:
                continue
            beside = Visit(call, visit.plan, None, None, visit.started, route=route, begun=time.perf_counter())
            route.breaker.begin()
            try:
                whole = await route.source.fetch(call)
            except SourceError as error:
                failure = error
                super()._attempted(beside, error.failure, error.tokens)
                visit.tried += beside.tried
                continue
            except BaseException:
                super()._attempted(beside, Failure.HUNG_UP, Tokens(input=len(call.content) // 4, estimated=True))
                visit.tried += beside.tried
                raise
            super()._attempted(beside, None, reported(whole.content) or self._guessed(beside, len(whole.content)))
            beside.tried[-1].outcome = GUARDRAIL
            visit.tried += beside.tried
            return "".join(each.message.content or "" for each in _JUDGED.decode(whole.content).choices)
        raise CheckFailedError(f"{model} does not answer" + (f": {failure.code}" if failure is not None else ""))

    # The cache

    def _recalled(self, visit: Visit) -> Whole | None:
        """The answer to an equal request that was not streamed."""
        found = self._recall(visit)
        return Whole(200, found.content) if found is not None else None

    def _recall(self, visit: Visit) -> Kept | None:
        rule, call = self._rules.cache, visit.call
        if rule is None:
            return None
        first = visit.plan.routes[0].source
        if call.caller.keep and (rule.sampled or is_settled(call, visit.plan.routes[0].priced_as is None)):
            whose = "" if rule.shared else visit.allowed.key.id if visit.allowed else f"caller {call.caller.secret}"
            self._cache = self._desk.caches.of(self._rules.deployment)
            self._key = key_of(call, whose, first.name)
            self._found = self._cache.get(self._key)
        self._desk.metrics.cache(self._rules.deployment.name, "miss" if self._found is None else "hit")
        if self._found is not None:
            self._answer_again(visit, self._found)
        return self._found

    def _answer_again(self, visit: Visit, found: Kept) -> None:
        """One attempt that costs nothing, and no shadow: there is nothing new to compare."""
        at = time.time_ns() // 1000
        tried = Tried(CACHE, visit.call.model, at, CACHE, Tokens(), 0.0, None, 0, found.currency)
        tried.adapter = visit.call.adapter = found.adapter
        visit.tried.append(tried)
        visit.plan.shadow = None
        visit.attempted = True
        visit.route = next((each for each in visit.plan.routes if each.source.name == found.answered_by), None)

    def _remember(self, visit: Visit, content: bytes, events: tuple[bytes, ...]) -> None:
        """Keep an answer that came whole, from where it was first asked, and holds nothing that is to be hidden."""
        if self._cache is None or self._found is not None:
            return
        answers = [each for each in visit.tried if each.outcome != GUARDRAIL]
        if any(each.outcome not in ("ok", Failure.UNSURE) for each in answers):
            return
        if self._desk.recorder.would_hide(content):
            return
        currency = answers[-1].price.currency if answers[-1].price else answers[-1].machine_currency
        self._cache.put(self._key, Kept(content, events, visit.answered_by, currency, visit.call.adapter))

    def _marks(self, visit: Visit) -> Headers:
        marks = super()._marks(visit)
        if self._rules.cache is not None:
            marks.append((b"x-freehold-cache", b"miss" if self._found is None else b"hit"))
        return marks


async def _nowhere(message: Any) -> None:  # noqa: ANN401 (an ASGI message)
    """A send for what is held back."""


def _refusal(error: GatewayError, endpoint: Endpoint) -> Whole:
    headers = [(b"content-type", b"application/json")]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    return Whole(error.status, msgspec.json.encode(error.document(endpoint.path)), headers)
