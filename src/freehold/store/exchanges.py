"""What was asked and answered, and what each attempt cost: append-only, one row an exchange, one row an attempt.

A row that is there already is left alone, so the same journal can be read back any number of times.
"""

import json
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from sqlalchemy import Table, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from freehold.errors import NotFoundError, UserError
from freehold.store import search
from freehold.store.database import Store
from freehold.store.schema import exchanges, feedback, usage

_PSEUDONYM = re.compile("[0-9a-f]{64}")
_CHUNK = 500
VERDICTS = ("accepted", "rejected", "corrected")


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request and its answer. `request` and `answer` are JSON texts, redacted; None where the caller opted out.

    `answered_by` names the deployment, or the upstream's address. `finished` is False where the answer broke off.
    `at` is UTC in microseconds since 1970. `subject` is a pseudonym (`data/subject.py`). `shadow_of` names the exchange
    that this one was asked beside. `guardrails` is a JSON list of what each guardrail found, and how long it took.
    """

    id: str
    at: int
    endpoint: str
    model: str
    answered_by: str
    key: str | None = None
    session: str | None = None
    subject: str | None = None
    tags: str = "{}"
    stream: bool = False
    status: int = 200
    finished: bool = True
    request: str | None = None
    answer: str | None = None
    redactions: int = 0
    latency_ms: float = 0.0
    first_byte_ms: float | None = None
    shadow_of: str | None = None
    guardrails: str | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at a target. `cost` is in pico-units (10⁻¹²) of `currency`; None where no price is known.

    `estimated` marks counts that the target did not report. `seconds` is the target's own time. `adapter` is the
    SHA-256 of the adapter file that an engine here used.
    """

    exchange: str
    attempt: int
    at: int
    model: str
    target: str
    key: str | None = None
    tags: str = "{}"
    outcome: str = "ok"
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost: int | None = None
    currency: str | None = None
    estimated: bool = False
    seconds: float = 0.0
    adapter: str | None = None


class Entry(msgspec.Struct, frozen=True):
    """What one request leaves: its exchange, and its attempts."""

    exchange: Exchange
    attempts: tuple[Attempt, ...]


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody said of an answer; `correction` is the answer that would have been right."""

    exchange: str
    verdict: Annotated[str, msgspec.Meta(extra_json_schema={"enum": VERDICTS})]
    correction: str | None = None


def record(store: Store, entries: Sequence[Entry]) -> None:
    """Keep these, in one transaction."""
    if not entries:
        return
    attempts = [attempt for entry in entries for attempt in entry.attempts]
    with store.begin() as connection:
        connection.execute(_insert_new(store, exchanges), [_row(entry.exchange) for entry in entries])
        if attempts:
            connection.execute(_insert_new(store, usage), [_row(attempt) for attempt in attempts])


def listed(store: Store, limit: int, model: str | None = None) -> list[Exchange]:
    """The newest exchanges, newest first."""
    query = select(exchanges).order_by(exchanges.c.at.desc(), exchanges.c.id.desc()).limit(limit)
    if model is not None:
        query = query.where(exchanges.c.model == model)
    with store.connect() as connection:
        return [Exchange(**row) for row in connection.execute(query).mappings()]


def count(store: Store, model: str | None = None) -> int:
    """How many exchanges there are."""
    query = select(func.count()).select_from(exchanges)
    if model is not None:
        query = query.where(exchanges.c.model == model)
    with store.connect() as connection:
        return int(connection.execute(query).scalar_one())


def found(store: Store, exchange: str) -> tuple[Exchange, list[Attempt], list[Feedback]]:
    """One exchange with its attempts and what was said of it; raises `NotFoundError`."""
    with store.connect() as connection:
        row = connection.execute(select(exchanges).where(exchanges.c.id == exchange)).mappings().first()
        if row is None:
            raise NotFoundError(f"there is no exchange {exchange}; `freehold exchanges` lists them")
        attempts = connection.execute(select(usage).where(usage.c.exchange == exchange).order_by(usage.c.attempt))
        said = connection.execute(_said().where(feedback.c.exchange == exchange).order_by(feedback.c.id))
        return (
            Exchange(**row),
            [Attempt(**each) for each in attempts.mappings()],
            [Feedback(**f) for f in said.mappings()],
        )


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which exchanges are asked for; what is left out does not matter.

    `task` is a tag `task=` or the public name that was asked. Times are UTC in microseconds since 1970, `until` not
    included. `verdict` is the last word said: one of `VERDICTS`, or `none`.
    """

    models: tuple[str, ...] = ()
    task: str | None = None
    tags: dict[str, str] = {}
    since: int | None = None
    until: int | None = None
    verdict: str | None = None

    def wants_tags(self, exchange: Exchange) -> bool:
        """What SQL is not asked: tags are kept as one text."""
        tags = tags_of(exchange.tags)
        of_task = self.task is None or tags.get("task", exchange.model) == self.task
        return of_task and all(tags.get(name) == value for name, value in self.tags.items())


