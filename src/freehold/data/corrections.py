"""What people said of single rows: their answers take the place of the file's and become `human` references.

    corrections/<task>.jsonl   one line a verdict, appended and fsynced; the newest of a row holds

A row is known by the SHA-256 of its messages as read, so that no text is copied here, and a verdict holds for every
dataset that the task's data is frozen into, whatever is cut from them.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from freehold.data.row import Row
from freehold.errors import DataError
from freehold.records import Example, Message, Provenance, Record, canonical
from freehold.store.workspace import Workspace, write_atomically


class Correction(Record, frozen=True, kw_only=True):
    """A person's answer for a row, the same as before or another."""

    row: str
    answer: str


def key(messages: tuple[Message, ...]) -> str:
    """What a row is known by."""
    return hashlib.sha256(canonical(messages)).hexdigest()


def known_as(each: Row | Example) -> str:
    """What a row or the example that it became is known by."""
    return each.asked or key(each.messages)


def file_of(workspace: Workspace, task: str) -> Path:
    """Where a task's corrections lie."""
    return workspace.root / "corrections" / f"{task}.jsonl"


def add(workspace: Workspace, task: str, example: Example, answer: str) -> None:
    """Keep a verdict; it is on disk when this returns."""
    path = file_of(workspace, task)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as handle:
        handle.write(msgspec.json.encode(Correction(row=known_as(example), answer=answer)) + b"\n")
        handle.flush()
        os.fsync(handle.fileno())


def withdraw(workspace: Workspace, task: str, examples: Iterable[Example]) -> None:
    """Drop every verdict on these examples, and what they were known by."""
    gone = {known_as(each) for each in examples}
    held = read(workspace, task)
    if gone & held.keys():
        kept = (Correction(row=row, answer=answer) for row, answer in held.items() if row not in gone)
        write_atomically(file_of(workspace, task), b"".join(msgspec.json.encode(each) + b"\n" for each in kept))


def read(workspace: Workspace, task: str) -> dict[str, str]:
    """The answers that hold, by row."""
    path = file_of(workspace, task)
    if not path.exists():
        return {}
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            correction = msgspec.json.decode(line, type=Correction)
        except msgspec.MsgspecError as error:
            raise DataError(f"{path}:{number}: is damaged ({error}); delete the line") from None
        found[correction.row] = correction.answer
    return found


def corrected(row: Row, answers: Mapping[str, str]) -> Row:
    """The row with a person's answer, where there is one."""
    answer = answers.get(known_as(row)) if answers else None
    return row if answer is None else replace(row, answer=answer, provenance=Provenance.HUMAN)
