"""One request's way through the gateway: who asks, what it may take, where it goes, what is kept, what comes back.

The order of the last two is invariant 4: the exchange is on disk before its client has the last byte. A stream's last
event is held back for that; a stream that breaks off ends with an error event, and never as a finished answer does
(invariant 6).
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from freehold.gateway import body
from freehold.gateway.cache import Caches
from freehold.gateway.call import Call, Caller, caller_of, new_id
from freehold.gateway.chat import Envelope
from freehold.gateway.check_pool import CheckPool
from freehold.gateway.endpoints import Endpoint
from freehold.gateway.faults import GatewayError
from freehold.gateway.guardrails import JUDGE_TOKENS, QUESTION_TOKENS, Look
from freehold.gateway.hangup import Hangup
from freehold.gateway.keyring import Keyring
from freehold.gateway.limits import Allowed, Limits, OwnLimits, Reservation
from freehold.gateway.machine import MachinePrice
from freehold.gateway.metrics import Metrics
from freehold.gateway.prices import Prices
from freehold.gateway.recorder import Recorder, Told, Tried, cost_of
from freehold.gateway.routes import Plan, Route, Routes
from freehold.gateway.rules import Rules
from freehold.gateway.shared import Tally
from freehold.gateway.sources import Failure, Headers, SourceError, Whole
from freehold.gateway.tokens import Tokens, Usage, counted, reported
from freehold.gateway.traces import Ended, Traces, Trail
from freehold.gateway.upstream import asks_usage

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_BACKOFF_S = 0.25
LONGEST_WAIT_S = 5.0
LONGEST_STREAM_BYTES = 64 * 1024 * 1024
SHADOWS_AT_ONCE = 8

_ENVELOPE = msgspec.json.Decoder(Envelope)


@dataclass(slots=True)
class Desk:
    """What every request needs."""

    routes: Routes
    keyring: Keyring
    recorder: Recorder
    prices: Prices
    machine: MachinePrice | None
    max_body: int
    store_failing: Callable[[], bool]
    checks: CheckPool
    caches: Caches = field(default_factory=Caches)
    limits: Limits = field(default_factory=OwnLimits)
    traces: Traces | None = None
    tally: Tally | None = None
    metrics: Metrics = field(default_factory=Metrics)
    shadows: set["asyncio.Task[None]"] = field(default_factory=set)
    under_way: int = 0  # requests that somebody waits for; the lines of batches are none

    @property
    def gauges(self) -> dict[str, float]:
        """What stands now, by its name at /metrics."""
        return {"freehold_cache_bytes": float(self.caches.size), "freehold_uncaptured": float(self.recorder.uncaptured)}

    def reprice(self, prices: Prices) -> None:
        """Take other prices from the next attempt on."""
        self.prices = prices


@dataclass(slots=True)
class Asking:
    """A request and who asks: `allowed` is the state of one of Freehold's own keys."""

    started: float
    caller: Caller
    allowed: Allowed | None = None
    content: bytes = b""


@dataclass(slots=True)
class Visit:
    """One request while it is under way."""

    call: Call
    plan: Plan
    allowed: Allowed | None
    held: Reservation | None
    started: float
    tried: list[Tried] = field(default_factory=list)
    route: Route | None = None
    begun: float = 0.0
    away_s: float = 0.0
    first_byte: float | None = None
    events: list[bytes] = field(default_factory=list)
    size: int = 0
    attempted: bool = False
    kept: bool = False
    looks: list[Look] = field(default_factory=list)
    status: int = 500
    trail: Trail | None = None
    span: str | None = None

    @property
    def answered_by(self) -> str:
        return self.route.source.name if self.route else ""


