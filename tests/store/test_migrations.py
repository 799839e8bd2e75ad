"""Migrations equal the schema; the oldest store upgrades whole; a newer one is refused; half a schema never stays."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, text

from freehold.errors import MissingPackageError, UserError
from freehold.store import migrations
from freehold.store.database import connect
from freehold.store.schema import metadata


def _script() -> ScriptDirectory:
    return ScriptDirectory.from_config(migrations.configuration())


def _at(url: str, revision: str) -> Engine:
    """A store as the Freehold of that revision left it."""
    engine = create_engine(url)
    config = migrations.configuration()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    return engine


def _tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def test_the_migrations_make_exactly_the_schema(store_url: str) -> None:
    engine = connect(store_url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_the_oldest_store_upgrades_with_its_rows(store_url: str) -> None:
    (oldest,) = _script().get_bases()
    engine = _at(store_url, oldest)
    stage = ("frontline", "data", "ab" * 32, "cd" * 32, 1_700_000_000_000_000, 0.5)
    deployed = (1, "خدمة 客服 🙂", '{"name":"x"}', "decision", 1_700_000_000_000_001)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO stages VALUES {stage!r}")
        connection.exec_driver_sql(f"INSERT INTO deployments VALUES {deployed!r}")
    engine.dispose()

    upgraded = connect(store_url)
    with upgraded.connect() as connection:
        assert [tuple(row) for row in connection.execute(text("SELECT * FROM stages"))] == [stage]
        assert [tuple(row) for row in connection.execute(text("SELECT * FROM deployments"))] == [deployed]
        assert MigrationContext.configure(connection).get_current_revision() == _script().get_current_head()
    upgraded.dispose()


def test_every_revision_upgrades(store_url: str) -> None:
    for revision in reversed(list(_script().walk_revisions())):
        _at(store_url, revision.revision).dispose()
    engine = connect(store_url)
    assert set(metadata.tables) <= _tables(engine)
    engine.dispose()


def test_a_newer_store_is_refused_and_left_alone(store_url: str) -> None:
    engine = connect(store_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(UserError, match="written by a newer Freehold; upgrade Freehold"):
        connect(store_url)
    engine = create_engine(store_url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == "9999"
    engine.dispose()


def _then_fails(folder: Path) -> Callable[[], Config]:
    """The migrations, and one after them that makes a table and then fails."""
    (folder / "v9999_fails.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        f"revision = '9999'\ndown_revision = '{_script().get_current_head()}'\n"
        "def upgrade():\n"
        "    op.create_table('half', sa.Column('id', sa.Integer, primary_key=True))\n"
        "    raise RuntimeError('killed')\n"
    )
    real = migrations.configuration

    def configuration() -> Config:
        config = real()
        config.set_main_option("version_locations", f"{config.get_main_option('version_locations')}:{folder}")
        return config

    return configuration


def test_a_migration_that_fails_leaves_nothing_behind(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "configuration", _then_fails(tmp_path))
        with pytest.raises(RuntimeError, match="killed"):
            connect(store_url)
    engine = create_engine(store_url)
    assert not _tables(engine)
    engine.dispose()
    connect(store_url).dispose()


def _open(url: str) -> str:
    engine = connect(url)
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    engine.dispose()
    return str(found)


def test_processes_that_open_a_new_store_at_once_all_get_it(store_url: str) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        assert set(pool.map(_open, [store_url] * 4)) == {_script().get_current_head()}


def test_another_database_is_refused() -> None:
    with pytest.raises(UserError, match="mysql is not supported; use sqlite or postgresql"):
        connect("mysql://somewhere/x")


def test_a_missing_driver_names_its_install_line() -> None:
    with pytest.raises(
        MissingPackageError, match=r"needs psycopg2; install it with: pip install 'freehold\[postgres\]'"
    ):
        connect("postgresql+psycopg2://somewhere/x")
