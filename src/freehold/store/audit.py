"""What people changed: who, when, what, and in which words. Append-only."""

import time

from sqlalchemy import func, insert, select

from freehold.records import Record
from freehold.store.database import Store
from freehold.store.schema import audit


class Change(Record, frozen=True, kw_only=True):
    """One change. `at` is UTC in microseconds since 1970."""

    id: int
    at: int
    user: str
    action: str
    subject: str
    detail: str


def note(store: Store, user: str, action: str, subject: str, detail: str = "") -> None:
    """Write a change down."""
    row = {"at": time.time_ns() // 1000, "user": user, "action": action, "subject": subject[:256], "detail": detail}
    with store.begin() as connection:
        connection.execute(insert(audit).values(row))


def newest(store: Store, limit: int, offset: int = 0, subject: str | None = None) -> list[Change]:
    """Changes, newest first."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit).offset(offset)
    if subject is not None:
        query = query.where(audit.c.subject == subject)
    with store.connect() as connection:
        return [Change(**row) for row in connection.execute(query).mappings()]


def count(store: Store) -> int:
    """How many changes there were."""
    with store.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(audit)).scalar_one())
