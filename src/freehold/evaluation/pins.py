"""Pinned cases: examples that must not break. Every later candidate is held against them.

Pins name examples by id and keep nothing of their content, so that erasing an example leaves nothing behind here.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from freehold.errors import UserError
from freehold.records import PinCheck, Record, Row
from freehold.store.workspace import Workspace, read_record, write_record


class Pins(Record, frozen=True, kw_only=True):
    """A task's pinned examples, by id."""

    task: str
    examples: tuple[str, ...] = ()


def read(workspace: Workspace, task: str) -> Pins:
    """The pins of a task; none where nothing was pinned."""
    path = _path(workspace, task)
    return read_record(path, Pins) if path.exists() else Pins(task=task)


def pin(workspace: Workspace, task: str, examples: Iterable[str]) -> Pins:
    """Add examples to a task's pins."""
    known = read(workspace, task)
    pins = Pins(task=task, examples=tuple(dict.fromkeys([*known.examples, *examples])))
    write_record(_path(workspace, task), pins)
    return pins


def unpin(workspace: Workspace, task: str, examples: Iterable[str]) -> Pins:
    """Take examples away again; raises `UserError` for one that is not pinned."""
    known, gone = read(workspace, task), set(examples)
    unknown = gone - set(known.examples)
    if unknown:
        raise UserError(f"{min(unknown)} is not pinned for {task}; `freehold eval pin --list` shows what is")
    pins = Pins(task=task, examples=tuple(each for each in known.examples if each not in gone))
    write_record(_path(workspace, task), pins)
    return pins


def check(pins: Pins, candidate: str, rows: Sequence[Row]) -> PinCheck:
    """Which pinned cases a candidate breaks: those it did not answer with a full score."""
    by_example: Mapping[str, Row] = {row.example: row for row in rows}
    measured = [by_example[each] for each in pins.examples if each in by_example]
    broken = tuple(row.example for row in measured if row.score < 1)
    return PinCheck(
        candidate=candidate,
        holds=len(measured) - len(broken),
        broken=broken,
        unmeasured=len(pins.examples) - len(measured),
    )


def _path(workspace: Workspace, task: str) -> Path:
    return workspace.root / "pins" / f"{task}.json"
