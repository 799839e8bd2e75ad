"""A workspace in one file, taken while it is served, and brought back with every digest checked.

The file is a tar: first the gateway's journal, then the store, then everything else, and `backup.json` last. In this
order an exchange that moves from the journal into the store meanwhile is in one or both, never in neither, and every
document that the store lists is there. Whatever store is in use, the backup holds it as SQLite.
"""

import hashlib
import io
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
from sqlalchemy import Connection, Table, insert, select, text

from freehold.errors import DataError, UserError
from freehold.progress import Progress, Step
from freehold.records import Record, canonical, digest
from freehold.store.database import Store, connect
from freehold.store.schema import metadata
from freehold.store.workspace import Workspace, atomic_file

STORE = "freehold.db"
_LAST = "backup.json"
_LISTED = "backups.jsonl"
_LEFT_OUT = ("logs", "locks", "gateway.json", _LISTED, STORE, f"{STORE}-wal", f"{STORE}-shm")
_BLOCK = 1 << 20
_ROWS = 1000


class BackupFile(Record, frozen=True, kw_only=True):
    """One file by its path in the workspace."""

    name: str
    sha256: str
    size: int


class Backup(Record, frozen=True, kw_only=True):
    """What a backup holds. `taken_at` is UTC in seconds since 1970; `models` says whether bases are in it."""

    freehold: str
    taken_at: int
    models: bool
    files: tuple[BackupFile, ...]

    @property
    def digest(self) -> str:
        return digest(self)


class Listed(Record, frozen=True, kw_only=True):
    """A backup that was taken of this workspace: where it was written, and its digest."""

    path: str
    digest: str
    taken_at: int


def backup(workspace: Workspace, target: Path, models: bool, progress: Progress) -> Backup:
    """Write a workspace into one file that appears whole or not at all; raises `UserError` where it exists already."""
    if not workspace.root.is_dir():
        raise UserError(f"{workspace.root}: there is no workspace here to back up")
    if target.exists():
        raise UserError(f"{target}: exists already; name another file")
    began = int(time.time())
    with (
        atomic_file(target) as handle,
        progress.step("backup") as step,
        tarfile.open(fileobj=handle, mode="w") as tar,
    ):
        files = tuple(_written(workspace, models, tar, step))
        made = Backup(freehold=version("freehold"), taken_at=began, models=models, files=files)
        _add(tar, _LAST, canonical(made))
    with (workspace.root / _LISTED).open("ab") as listed:
        entry = Listed(path=str(target.resolve()), digest=made.digest, taken_at=began)
        listed.write(msgspec.json.encode(entry) + b"\n")
        listed.flush()
        os.fsync(listed.fileno())
    return made


def listed(workspace: Workspace) -> list[Listed]:
    """Every backup that was taken of this workspace, oldest first."""
    path = workspace.root / _LISTED
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [msgspec.json.decode(line, type=Listed) for line in lines]


def restore(source: Path, workspace: Workspace, progress: Progress) -> Backup:
    """Bring a backup back into an empty place.

    Raises `DataError` where one byte of it differs from what was backed up; then nothing was changed.
    """
    if workspace.root.exists() and any(workspace.root.iterdir()):
        raise UserError(f"{workspace.root}: holds a workspace already; set FREEHOLD_HOME to an empty folder")
    if not source.is_file():
        raise DataError(f"{source}: no such backup")
    workspace.root.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=workspace.root.parent, prefix=".restoring-"))
    try:
        with progress.step("restore") as step:
            made = _checked(source, place, step)
        if not workspace.database_url.endswith(f"{workspace.root / STORE}"):
            _into(place / STORE, workspace.database_url)
        if workspace.root.exists():
            workspace.root.rmdir()
        place.rename(workspace.root)
        return made
    finally:
        shutil.rmtree(place, ignore_errors=True)


# -- taking one ------------------------------------------------------------------------------------------------------


def _written(workspace: Workspace, models: bool, tar: tarfile.TarFile, step: Step) -> Iterator[BackupFile]:
    """Copy everything into the tar, in the order that loses nothing."""
    for path in sorted(workspace.root.glob("journal/*")):
        yield from _copied(path, path.relative_to(workspace.root).as_posix(), tar, step)
    with tempfile.TemporaryDirectory(dir=workspace.root, prefix=".backup-") as folder:
        copy = Path(folder) / STORE
        _snapshot(workspace, copy)
        yield from _copied(copy, STORE, tar, step)
    for path in sorted(workspace.root.rglob("*")):
        name = path.relative_to(workspace.root)
        wanted = models or name.parts[0] != "models"
        temporary = any(part.startswith((".backup-", ".restoring-")) or part.endswith(".part") for part in name.parts)
        if wanted and not temporary and name.parts[0] not in ("journal", *_LEFT_OUT) and path.is_file():
            yield from _copied(path, name.as_posix(), tar, step)


