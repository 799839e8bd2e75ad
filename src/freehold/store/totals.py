"""What was used, by UTC day, key, model and currency: always the sum of the rows, and quickly.

Days are added up in the background into `usage_days`, as far as a cursor has come; what came since is added up from
its rows when it is asked for. Both together are the bill (invariant 3), however far behind the cursor is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Integer, Select, case, cast, func, literal, select, text
from sqlalchemy.dialects import sqlite

from freehold.store import cursors
from freehold.store.database import Store
from freehold.store.schema import usage, usage_days

CURSOR = "usage"
_US_A_DAY = 86_400_000_000
_NAMED = ("day", "key", "model", "currency")


@dataclass(frozen=True, slots=True)
class Total:
    """One day's use of one model under one key. `day` counts days since 1970; `cost` is in pico-units of `currency`.

    `requests` are exchanges whose first attempt this was, `failed` attempts that gave no answer, `unpriced` attempts
    without a known price (their currency is empty), `estimated` attempts whose tokens nobody reported.
    """

    day: int
    key: str
    model: str
    currency: str
    requests: int
    attempts: int
    failed: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: int
    unpriced: int
    estimated: int


def advance(store: Store, most: int = 5_000) -> int:
    """Add up to so many further rows to their days; returns how many were read."""
    if not cursors.counts_rows(store):
        return 0
    with store.connect() as connection:
        connection.execute(text("BEGIN IMMEDIATE"))
        at = cursors.position(connection, CURSOR, usage, "exchange")
        if at == 0:
            connection.execute(usage_days.delete())
        last = _last(connection, at, most)
        if last is None:
            return 0
        new = _summed().where(at < cursors.ROW, last[0] >= cursors.ROW).subquery()
        add = sqlite.insert(usage_days).from_select(
            [each.name for each in usage_days.c], select(new).where(literal(True))
        )
        counts = {each.name: each + add.excluded[each.name] for each in usage_days.c if each.name not in _NAMED}
        connection.execute(add.on_conflict_do_update(index_elements=list(_NAMED), set_=counts))
        cursors.move(connection, CURSOR, *last)
        connection.commit()
        return last[0] - at


def days(store: Store, since_day: int = 0, key: str | None = None) -> list[Total]:
    """Every total since a day (counted since 1970), of one key or of all, oldest first."""
    with store.connect() as connection:
        found: dict[tuple[Any, ...], Total] = {}
        since_us = since_day * _US_A_DAY
        if cursors.counts_rows(store):
            at = cursors.position(connection, CURSOR, usage, "exchange")
            kept = select(usage_days).where(usage_days.c.day >= since_day, literal(at > 0))
            rest = _summed().where(at < cursors.ROW, usage.c.at >= since_us)
            asked = [_of_key(kept, usage_days.c.key, key), _of_key(rest, usage.c.key, key)]
        else:
            asked = [_of_key(_summed().where(usage.c.at >= since_us), usage.c.key, key)]
        for query in asked:
            _gather(found, (Total(**row) for row in connection.execute(query).mappings()))
    return sorted(found.values(), key=lambda each: (each.day, each.key, each.model, each.currency))


def _of_key(query: Select[Any], column: Any, key: str | None) -> Select[Any]:  # noqa: ANN401 (a column)
    return query if key is None else query.where(column == key)


def _gather(found: dict[tuple[Any, ...], Total], more: Iterable[Total]) -> None:
    for each in more:
        name = (each.day, each.key, each.model, each.currency)
        there = found.get(name)
        found[name] = each if there is None else added(there, each)


def added(one: Total, other: Total) -> Total:
    """Two totals as one, under the names of the first."""
    counts = [getattr(one, each) + getattr(other, each) for each in Total.__slots__ if each not in _NAMED]
    return Total(one.day, one.key, one.model, one.currency, *counts)


def _last(connection: Connection, at: int, most: int) -> tuple[int, str] | None:
    """The last of the next rows, and its exchange."""
    next_rows = select(cursors.ROW.label("number")).select_from(usage).where(at < cursors.ROW).order_by(cursors.ROW)
    last = connection.execute(select(func.max(next_rows.limit(most).subquery().c.number))).scalar()
    if last is None:
        return None
    return int(last), str(connection.execute(select(usage.c.exchange).where(last == cursors.ROW)).scalar_one())


def _summed() -> Select[Any]:
    day = ((usage.c.at - usage.c.at % _US_A_DAY) / _US_A_DAY).label("day")
    names = [
        cast(day, Integer).label("day"),
        func.coalesce(usage.c.key, "").label("key"),
        usage.c.model,
        func.coalesce(usage.c.currency, "").label("currency"),
    ]
    counts = [
        func.sum(case((usage.c.attempt == 1, 1), else_=0)).label("requests"),
        func.count().label("attempts"),
        func.sum(case((usage.c.outcome == "ok", 0), else_=1)).label("failed"),
        func.sum(usage.c.input_tokens).label("input_tokens"),
        func.sum(usage.c.cached_tokens).label("cached_tokens"),
        func.sum(usage.c.output_tokens).label("output_tokens"),
        func.sum(usage.c.reasoning_tokens).label("reasoning_tokens"),
        func.coalesce(func.sum(usage.c.cost), 0).label("cost"),
        func.sum(case((usage.c.cost.is_(None), 1), else_=0)).label("unpriced"),
        func.sum(cast(usage.c.estimated, Integer)).label("estimated"),
    ]
    return select(*names, *counts).select_from(usage).group_by(text("1"), text("2"), usage.c.model, text("4"))