class Door:
    """The ASGI application of one endpoint."""

    def __init__(self, endpoint: Endpoint, desk: Desk) -> None:
        self._endpoint = endpoint
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asking = Asking(time.perf_counter(), caller_of(scope))
        asking.allowed = self._desk.keyring.whose(asking.caller.secret)
        asking.content = await body.read(scope, receive, self._desk.max_body)
        self._desk.under_way += 1
        try:
            await self.answer(asking, receive, send)
        finally:
            self._desk.under_way -= 1

    async def answer(self, asking: Asking, receive: Receive, send: Send) -> None:
        """Answer one request whose caller is known; a batch's lines come in here."""
        caller, allowed, started = asking.caller, asking.allowed, asking.started
        envelope = body.typed(asking.content, _ENVELOPE)
        call = Call(new_id(), self._endpoint, envelope.model, bool(envelope.stream), asking.content, caller)
        held = None
        if allowed is not None:
            caller.secret = None  # one of ours: no upstream ever sees it
            allowed.may_use(call.model)
        plan = self._desk.routes.plan(call)
        if allowed is not None:
            held = await self._reserve(allowed, call, plan)
        visit = Visit(call, plan, allowed, held, started)
        if self._desk.traces is not None:
            visit.trail = self._desk.traces.begin(call)
        door = self if plan.rules is None else self._ruled(plan.rules)
        try:
            async with Hangup(receive):
                await (door._stream(visit, send) if call.stream else door._plain(visit, send))
        except ClientDisconnect:
            if not visit.kept:  # what is kept was answered, whether or not anybody stayed to read it
                if not visit.attempted:
                    self._attempted(visit, Failure.HUNG_UP, self._guessed(visit))
                await self._keep(visit, 499, False, door._so_far(visit))
        finally:
            self._settle(visit)
            if self._desk.traces is not None and visit.trail is not None:
                key = allowed.key.name if allowed is not None else None
                self._desk.traces.end(visit.trail, Ended(call, visit.status, key, visit.tried))
        if plan.shadow is not None:
            self._cast_shadow(visit, plan.shadow)

    def _ruled(self, rules: Rules) -> "Door":
        """The way of a request whose deployment has guardrails or a cache."""
        from freehold.gateway.ruled import RuledDoor

        return RuledDoor(self._endpoint, self._desk, rules)

    async def _plain(self, visit: Visit, send: Send) -> None:
        try:
            whole = await self._first(visit, lambda route: route.source.fetch(visit.call))
        except SourceError as error:
            whole = error.whole(self._endpoint.path)
            await self._keep(visit, whole.status, True, whole.content)
            return await send_whole(send, whole, self._marks(visit))
        self._attempted(visit, None, reported(whole.content) or self._guessed(visit, len(whole.content)))
        await self._keep(visit, whole.status, True, whole.content)
        await send_whole(send, whole, self._marks(visit))

    async def _stream(self, visit: Visit, send: Send) -> None:
        try:
            first, events = await self._first(visit, lambda route: opened(route.source.open(visit.call)))
        except SourceError as error:
            whole = error.whole(self._endpoint.path)
            await self._keep(visit, whole.status, True, whole.content)
            return await send_whole(send, whole, self._marks(visit))
        visit.first_byte = time.perf_counter()
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"), *self._marks(visit)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            last = await self._pass_on(visit, first, events, send)
        except SourceError as error:
            self._attempted(visit, error.failure, self._guessed(visit))
            await self._keep(visit, 200, False, self._merged(visit))
            await send({"type": "http.response.body", "body": error.event(self._endpoint.path)})
            return
        finally:
            await events.aclose()
        merged = self._merged(visit)
        self._attempted(visit, None, streamed_tokens(merged) or self._guessed(visit))
        await self._keep(visit, 200, True, merged)
        await send({"type": "http.response.body", "body": last})

    async def _pass_on(self, visit: Visit, first: bytes, events: AsyncIterator[bytes], send: Send) -> bytes:
        """Everything but the last event, which is returned. Raises `SourceError` where there is none."""
        hides_usage = self._endpoint.asks_usage and not asks_usage(visit.call.content)
        each: bytes | None = first
        while each is not None:
            visit.events.append(each)
            visit.size += len(each)
            if visit.size > LONGEST_STREAM_BYTES:
                raise _broken("the answer does not end")
            if self._endpoint.is_last(each):
                return each
            if not (hides_usage and is_only_usage(each)):
                await send({"type": "http.response.body", "body": each, "more_body": True})
            each = await anext(events, None)
        raise _broken("the answer broke off before its end")

    async def _first(self, visit: Visit, ask: Callable[[Route], Awaitable[T]]) -> T:
        """The first target's answer that comes; raises the last `SourceError` where none does."""
        routes = visit.plan.routes
        rested = [route for route in routes if not route.breaker.is_open]
        if not rested:
            wait = max(1, round(min(route.breaker.rest_s for route in routes)))
            what = "every target of this model failed again and again; it is left alone for a moment"
            fault = GatewayError(503, what, code="circuit_open", retry_after_s=wait)
            raise SourceError(Failure.SERVER, fault)
        failure: SourceError | None = None
        for route in rested:
            for number in range(route.tries):
                if number and failure is not None:
                    await asyncio.sleep(_pause_s(number, failure))
                visit.route, visit.begun = route, time.perf_counter()
                visit.call.machine_s = visit.call.adapter = None
                route.breaker.begin()
                if visit.trail is not None:
                    visit.span = visit.trail.attempt(visit.call)
                try:
                    answer = await ask(route)
                except SourceError as error:
                    failure = error
                    self._attempted(visit, error.failure, error.tokens)
                    if not error.failure.passes:
                        break
                else:
                    return answer
            assert failure is not None
            if not failure.failure.elsewhere:
                break
        assert failure is not None
        raise failure

    def _attempted(self, visit: Visit, failure: Failure | None, tokens: Tokens) -> None:
        """Write the attempt down, and tell the target's breaker how it went."""
        route = visit.route
        if route is None:
            return
        seconds = time.perf_counter() - visit.begun
        visit.away_s += seconds
        if failure in (Failure.SERVER, Failure.TIMEOUT):
            route.breaker.failed()
        elif failure is Failure.HUNG_UP:
            route.breaker.left()
        else:
            route.breaker.succeeded()
        at = time.time_ns() // 1000
        model = route.priced_as or visit.call.model
        price = self._desk.prices.of(route.priced_as, at) if route.priced_as else None
        tried = Tried(route.source.name, model, at, str(failure or "ok"), tokens, seconds, price, span=visit.span)
        tried.adapter = visit.call.adapter
        if route.priced_as is None and self._desk.machine is not None:
            used = seconds if visit.call.machine_s is None else visit.call.machine_s
            tried.machine_cost, tried.machine_currency = self._desk.machine.cost(used), self._desk.machine.currency
        visit.tried.append(tried)

    def _guessed(self, visit: Visit, answered: int = 0) -> Tokens:
        """Counts where the target reported none: four bytes a token, and a token an event of a stream."""
        return Tokens(input=len(visit.call.content) // 4, output=answered // 4 + len(visit.events), estimated=True)

    def _so_far(self, visit: Visit) -> bytes | None:
        """What is kept of an answer whose client hung up."""
        return self._merged(visit)

    def _merged(self, visit: Visit) -> bytes | None:
        whole = self._endpoint.whole(visit.events)
        return msgspec.json.encode(whole) if whole is not None else None

    async def _keep(self, visit: Visit, status: int, finished: bool, answer: bytes | None) -> None:
        told = Told(status, finished, answer, visit.answered_by, visit.started, visit.first_byte, looks=visit.looks)
        key = visit.allowed.key.id if visit.allowed else None
        visit.kept, visit.status = True, status
        await self._desk.recorder.keep(visit.call, key, told, visit.tried)
        name = visit.call.model if visit.call.model in self._desk.routes.roster.served else "upstream"
        self._desk.metrics.request(self._endpoint.name, name, status, time.perf_counter() - visit.started)
        for tried in visit.tried:
            self._desk.metrics.attempt(name, tried.outcome, tried.tokens)

    def _marks(self, visit: Visit) -> Headers:
        """Our own headers: the exchange, how long the gateway itself took until now, and which owned model answered."""
        own_ms = (time.perf_counter() - visit.started - visit.away_s) * 1000
        if visit.first_byte is not None:
            own_ms = (visit.begun - visit.started) * 1000
        marks = [
            (b"x-freehold-exchange", visit.call.id.encode()),
            (b"x-freehold-overhead-ms", f"{own_ms:.2f}".encode()),
        ]
        if visit.route is not None and visit.route.priced_as is None:  # an owned model
            marks.append((b"x-freehold-answered-by", visit.answered_by.encode()))
        if visit.call.adapter is not None:
            marks.append((b"x-freehold-adapter", visit.call.adapter.encode()))
        return marks

    async def _reserve(self, allowed: Allowed, call: Call, plan: Plan) -> Reservation | None:
        """Hold what the request may take at most, by its size and the bound that it names."""
        at = time.time_ns() // 1000
        bound = _bound(call.content)
        most = Tokens(input=len(call.content), output=bound)  # no tokenizer makes more tokens than there are bytes
        cost = self._most(plan.routes, most, allowed, at)
        for judge in plan.judges.values():  # each reads the request or its answer, and says a word
            read = Tokens(input=max(len(call.content), bound) + QUESTION_TOKENS, output=JUDGE_TOKENS)
            each = self._most(judge, read, allowed, at)
            cost = None if each is None or cost is None else cost + each
        wanted = Reservation(tokens=len(call.content) // 4 + bound, most=cost)
        return await self._desk.limits.reserve(allowed, call.id, wanted, at)

    def _most(self, routes: list[Route], most: Tokens, allowed: Allowed, at: int) -> int | None:
        """The most that one answer of these targets can cost; None where no price is known."""
        cost = 0
        for route in routes:
            if route.priced_as is not None:
                price = self._desk.prices.of(route.priced_as, at)
                if price is None or price.currency != allowed.key.allowance.currency:
                    return None
                cost = max(cost, price.cost(most))
        return cost

    def _settle(self, visit: Visit) -> None:
        if visit.allowed is None or visit.held is None:
            return
        currency = visit.allowed.key.allowance.currency
        costs = [cost_of(tried) for tried in visit.tried]
        spent = sum(cost for cost, unit in costs if cost is not None and unit == currency)
        tokens = sum(tried.tokens.input + tried.tokens.output for tried in visit.tried)
        self._desk.limits.settle(visit.allowed, visit.call.id, visit.held, (tokens, spent))

    def _cast_shadow(self, visit: Visit, route: Route) -> None:
        """Ask the second target in the background; where too many are under way, this one is left out."""
        if len(self._desk.shadows) < SHADOWS_AT_ONCE:
            task = asyncio.create_task(self._shadow(visit, route))
            self._desk.shadows.add(task)
            task.add_done_callback(self._desk.shadows.discard)

    async def _shadow(self, visit: Visit, route: Route) -> None:
        call = replace(visit.call, id=new_id(), stream=False, content=_unstreamed(visit.call.content))
        beside = Visit(call, Plan([route]), visit.allowed, None, time.perf_counter())
        status, answer = 200, b""
        try:
            whole = await self._first(beside, lambda each: each.source.fetch(call))
            status, answer = whole.status, whole.content
            self._attempted(beside, None, reported(answer) or self._guessed(beside, len(answer)))
        except SourceError as error:
            status, answer = error.status, msgspec.json.encode(error.body)
        told = Told(status, status == 200, answer, beside.answered_by, beside.started, shadow_of=visit.call.id)
        await self._desk.recorder.keep(call, None, told, beside.tried)  # our own wish: on no caller's budget


async def opened(events: AsyncIterator[bytes]) -> tuple[bytes, Any]:
    """A stream with its first event: until that is there, another target can still answer."""
    first = await anext(events, None)
    if first is None:
        raise _broken("the answer ended before it began")
    return first, events


def _broken(what: str) -> SourceError:
    return SourceError(Failure.SERVER, GatewayError(502, what, code="upstream_failed"))


def _pause_s(number: int, failure: SourceError) -> float:
    """Before try `number` (from 1): doubling, half of it by chance; what the target asks for comes first."""
    wait: float = failure.retry_after_s or FIRST_BACKOFF_S * 2.0 ** (number - 1)
    return min(LONGEST_WAIT_S, wait) * random.uniform(0.5, 1.0)


class _Chunk(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None
    usage: Usage | None = None


class _Merged(msgspec.Struct):
    usage: Usage | None = None


class _Bounds(msgspec.Struct):
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    n: int | None = None


_CHUNK = msgspec.json.Decoder(_Chunk)
_MERGED = msgspec.json.Decoder(_Merged)
_BOUNDS = msgspec.json.Decoder(_Bounds)
_UNBOUND_TOKENS = 16_384
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def is_only_usage(each: bytes) -> bool:
    """The chunk that carries the counts and no choice."""
    if b'"usage"' not in each or not each.startswith(b"data:"):
        return False
    try:
        chunk = _CHUNK.decode(each[5:])
    except msgspec.MsgspecError:
        return False
    return not chunk.choices and chunk.usage is not None


def streamed_tokens(merged: bytes | None) -> Tokens | None:
    """What a stream's own counts say, once it is merged."""
    if merged is None:
        return None
    usage = _MERGED.decode(merged).usage
    return counted(usage) if usage is not None else None


def _bound(content: bytes) -> int:
    """The most tokens that a request lets an answer have."""
    try:
        bounds = _BOUNDS.decode(content)
    except msgspec.MsgspecError:
        return _UNBOUND_TOKENS
    named = bounds.max_completion_tokens or bounds.max_tokens or bounds.max_output_tokens or _UNBOUND_TOKENS
    return named * (bounds.n or 1)


def _unstreamed(content: bytes) -> bytes:
    fields = _FIELDS.decode(content)
    fields.pop("stream", None)
    fields.pop("stream_options", None)
    return msgspec.json.encode(fields)


async def send_whole(send: Send, whole: Whole, marks: Headers) -> None:
    """An answer that is in one piece, with our own headers."""
    headers = [*(whole.headers or [(b"content-type", b"application/json")]), *marks]
    headers.append((b"content-length", str(len(whole.content)).encode()))
    await send({"type": "http.response.start", "status": whole.status, "headers": headers})
    await send({"type": "http.response.body", "body": whole.content})
