"""A believable day of invented traffic, for a first look: `freehold demo --traffic`.

Nothing is sent anywhere. Each request is one that a company could have put to the fake upstream, answered as its job
would be; it is redacted, priced and recorded by the code that does so for real ones, at its hour of the last 24. All of
it carries the tag `demo=traffic`. The same seed gives the same requests.
"""

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from freehold.data.patterns import Patterns
from freehold.data.subject import Subjects
from freehold.errors import UserError
from freehold.gateway.call import Call, Caller, new_id
from freehold.gateway.demo_jobs import JOBS, Job, Told
from freehold.gateway.endpoints import CHAT, EMBEDDINGS
from freehold.gateway.prices import read as read_prices
from freehold.gateway.recorder import Making, Tried, entry_of
from freehold.gateway.recorder import Told as Ended
from freehold.gateway.sources import Failure
from freehold.gateway.tokens import Tokens
from freehold.store import exchanges
from freehold.store.database import Store
from freehold.store.exchanges import Entry, Feedback
from freehold.store.keys import Allowance, create, every
from freehold.store.workspace import Workspace

REQUESTS = 3000
TAG = ("demo", "traffic")
_UPSTREAM = "http://127.0.0.1:8401/v1"
_HOUR_US = 3_600_000_000
_INCIDENT_HOUR, _INCIDENT_US = 15, 15 * 60_000_000  # a quarter of an hour of the afternoon: the upstream fails
_BUDGETS = {"shop-floor": 5, "order-desk": 3, "customer-service": 20}
_PICO = 10**12


class Made(NamedTuple):
    """What was put into the store."""

    exchanges: int
    attempts: int
    failed: int
    said: int
    keys: tuple[str, ...]


class _Moment(NamedTuple):
    """When a request came, of which job, and in which conversation."""

    at: int
    job: Job
    session: str
    person: str


class _Day:
    """Draws the day's requests. Times are microseconds since 1970, UTC."""

    def __init__(self, now_us: int, seed: int) -> None:
        self._now = now_us
        day_us = 24 * _HOUR_US
        behind = (now_us - _INCIDENT_US - _INCIDENT_HOUR * _HOUR_US) % day_us
        self._incident = now_us - _INCIDENT_US - behind  # the newest that is over
        self.luck = random.Random(seed)

    def moments(self, requests: int) -> list[_Moment]:
        """Every request's moment, in order; a conversation's follow each other within minutes."""
        found: list[_Moment] = []
        for job in JOBS:
            wanted, made = round(requests * job.share), 0
            while made < wanted:
                session, person = f"{job.name}-{self.luck.getrandbits(32):08x}", f"person-{self.luck.randrange(300)}"
                at = self._hour(job)
                for _ in range(min(self.luck.randint(1, job.longest_session), wanted - made)):
                    found.append(_Moment(min(at, self._now), job, session, person))
                    at += self.luck.randrange(20, 240) * 1_000_000
                    made += 1
        return sorted(found, key=lambda each: each.at)

    def _hour(self, job: Job) -> int:
        """A moment of the last 24 hours, by the job's own rhythm."""
        starts = [self._now - (back + 1) * _HOUR_US for back in range(24)]
        weights = [job.by_hour[datetime.fromtimestamp(each / 1e6, UTC).hour] for each in starts]
        return self.luck.choices(starts, weights)[0] + self.luck.randrange(_HOUR_US)

    def fails(self, at: int) -> bool:
        """Whether the upstream fails an attempt at this moment."""
        broken = self._incident <= at < self._incident + _INCIDENT_US
        return self.luck.random() < (0.7 if broken else 0.006)