def _copied(path: Path, name: str, tar: tarfile.TarFile, step: Step) -> Iterator[BackupFile]:
    """One file as long as it is now: what grows is only ever appended to. One that went meanwhile is left out."""
    try:
        handle = path.open("rb")
    except FileNotFoundError:
        return
    with handle:
        found = tarfile.TarInfo(name)
        found.size = os.fstat(handle.fileno()).st_size
        found.mode = 0o600
        hashed = _Hashed(handle)
        tar.addfile(found, cast(BinaryIO, hashed))
    step.advance(1, name)
    yield BackupFile(name=name, sha256=hashed.hexdigest(), size=found.size)


class _Hashed:
    """A file that is read once, and its SHA-256 on the way."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle, self._sum = handle, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._handle.read(size)
        self._sum.update(block)
        return block

    def hexdigest(self) -> str:
        return self._sum.hexdigest()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    found = tarfile.TarInfo(name)
    found.size, found.mode = len(content), 0o600
    tar.addfile(found, io.BytesIO(content))


def _snapshot(workspace: Workspace, target: Path) -> None:
    """The store at one moment, as SQLite: its own online backup, or PostgreSQL's rows in one transaction."""
    store = connect(workspace.database_url)
    try:
        if store.dialect.name == "sqlite":
            with closing(sqlite3.connect(str(store.url.database))) as live, closing(sqlite3.connect(target)) as copy:
                live.backup(copy)
        else:
            copied = connect(f"sqlite:///{target}")
            _copy_rows(store, copied)
            copied.dispose()
    finally:
        store.dispose()


def _copy_rows(source: Store, target: Store) -> None:
    """Every row of every table, read in one snapshot, written in one transaction."""
    isolation = "REPEATABLE READ" if source.dialect.name == "postgresql" else "SERIALIZABLE"
    with source.connect().execution_options(isolation_level=isolation) as reading, target.begin() as writing:
        for table in metadata.sorted_tables:
            found = reading.execution_options(yield_per=_ROWS).execute(select(table)).mappings()
            for rows in found.partitions(_ROWS):
                writing.execute(insert(table), [dict(row) for row in rows])
            _count_on(writing, table)


def _count_on(writing: Connection, table: Table) -> None:
    """PostgreSQL's counters do not see ids that were given: set each to go on after the last."""
    if writing.dialect.name == "postgresql" and table.autoincrement_column is not None:
        name, column = table.name, table.autoincrement_column.name
        counter = f"pg_get_serial_sequence('{name}', '{column}')"
        writing.execute(text(f"SELECT setval({counter}, coalesce(max({column}), 0) + 1, false) FROM {name}"))


# -- bringing one back -----------------------------------------------------------------------------------------------


def _checked(source: Path, place: Path, step: Step) -> Backup:
    """Unpack into a place, each file hashed on the way; raises `DataError` unless all are what was backed up."""
    found: dict[str, str] = {}
    made: Backup | None = None
    try:
        with tarfile.open(source, mode="r:") as tar:
            for member in tar:
                content = tar.extractfile(member)
                if content is None or not _inside(member.name):
                    raise DataError(f"{source}: holds {member.name!r}, which no backup holds")
                if member.name == _LAST:
                    made = msgspec.json.decode(content.read(), type=Backup)
                    continue
                found[member.name] = _unpacked(cast(BinaryIO, content), place / member.name)
                step.advance(1, member.name)
    except (tarfile.TarError, msgspec.MsgspecError, EOFError) as error:
        raise DataError(f"{source}: is no whole backup ({error}); take another") from None
    if made is None:
        raise DataError(f"{source}: is cut off; its list of files, which comes last, is missing")
    expected = {each.name: each.sha256 for each in made.files}
    wrong = next((name for name in expected | found if expected.get(name) != found.get(name)), None)
    if wrong is not None:
        raise DataError(f"{source}: {wrong} is not the file that was backed up; nothing was restored")
    return made


def _inside(name: str) -> bool:
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts


def _unpacked(content: BinaryIO, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    total = hashlib.sha256()
    with target.open("wb") as handle:
        os.chmod(target, 0o600)
        while block := content.read(_BLOCK):
            total.update(block)
            handle.write(block)
        handle.flush()
        os.fsync(handle.fileno())
    return total.hexdigest()


def _into(copy: Path, url: str) -> None:
    """Put the backed-up store's rows into the one in use, which must be empty."""
    source, target = connect(f"sqlite:///{copy}"), connect(url)
    try:
        with target.connect() as connection:
            held = next(
                (t.name for t in metadata.sorted_tables if connection.execute(select(t).limit(1)).first()), None
            )
        if held is not None:
            raise UserError(f"FREEHOLD_DATABASE: its table {held} holds rows already; restore into an empty database")
        _copy_rows(source, target)
    finally:
        source.dispose()
        target.dispose()
    for path in copy.parent.glob(f"{STORE}*"):
        path.unlink()
