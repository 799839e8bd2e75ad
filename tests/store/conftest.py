"""Stores to test on: SQLite always; PostgreSQL where its server is installed, one for the session on a Unix socket."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.store.database import Store, connect

_NO_SERVER = "no PostgreSQL server is installed (apt-get install postgresql)"


def _programs() -> Path | None:
    """The folder of initdb and pg_ctl, which Debian keeps off the PATH."""
    on_path = shutil.which("initdb")
    found = [Path(on_path)] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def _as_owner(*command: str | Path) -> None:
    """Run as anybody but root, whom PostgreSQL refuses."""
    words = [str(word) for word in command]
    prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    subprocess.run([*prefix, *words], check=True, capture_output=True, cwd="/", timeout=120)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Path]:
    """The socket folder of a server of our own; skips where none can be had."""
    programs = _programs()
    if programs is None:
        pytest.skip(_NO_SERVER)
    folder = Path(tempfile.mkdtemp(prefix="freehold-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    data = folder / "data"
    _as_owner(programs / "initdb", "-D", data, "-U", "freehold", "-A", "trust", "-E", "UTF8", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
    _as_owner(programs / "pg_ctl", "-D", data, "-l", folder / "log", "-o", options, "-w", "start")
    yield folder
    _as_owner(programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    shutil.rmtree(folder)


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
