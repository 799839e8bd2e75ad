"""The store's connection: SQLite by default, PostgreSQL by URL, one schema on both.

SQLite runs in WAL mode with synchronous=FULL: a committed row survives `kill -9` and a power cut.
"""

import re
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, ExceptionContext, create_engine, event
from sqlalchemy.engine import make_url

from freehold.errors import MissingPackageError, ResourceError, UserError
from freehold.store.migrations import upgrade

_UNREACHABLE = re.compile(
    "connection (is bad|failed|refused)|could not connect|server closed|terminating connection|unable to open database",
    re.IGNORECASE,
)

Store = Engine  # what other rooms call an open store: only this room knows SQLAlchemy


def connect(url: str) -> Engine:
    """Open the store at its newest schema, making it where there is none."""
    parsed = make_url(url)
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise UserError(f"FREEHOLD_DATABASE: {parsed.get_backend_name()} is not supported; use sqlite or postgresql")
    if parsed.get_backend_name() == "sqlite" and parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    try:
        # An error must not repeat what was to be stored; old connections must not fail on a server that is new.
        engine = create_engine(parsed, hide_parameters=True, pool_pre_ping=parsed.get_backend_name() == "postgresql")
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"FREEHOLD_DATABASE: {parsed.get_backend_name()} needs {error.name}; "
            "install it with: pip install 'freehold[postgres]'"
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _durable)
    event.listen(engine, "handle_error", _translated)
    upgrade(engine)
    return engine


def _durable(connection: Any, _record: object) -> None:  # noqa: ANN401 (a DB-API connection)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=10000"):
        connection.execute(f"PRAGMA {pragma}")


def _translated(context: ExceptionContext) -> None:
    """What the user can mend, in one sentence: the one boundary where the database's errors become ours."""
    if context.is_pre_ping:  # a connection that is gone is made anew
        return
    said = str(context.original_exception)
    if "disk is full" in said or "No space left" in said:
        raise ResourceError("the disk that holds the store is full; free some space and run the same again")
    if "database is locked" in said:
        raise ResourceError("another process holds the store; wait for it or stop it, then run the same again")
    if "readonly database" in said:
        raise ResourceError("the store is read-only; make its folder writable or set FREEHOLD_HOME to one that is")
    if "cannot contain NUL" in said:
        raise UserError("a text holds a NUL character, which PostgreSQL cannot keep; leave it out")
    if "value too long for type" in said:
        raise UserError("a name is longer than the store keeps; shorten it")
    if context.is_disconnect or _UNREACHABLE.search(said):
        raise ResourceError("the store cannot be reached now; it must run, where FREEHOLD_DATABASE says that it does")