def make(workspace: Workspace, store: Store, requests: int = REQUESTS, seed: int = 0) -> Made:
    """Record a day of invented traffic; raises `UserError` where there is traffic already."""
    there = exchanges.count(store)
    if there:
        what = f"{workspace.root} holds {there:,} exchanges already, and invented ones do not go among them"
        raise UserError(f"{what}; name another folder with --folder")
    keys = _keys(store)
    day = _Day(time.time_ns() // 1000, seed)
    scribe = _Scribe(workspace, keys, day)
    entries: list[Entry] = []
    said: list[Feedback] = []
    for moment in day.moments(requests):
        told = moment.job.ask(day.luck)
        entry = scribe.entry(moment, told)
        entries.append(entry)
        said += _verdict(entry, told, day.luck)
    exchanges.record(store, entries)
    for each in said:
        exchanges.say(store, each)
    failed = sum(each.exchange.status >= 400 or not each.exchange.finished for each in entries)
    return Made(len(entries), sum(len(each.attempts) for each in entries), failed, len(said), tuple(sorted(_BUDGETS)))


def _keys(store: Store) -> dict[str, str]:
    """The company's keys, by name; nobody is told their secrets."""
    known = {key.name: key.id for key in every(store)}
    for name, dollars in _BUDGETS.items():
        if name not in known:
            known[name] = create(store, name, Allowance(budget=dollars * _PICO, period="day"))[0].id
    return known


class _Scribe:
    """Writes each request down as the gateway would have."""

    def __init__(self, workspace: Workspace, keys: dict[str, str], day: _Day) -> None:
        self._prices, self._people = read_prices(workspace.root), Subjects(workspace)
        self._patterns, self._keys, self._day = Patterns(workspace.root), keys, day

    def entry(self, moment: _Moment, told: Told) -> Entry:
        job, luck = moment.job, self._day.luck
        request = {"model": job.model, **told.request, **({"stream": True} if job.stream else {})}
        caller = Caller(session=moment.session, subject=moment.person, tags=dict([("task", job.name), TAG]))
        content = msgspec.json.encode(request)
        endpoint = EMBEDDINGS if job.endpoint == "embeddings" else CHAT
        call = Call(new_id(moment.at * 1000), endpoint, job.model, job.stream, content, caller)
        tried = self._attempts(moment, content, told.answer)
        ok = tried[-1].outcome == "ok"
        broken = ok and job.stream and luck.random() < 0.012
        if broken:
            tried[-1].outcome, tried[-1].tokens = (
                str(Failure.HUNG_UP),
                msgspec.structs.replace(tried[-1].tokens, estimated=True),
            )
        seconds = sum(each.seconds for each in tried) + 0.0012
        ended = Ended(
            status=499 if broken else 200 if ok else 502,
            finished=not broken,
            answer=_answer(job, told.answer, tried[-1].tokens) if ok else _failed(),
            answered_by=_UPSTREAM,
            started=-seconds,
            first_byte=tried[-1].seconds * 0.2 - seconds if job.stream and ok else None,
        )
        return entry_of(call, self._keys[job.key], ended, tried, Making(self._patterns(), self._people.pseudonym, 0.0))

    def _attempts(self, moment: _Moment, content: bytes, answer: str) -> list[Tried]:
        """One that answers, behind those that failed; after the second failure nobody tries again."""
        job, luck, at = moment.job, self._day.luck, moment.at
        tried: list[Tried] = []
        price = self._prices.of(job.model, at)
        for _ in range(2):
            if not self._day.fails(at):
                given, made = len(content) // 4, max(1, len(answer) // 4)
                cached = given // 2 if luck.random() < 0.5 and job.endpoint != "embeddings" else 0
                tokens = Tokens(input=given, cached=cached, output=made if answer else 0)
                seconds = luck.lognormvariate(0, 0.35) * job.seconds
                return [*tried, Tried(_UPSTREAM, job.model, at, "ok", tokens, seconds, price)]
            why = luck.choice((Failure.SERVER, Failure.SERVER, Failure.RATE_LIMIT, Failure.TIMEOUT))
            tried.append(Tried(_UPSTREAM, job.model, at, str(why), Tokens(), luck.uniform(0.05, 4), price))
            at += 1_000_000
        return tried


def _answer(job: Job, text: str, tokens: Tokens) -> bytes:
    usage = {"prompt_tokens": tokens.input, "completion_tokens": tokens.output}
    if job.endpoint == "embeddings":
        data: list[dict[str, Any]] = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2, 0.3]}]
        return msgspec.json.encode({"object": "list", "data": data, "model": job.model, "usage": usage})
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return msgspec.json.encode(
        {"id": "fake-1", "object": "chat.completion", "model": job.model, "choices": [choice], "usage": usage}
    )


def _failed() -> bytes:
    error = {"message": f"{_UPSTREAM} answered 503", "type": "server_error", "param": None, "code": "upstream_refused"}
    return msgspec.json.encode({"error": error})


def _verdict(entry: Entry, told: Told, luck: random.Random) -> Iterator[Feedback]:
    """What somebody said of an answer: of one in five, and oftener where it was wrong."""
    exchange = entry.exchange
    if exchange.status != 200 or told.answer == "":
        return
    wrong = told.right is not None and told.right != told.answer
    if luck.random() >= (0.5 if wrong else 0.2):
        return
    if wrong:
        yield Feedback(exchange=exchange.id, verdict="corrected", correction=told.right)
    elif told.right is None and luck.random() < 0.2:
        yield Feedback(exchange=exchange.id, verdict="rejected")
    else:
        yield Feedback(exchange=exchange.id, verdict="accepted")
