"""A workspace: the folder that holds everything Freehold knows. Deleting it deletes everything.

    .freehold/
      freehold.db       the store, unless FREEHOLD_DATABASE names another
      freehold.lock     which exact files each base was resolved to
      models/  datasets/  adapters/  reports/  decisions/  keys/  logs/
      files/            what batches read and answer, sealed
      goldens/          fingerprints of bases and adapters, by which an engine is told from another

Files are written atomically: to a neighbour first, fsynced, then renamed. Records are kept by digest.
"""

import fcntl
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from freehold.errors import NotFoundError, ResourceError
from freehold.records import R, canonical

FOLDER = ".freehold"
_SECRET_BYTES = 32


class Workspace:
    """Paths inside one workspace, made when first written to."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def beside(cls, task_file: Path) -> "Workspace":
        """The workspace of a task file: $FREEHOLD_HOME, else `.freehold/` in the file's folder."""
        home = os.environ.get("FREEHOLD_HOME")
        return cls(Path(home) if home else task_file.resolve().parent / FOLDER)

    @classmethod
    def here(cls) -> "Workspace":
        """The workspace of the current folder: $FREEHOLD_HOME, else the nearest `.freehold/` upwards, else here."""
        home = os.environ.get("FREEHOLD_HOME")
        if home:
            return cls(Path(home))
        folder = Path.cwd()
        found = next((each for each in (folder, *folder.parents) if (each / FOLDER).is_dir()), folder)
        return cls(found / FOLDER)

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def adapters(self) -> Path:
        return self.root / "adapters"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def benches(self) -> Path:
        return self.root / "bench"

    @property
    def goldens(self) -> Path:
        return self.root / "goldens"

    @property
    def files(self) -> Path:
        return self.root / "files"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def lock_file(self) -> Path:
        return self.root / "freehold.lock"

    @property
    def database_url(self) -> str:
        """SQLAlchemy's URL of the store: SQLite in the workspace unless $FREEHOLD_DATABASE names another."""
        return os.environ.get("FREEHOLD_DATABASE") or f"sqlite:///{self.root / 'freehold.db'}"

    def secret(self, name: str) -> bytes:
        """The workspace's own secret of that name, in `keys/`: 32 random bytes, drawn when it is first asked for."""
        path = self.root / "keys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_bytes()
        key = secrets.token_bytes(_SECRET_BYTES)
        with os.fdopen(handle, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        return key

    @contextmanager
    def exclusively(self, name: str) -> Iterator[None]:
        """Hold a lock that other processes respect; it goes when the process does, however it ends."""
        path = self.root / "locks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ResourceError(
                    f"another `freehold` is at work on {name} in {self.root}; wait for it or stop it"
                ) from None
            yield

    def at_work(self, name: str) -> bool:
        """Whether some process holds this lock now."""
        path = self.root / "locks" / name
        if not path.exists():
            return False
        with path.open("r") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears whole or not at all, on disk when the block ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(descriptor)
    try:
        with open(name, "wb") as handle:  # by name, so that a library that wants a path can write to `handle.name`
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno == 28:
            raise ResourceError(f"{path.parent}: the disk is full; free some space and run the same again") from None
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file, or nothing."""
    with atomic_file(path) as handle:
        handle.write(content)


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes; raises `OSError` where it cannot be read."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_record(path: Path, record: msgspec.Struct) -> None:
    """Keep a record as canonical JSON."""
    write_atomically(path, canonical(record))


def read_record(path: Path, kind: type[R]) -> R:
    """Read a record back; raises `NotFoundError` where there is none or the file is not one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no such record; `freehold status` lists what there is") from None
    except msgspec.MsgspecError as error:
        raise NotFoundError(f"{path}: is damaged ({error}); delete it and run `freehold run` again") from None