def captured(store: Store, wanted: Query) -> Iterator[tuple[Exchange, Feedback | None]]:
    """Every finished exchange asked for that was answered well, oldest first, with the last word said of it."""
    last = select(func.max(feedback.c.id)).group_by(feedback.c.exchange)
    newest = _said().where(feedback.c.id.in_(last)).subquery()
    query = (
        select(exchanges, newest.c.verdict, newest.c.correction)
        .outerjoin(newest, newest.c.exchange == exchanges.c.id)
        .where(exchanges.c.finished, exchanges.c.status == 200)
        .where(exchanges.c.request.is_not(None), exchanges.c.shadow_of.is_(None))
        .order_by(exchanges.c.at, exchanges.c.id)
    )
    if wanted.models:
        query = query.where(exchanges.c.model.in_(wanted.models))
    if wanted.since is not None:
        query = query.where(exchanges.c.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(exchanges.c.at < wanted.until)
    if wanted.verdict is not None:
        query = query.where(newest.c.verdict == (None if wanted.verdict == "none" else wanted.verdict))
    with store.connect().execution_options(yield_per=1000) as connection:
        for row in connection.execute(query).mappings():
            fields = dict(row)
            verdict, correction = fields.pop("verdict"), fields.pop("correction")
            exchange = Exchange(**fields)
            if wanted.wants_tags(exchange):
                said = Feedback(exchange=exchange.id, verdict=verdict, correction=correction) if verdict else None
                yield exchange, said


def say(store: Store, said: Feedback) -> None:
    """Keep a verdict; raises where it is none of `VERDICTS`, or the exchange is not there."""
    if said.verdict not in VERDICTS:
        raise UserError(f"verdict is {said.verdict!r}; it may be {', '.join(VERDICTS)}")
    if (said.verdict == "corrected") != (said.correction is not None):
        raise UserError("a correction comes with the verdict corrected, and only with it")
    with store.begin() as connection:
        known = connection.execute(select(exchanges.c.id).where(exchanges.c.id == said.exchange)).first()
        if known is None:
            raise NotFoundError(f"there is no exchange {said.exchange}; `freehold exchanges` lists them")
        connection.execute(insert(feedback).values(**_row(said), at=time.time_ns() // 1000))


def of_subjects(store: Store, subjects: Collection[str]) -> list[str]:
    """The exchanges that carry one of these subjects, and still hold what was said or whose it was."""
    query = select(exchanges.c.id).where(exchanges.c.subject.in_(list(subjects))).order_by(exchanges.c.id)
    with store.connect() as connection:
        return list(connection.execute(query).scalars())


def raw_subjects(store: Store) -> list[str]:
    """The subjects that are no pseudonyms: 64 hexadecimal digits."""
    query = select(exchanges.c.subject).where(exchanges.c.subject.is_not(None)).distinct()
    with store.connect() as connection:
        return [each for each in connection.execute(query).scalars() if not _PSEUDONYM.fullmatch(each)]


def rename_subjects(store: Store, names: Mapping[str, str]) -> int:
    """Give the exchanges of these subjects another name; returns how many there were."""
    with store.begin() as connection:
        changes = [
            connection.execute(update(exchanges).where(exchanges.c.subject == old).values(subject=new))
            for old, new in names.items()
        ]
    return sum(change.rowcount for change in changes)


def older_than(store: Store, before: int) -> list[str]:
    """The exchanges from before this time (microseconds since 1970) that still hold what was said or whose it was."""
    held = exchanges.c.request.is_not(None) | exchanges.c.answer.is_not(None) | exchanges.c.subject.is_not(None)
    query = select(exchanges.c.id).where(exchanges.c.at < before, held).order_by(exchanges.c.id)
    with store.connect() as connection:
        return list(connection.execute(query).scalars())


def erase(store: Store, ids: Sequence[str]) -> None:
    """Take what was said out of exchanges, corrections too, and whose it was; the rows stay, and so does the bill.

    SQLite overwrites what is freed and empties its log, so that the words are not left in the file.
    """
    empty = {"request": None, "answer": None, "subject": None, "session": None, "guardrails": None}
    with store.connect() as connection:
        lite = store.dialect.name == "sqlite"
        if lite:
            connection.exec_driver_sql("PRAGMA secure_delete=ON")
        for start in range(0, len(ids), _CHUNK):
            some = list(ids[start : start + _CHUNK])
            search.remove(connection, some)
            connection.execute(update(exchanges).where(exchanges.c.id.in_(some)).values(empty))
            connection.execute(update(feedback).where(feedback.c.exchange.in_(some)).values(correction=None))
        connection.commit()
        if lite:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def tags_of(text: str) -> dict[str, str]:
    """Tags as they were sent."""
    tags: dict[str, str] = json.loads(text)
    return tags


def _said() -> Any:  # noqa: ANN401 (SQLAlchemy's select of three columns)
    return select(feedback.c.exchange, feedback.c.verdict, feedback.c.correction)


def _row(record: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def _insert_new(store: Store, table: Table) -> Any:  # noqa: ANN401 (either dialect's insert)
    dialect = sqlite if store.dialect.name == "sqlite" else postgresql
    return dialect.insert(table).on_conflict_do_nothing()
