"""Captured exchanges with what their attempts cost together and the last word that was said of them."""

from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy import case, func, select

from freehold.store.database import Store
from freehold.store.exchanges import Exchange, Feedback
from freehold.store.schema import exchanges, feedback, usage


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """All attempts of one exchange. `cost` is in pico-units; None where one has no price, or currencies differ."""

    attempts: int
    input_tokens: int
    output_tokens: int
    cost: int | None
    currency: str | None


def costed(store: Store) -> Iterator[tuple[Exchange, Spent, Feedback | None]]:
    """Every kept exchange that was answered and is nobody's shadow, oldest first, with the last word said of it."""
    spent, said = _spent(), _last_word()
    query = (
        select(exchanges, *(spent.c[name] for name in _SPENT), said.c.verdict, said.c.correction)
        .outerjoin(spent, spent.c.exchange == exchanges.c.id)
        .outerjoin(said, said.c.exchange == exchanges.c.id)
        .where(exchanges.c.finished, exchanges.c.status == 200)
        .where(exchanges.c.request.is_not(None), exchanges.c.shadow_of.is_(None))
        .order_by(exchanges.c.at, exchanges.c.id)
    )
    with store.connect().execution_options(yield_per=1000) as connection:
        for row in connection.execute(query).mappings():
            yield _read(dict(row))


_SPENT = ("attempts", "tokens_in", "tokens_out", "cost", "priced", "currency", "other_currency")


def _spent() -> Any:  # noqa: ANN401 (SQLAlchemy's subquery)
    return (
        select(
            usage.c.exchange,
            func.count().label("attempts"),
            func.sum(usage.c.input_tokens).label("tokens_in"),
            func.sum(usage.c.output_tokens).label("tokens_out"),
            func.sum(usage.c.cost).label("cost"),
            func.count(usage.c.cost).label("priced"),
            func.min(usage.c.currency).label("currency"),
            func.max(usage.c.currency).label("other_currency"),
        )
        .group_by(usage.c.exchange)
        .subquery()
    )


def _last_word() -> Any:  # noqa: ANN401
    last = select(func.max(feedback.c.id)).group_by(feedback.c.exchange)
    return (
        select(feedback.c.exchange, feedback.c.verdict, feedback.c.correction).where(feedback.c.id.in_(last)).subquery()
    )


def _read(fields: dict[str, Any]) -> tuple[Exchange, Spent, Feedback | None]:
    verdict, correction = fields.pop("verdict"), fields.pop("correction")
    found = {name: fields.pop(name) for name in _SPENT}
    attempts = int(found["attempts"] or 0)
    whole = attempts > 0 and found["priced"] == attempts and found["currency"] == found["other_currency"]
    spent = Spent(
        attempts=max(1, attempts),
        input_tokens=int(found["tokens_in"] or 0),
        output_tokens=int(found["tokens_out"] or 0),
        cost=int(found["cost"]) if whole else None,
        currency=found["currency"] if whole else None,
    )
    exchange = Exchange(**fields)
    said = Feedback(exchange=exchange.id, verdict=verdict, correction=correction) if verdict else None
    return exchange, spent, said


def shadowed(store: Store, model: str | None = None) -> Iterator[tuple[Exchange, Exchange, Feedback]]:
    """What was served, what its shadow answered, and the last word said of what was served, oldest first.

    Only pairs that both sides finished and that somebody judged.
    """
    shadow, said = exchanges.alias("shadow"), _last_word()
    query = (
        select(exchanges.c.id, shadow.c.id.label("shadow"), said.c.verdict, said.c.correction)
        .join(shadow, shadow.c.shadow_of == exchanges.c.id)
        .join(said, said.c.exchange == exchanges.c.id)
        .where(exchanges.c.finished, exchanges.c.status == 200, exchanges.c.answer.is_not(None))
        .where(shadow.c.finished, shadow.c.status == 200, shadow.c.answer.is_not(None))
        .order_by(exchanges.c.at, exchanges.c.id)
    )
    if model is not None:
        query = query.where(exchanges.c.model == model)
    with store.connect() as connection:
        for row in connection.execute(query).all():
            both = select(exchanges).where(exchanges.c.id.in_([row.id, row.shadow]))
            found = {each["id"]: Exchange(**each) for each in connection.execute(both).mappings()}
            said_of = Feedback(exchange=row.id, verdict=row.verdict, correction=row.correction)
            yield found[row.id], found[row.shadow], said_of


class Attempted(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt at a target for a public model name, with the verdict on the answer that came of it."""

    exchange: str
    target: str
    answered_by: str
    outcome: str
    seconds: float
    verdict: str | None


def attempted(store: Store, model: str, since: int) -> list[Attempted]:
    """Every attempt at a public model name's targets since then (microseconds since 1970), oldest first."""
    said = _last_word()
    query = (
        select(
            usage.c.exchange, usage.c.target, exchanges.c.answered_by, usage.c.outcome, usage.c.seconds, said.c.verdict
        )
        .join(exchanges, exchanges.c.id == usage.c.exchange)
        .outerjoin(said, said.c.exchange == exchanges.c.id)
        .where(exchanges.c.model == model, exchanges.c.shadow_of.is_(None), usage.c.at >= since)
        .order_by(usage.c.at, usage.c.exchange, usage.c.attempt)
    )
    with store.connect() as connection:
        return [Attempted(**row) for row in connection.execute(query).mappings()]


class Escalation(msgspec.Struct, frozen=True, kw_only=True):
    """A cascade at work: requests that its owned model was asked, and those of them that were passed on."""

    asked: int
    escalated: int


UNSURE = "unsure"  # the outcome of an attempt whose answer was not sure enough to be given


def escalation(store: Store, model: str, owned: str, since: int = 0) -> Escalation:
    """How often a public model name's `owned` target answered or passed on, since a time (microseconds since 1970)."""
    query = (
        select(func.count(func.distinct(usage.c.exchange)), usage.c.outcome == UNSURE)
        .join(exchanges, exchanges.c.id == usage.c.exchange)
        .where(exchanges.c.model == model, exchanges.c.shadow_of.is_(None), usage.c.target == owned)
        .where(usage.c.outcome.in_(["ok", UNSURE]), usage.c.at >= since)
        .group_by(usage.c.outcome == UNSURE)
    )
    with store.connect() as connection:
        found = {bool(unsure): int(number) for number, unsure in connection.execute(query).all()}
    return Escalation(asked=sum(found.values()), escalated=found.get(True, 0))


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of a public model name: how many failed, and how many of the answered ones were slow."""

    n: int
    failed: int
    slow: int


_HUNG_UP = 499


def service(store: Store, model: str, since: int, slow_ms: float | None = None) -> Service:
    """How a public model name served since a time (microseconds since 1970); who hung up is left out.

    A request failed where it was answered with a server's error or broke off.
    """
    failed = (exchanges.c.status >= 500) | ~exchanges.c.finished
    slow = ~failed & (exchanges.c.latency_ms > (float("inf") if slow_ms is None else slow_ms))
    query = (
        select(func.count(), func.sum(case((failed, 1), else_=0)), func.sum(case((slow, 1), else_=0)))
        .where(exchanges.c.model == model, exchanges.c.at >= since, exchanges.c.shadow_of.is_(None))
        .where(exchanges.c.status != _HUNG_UP)
    )
    with store.connect() as connection:
        n, failures, slows = connection.execute(query).one()
    return Service(n=int(n), failed=int(failures or 0), slow=int(slows or 0))
