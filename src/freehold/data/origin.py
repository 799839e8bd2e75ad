"""Where a task's rows come from: files, or what the gateway captured; each read, named and digested alike."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from freehold.data import files
from freehold.data.captured import SOURCE, captured
from freehold.records import canonical
from freehold.spec import Task, TaskFile
from freehold.store.workspace import Workspace

_BLOCK = 1 << 20


class Origin(Protocol):
    """A source of rows. `nothing` is what to say where it holds none."""

    @property
    def name(self) -> str: ...

    @property
    def nothing(self) -> str: ...

    def rows(self) -> Iterator[tuple[str, files.Fields]]: ...

    def blocks(self) -> Iterator[bytes]: ...

    def sha256(self) -> str: ...


def origins_of(file: TaskFile, workspace: Workspace) -> list[Origin]:
    """The source, and the held-out file where the task names one; raises `DataError` where a file is missing."""
    spec = file.task.data
    first: Origin = Captured(file.task, workspace) if spec.source == SOURCE else File(file.resolve(spec.source))
    found = [first] + ([File(file.resolve(spec.held_out))] if spec.held_out else [])
    for each in found:
        if isinstance(each, File):
            files.present(each.path)
    return found


@dataclass(frozen=True)
class File:
    """A file of pairs or exchanges."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def nothing(self) -> str:
        return f"{self.path}: holds no rows"

    def rows(self) -> Iterator[tuple[str, files.Fields]]:
        return ((f"{self.path.name}:{line}", fields) for line, fields in files.read(self.path))

    def blocks(self) -> Iterator[bytes]:
        with self.path.open("rb") as handle:
            while block := handle.read(_BLOCK):
                yield block

    def sha256(self) -> str:
        return files.sha256(self.path)


@dataclass(frozen=True)
class Captured:
    """What the gateway recorded of a task."""

    task: Task
    workspace: Workspace

    @property
    def name(self) -> str:
        return SOURCE

    @property
    def nothing(self) -> str:
        models = [self.task.task, *([self.task.incumbent.model] if self.task.incumbent else [])]
        return (
            f"data.source: captured: this workspace has recorded no exchanges with {' or '.join(models)}; "
            "`freehold serve` records them, and incumbent.model names what they were asked of"
        )

    def rows(self) -> Iterator[tuple[str, files.Fields]]:
        return captured(self.task, self.workspace)

    def blocks(self) -> Iterator[bytes]:
        return (canonical([origin, fields]) for origin, fields in self.rows())

    def sha256(self) -> str:
        total = hashlib.sha256()
        for block in self.blocks():
            total.update(block)
        return total.hexdigest()
