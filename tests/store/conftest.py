"""Stores to test on: SQLite always; PostgreSQL where its server is installed, one for the session on a Unix socket."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.store.database import Store, connect
from postgres_server import NO_SERVER, PostgresServer, programs


@pytest.fixture(scope="session")
def postgres() -> Iterator[Path]:
    """The socket folder of a server of our own; skips where none can be had."""
    found = programs()
    if found is None:
        pytest.skip(NO_SERVER)
    server = PostgresServer(found)
    server.start()
    yield server.folder
    server.stop()
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that does not exist yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'freehold.db'}"
    import psycopg

    folder: Path = request.getfixturevalue("postgres")
    with psycopg.connect(host=str(folder), user="freehold", dbname="postgres", autocommit=True) as connection:
        (number,) = connection.execute("SELECT count(*) FROM pg_database").fetchone() or (0,)
        connection.execute(f'CREATE DATABASE "store{number}"')
    return f"postgresql://freehold@/store{number}?host={folder}"


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """An open, empty store."""
    opened = connect(store_url)
    yield opened
    opened.dispose()
