"""Who is signed in. The cookie is kept as its SHA-256; a session ends after four hours unused, and after a day."""

import secrets
import time

from sqlalchemy import delete, insert, select, update

from freehold.records import Record
from freehold.store.database import Store
from freehold.store.keys import hashed
from freehold.store.schema import sessions, users
from freehold.store.users import Role

UNUSED_FOR_US = 4 * 3600 * 1_000_000
AT_MOST_US = 24 * 3600 * 1_000_000
_SEEN_EVERY_US = 60 * 1_000_000


class Session(Record, frozen=True, kw_only=True):
    """A signed-in user. `csrf` must come back with every change; `notice` is what the next page says."""

    sha256: str
    user: str
    role: Role
    csrf: str
    notice: str | None = None


def begin(store: Store, user: str) -> str:
    """Sign a user in; returns the cookie's value. What has ended long ago is swept out."""
    cookie, now = secrets.token_urlsafe(32), time.time_ns() // 1000
    row = {"sha256": hashed(cookie), "user": user, "csrf": secrets.token_urlsafe(24), "created_at": now, "seen_at": now}
    with store.begin() as connection:
        connection.execute(delete(sessions).where(sessions.c.created_at < now - AT_MOST_US))
        connection.execute(insert(sessions).values(row))
    return cookie


def find(store: Store, cookie: str) -> Session | None:
    """The living session of a cookie, or None."""
    now = time.time_ns() // 1000
    query = (
        select(sessions, users.c.role)
        .join(users, (users.c.name == sessions.c.user) & users.c.removed_at.is_(None))
        .where(sessions.c.sha256 == hashed(cookie))
        .where(sessions.c.seen_at > now - UNUSED_FOR_US, sessions.c.created_at > now - AT_MOST_US)
    )
    with store.connect() as connection:
        row = connection.execute(query).mappings().first()
    if row is None:
        return None
    if row["seen_at"] < now - _SEEN_EVERY_US:
        _set(store, row["sha256"], seen_at=now)
    return Session(
        sha256=row["sha256"], user=row["user"], role=Role(row["role"]), csrf=row["csrf"], notice=row["notice"]
    )


def end(store: Store, session: Session) -> None:
    """Sign out."""
    with store.begin() as connection:
        connection.execute(delete(sessions).where(sessions.c.sha256 == session.sha256))


def tell(store: Store, session: Session, notice: str | None) -> None:
    """What the next page says, once (None: it was said)."""
    _set(store, session.sha256, notice=notice)


def _set(store: Store, sha256: str, **values: object) -> None:
    with store.begin() as connection:
        connection.execute(update(sessions).where(sessions.c.sha256 == sha256).values(values))
