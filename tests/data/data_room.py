"""A task over a small file, built in a fresh workspace."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import yaml

from freehold import spec
from freehold.data import build
from freehold.progress import SILENT
from freehold.records import Dataset, Example
from freehold.store.workspace import Workspace


def pairs(count: int, labels: tuple[str, ...] = ("pay", "safety", "rota")) -> str:
    """A CSV of that many messages over the labels in turn, no two of them alike."""
    noise = [hashlib.sha256(str(at).encode()).hexdigest() for at in range(count)]
    lines = [f"{text[:20]} {text[20:50]},{labels[at % len(labels)]}" for at, text in enumerate(noise)]
    return "\n".join(["text,answer", *lines]) + "\n"


class Room:
    """`room.file(name, text)` writes, `room.build(...)` builds, `room.examples()` reads back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = Workspace(folder / ".freehold")
        self.dataset: Dataset | None = None

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def jsonl(self, name: str, rows: list[Any]) -> Path:
        return self.file(name, b"\n".join(msgspec.json.encode(row) for row in rows) + b"\n")

    def task(self, data: dict[str, Any], **fields: object) -> spec.TaskFile:
        content = {"task": "t", "description": "d", "data": data, **fields}
        return spec.load(self.file("task.yaml", yaml.safe_dump(content, allow_unicode=True)))

    def build(self, data: dict[str, Any], **fields: object) -> Dataset:
        self.dataset = build.build(self.task(data, **fields), self.workspace, SILENT)
        return self.dataset

    def examples(self) -> list[Example]:
        assert self.dataset is not None
        return build.examples(self.workspace, self.dataset.digest)
