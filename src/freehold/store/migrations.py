"""Bringing a store to the newest schema, in order, one transaction a step (Alembic)."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from freehold.errors import UserError

_SCRIPTS = Path(__file__).parent


def upgrade(engine: Engine) -> None:
    """Apply the migrations that are missing; a store of a newer Freehold is refused."""
    config = _config()
    script = ScriptDirectory.from_config(config)
    with engine.begin() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        if current == script.get_current_head():
            return
        if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
            raise UserError("this workspace was written by a newer Freehold; upgrade Freehold to open it")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.set_main_option("path_separator", "os")
    config.set_main_option("version_locations", str(_SCRIPTS / "versions"))
    return config
