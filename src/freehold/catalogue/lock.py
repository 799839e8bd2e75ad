"""`freehold.lock`: which file of which source, by digest, each base was resolved to in this workspace."""

from pathlib import Path
from typing import Literal

import msgspec

from freehold.catalogue.model import HubSource, LocalSource, WheelSource
from freehold.errors import ModelFileError
from freehold.records import Record
from freehold.store.workspace import write_atomically


class LockedFile(Record, frozen=True, kw_only=True):
    """One file of a base, and the source that gave it."""

    name: str
    sha256: str
    size: int
    source: WheelSource | HubSource | LocalSource


class Lock(Record, frozen=True, kw_only=True):
    version: Literal[1] = 1
    bases: dict[str, tuple[LockedFile, ...]] = msgspec.field(default_factory=dict)


def read(path: Path) -> Lock:
    """The lock of a workspace; empty where there is none yet."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Lock)
    except FileNotFoundError:
        return Lock()
    except msgspec.MsgspecError as error:
        raise ModelFileError(f"{path}: is damaged ({error}); delete it, and `freehold pull` writes it anew") from None


def record(path: Path, name: str, files: tuple[LockedFile, ...]) -> None:
    """Note what a base was resolved to."""
    bases = {**read(path).bases, name: files}
    text = msgspec.json.format(msgspec.json.encode(Lock(bases=bases), order="sorted"), indent=2)
    write_atomically(path, text + b"\n")
