"""Bringing a store to the newest schema, in order (Alembic): all that is missing in one transaction, or nothing.

Whoever opens an old store first changes it; others that open it at the same moment wait, and then find it done.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from freehold.errors import UserError

_SCRIPTS = Path(__file__).parent
_LOCK = 0x66726565686F6C64  # "freehold", for PostgreSQL's advisory lock


def upgrade(engine: Engine) -> None:
    """Apply the migrations that are missing; a store of a newer Freehold is refused."""
    config = configuration()
    script = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        if _revision(connection) == script.get_current_head():
            return
    with engine.begin() as connection:
        _alone(connection)
        current = _revision(connection)
        if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
            raise UserError("this workspace was written by a newer Freehold; upgrade Freehold to open it")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def configuration() -> Config:
    """Where Alembic finds the migrations."""
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", str(_SCRIPTS / "versions"))
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _alone(connection: Connection) -> None:
    """Keep other processes from changing the schema until this transaction ends.

    Python's sqlite3 begins a transaction only before a change of rows, so that without this every table would be made
    on its own, and a process that is killed half-way would leave half a schema.
    """
    if connection.dialect.name == "sqlite":
        connection.execute(text("BEGIN IMMEDIATE"))
    else:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
