"""Rows → examples, frozen under one digest.

    datasets/<digest>/examples.jsonl   one example a line, in reading order
                      dropped.jsonl    what did not become an example, and why
                      tombstones.jsonl ids and splits of examples that were erased
                      dataset.json     the record, written last: a dataset without one is not finished

An example's id is the SHA-256 of its salt and its content; its salt is an HMAC under a key made from all source bytes,
so the same sources give the same ids in any folder, and an erased example cannot be guessed from its id. The key is
never stored.
"""

import hashlib
import hmac
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from freehold.data.row import Dropped, Row
from freehold.errors import NotFoundError
from freehold.records import Dataset, Example, Provenance, Pruning, R, Record, Source, Split, canonical, digest
from freehold.spec import JsonAnswer, Task
from freehold.store.layout import DATASET_FILE
from freehold.store.workspace import Workspace, atomic_file, read_record, write_record

_EXAMPLES = "examples.jsonl"
_DROPPED = "dropped.jsonl"
_ERASED = "tombstones.jsonl"


@dataclass(frozen=True)
class Parts:
    """What a dataset is frozen from."""

    rows: dict[Split, list[Row]]
    dropped: list[Dropped]
    conflicts: int
    labels: tuple[str, ...]
    sources: tuple[Source, ...]
    redacted: bool
    pruning: Pruning | None
    repeated: int
    disputed: int


class DroppedRow(Record, frozen=True, kw_only=True):
    """A row that did not become an example: its would-be id, where it came from, why, and what displaced it."""

    id: str
    origin: str
    reason: str
    because: str | None = None


class Salts:
    """Per-row salts: HMAC-SHA256 of the row's index, under a key made from all source bytes."""

    def __init__(self, source_bytes: Iterable[bytes]) -> None:
        key = hashlib.sha256(b"freehold salt")
        for block in source_bytes:
            key.update(block)
        self._key = key.digest()

    def of(self, row: Row) -> str:
        return hmac.new(self._key, str(row.index).encode(), hashlib.sha256).hexdigest()


def freeze(task: Task, parts: Parts, salts: Salts, workspace: Workspace) -> Dataset:
    """Write a dataset under its digest, or find it there already."""
    examples = sorted(_examples(parts, salts), key=lambda pair: pair[0].index)
    record = _record(task, parts, [example for _, example in examples])
    folder = workspace.datasets / record.digest
    if (folder / DATASET_FILE).exists():
        return read(workspace, record.digest)
    _write_lines(folder / _EXAMPLES, (example for _, example in examples))
    _write_lines(folder / _DROPPED, (_dropped(each, salts) for each in parts.dropped))
    write_record(folder / DATASET_FILE, record)
    return record


def path_of(workspace: Workspace, digest: str) -> Path:
    """Where a dataset's record lies."""
    return workspace.datasets / digest / DATASET_FILE


def read(workspace: Workspace, digest: str) -> Dataset:
    """The record of a dataset; raises `NotFoundError`."""
    return read_record(path_of(workspace, digest), Dataset)


def examples(workspace: Workspace, digest: str, split: Split | None = None) -> list[Example]:
    """Examples of a dataset in reading order, of one split or all; erased ones are not among them."""
    found = _read_lines(workspace.datasets / digest / _EXAMPLES, Example)
    return [example for example in found if split is None or example.split is split]


def dropped(workspace: Workspace, digest: str) -> list[DroppedRow]:
    """What did not become an example, and why."""
    return list(_read_lines(workspace.datasets / digest / _DROPPED, DroppedRow))


class Tombstone(Record, frozen=True, kw_only=True):
    """What is left of an erased example: enough to recompute the dataset's digest."""

    id: str
    split: Split


def datasets(workspace: Workspace) -> list[str]:
    """The digests of every finished dataset."""
    return sorted(record.parent.name for record in workspace.datasets.glob(f"*/{DATASET_FILE}"))


def erase(workspace: Workspace, digest: str, ids: set[str]) -> None:
    """Take examples out of a dataset, leaving their tombstones. The tombstones are written first."""
    folder = workspace.datasets / digest
    every = examples(workspace, digest)
    known = {each.id: each for each in tombstones(workspace, digest)}
    known |= {each.id: Tombstone(id=each.id, split=each.split) for each in every if each.id in ids}
    _write_lines(folder / _ERASED, known.values())
    _write_lines(folder / _EXAMPLES, (each for each in every if each.id not in ids))


def tombstones(workspace: Workspace, digest: str) -> list[Tombstone]:
    """Erased examples of a dataset."""
    path = workspace.datasets / digest / _ERASED
    return list(_read_lines(path, Tombstone)) if path.exists() else []


def find(workspace: Workspace, prefix: str) -> list[tuple[str, Example | DroppedRow]]:
    """Every example and dropped row whose id begins so, with the digest of its dataset."""
    found: list[tuple[str, Example | DroppedRow]] = []
    for dataset in datasets(workspace):
        found += [(dataset, each) for each in examples(workspace, dataset) if each.id.startswith(prefix)]
        found += [(dataset, each) for each in dropped(workspace, dataset) if each.id.startswith(prefix)]
    return found


def _examples(parts: Parts, salts: Salts) -> Iterator[tuple[Row, Example]]:
    for split, rows in parts.rows.items():
        for row in rows:
            salt = salts.of(row)
            example = Example(
                id=_id(row, salt),
                salt=salt,
                split=split,
                messages=row.messages,
                reference=row.answer,
                provenance=row.provenance,
                origin=row.origin,
                incumbent_answer=row.incumbent_answer,
                session=row.session,
                subject=row.subject,
                asked=row.asked,
            )
            yield row, example


def _id(row: Row, salt: str) -> str:
    content = canonical([row.messages, row.answer, row.provenance, row.incumbent_answer])
    return hashlib.sha256(salt.encode() + content).hexdigest()


def _dropped(each: Dropped, salts: Salts) -> DroppedRow:
    row = each.row
    return DroppedRow(id=_id(row, salts.of(row)), origin=row.origin, reason=each.reason, because=each.because)


def _record(task: Task, parts: Parts, found: Sequence[Example]) -> Dataset:
    schema = task.answer.json_schema if isinstance(task.answer, JsonAnswer) else None
    content: dict[str, Any] = {
        "examples": sorted((example.id, example.split) for example in found),
        "task": task.task,
        "answer_type": task.answer_type,
        "labels": parts.labels,
        "schema": schema,
        "seed": task.seed,
    }
    if parts.redacted:
        content["redacted"] = True
    if parts.pruning is not None:
        content["pruning"] = parts.pruning
    return Dataset(
        digest=digest(content),
        task=task.task,
        answer_type=task.answer_type,
        labels=parts.labels,
        json_schema=schema,
        counts={split: len(parts.rows[split]) for split in Split},
        provenance={each: count for each in Provenance if (count := sum(e.provenance is each for e in found))},
        dropped=dict(sorted(Counter(each.reason for each in parts.dropped).items())),
        conflicts=parts.conflicts,
        redacted=parts.redacted,
        repeated=parts.repeated,
        disputed=parts.disputed,
        pruning=parts.pruning,
        sources=parts.sources,
        seed=task.seed,
    )


def _write_lines(path: Path, records: Iterable[Record]) -> None:
    with atomic_file(path) as handle:
        for record in records:
            handle.write(msgspec.json.encode(record) + b"\n")


def _read_lines(path: Path, kind: type[R]) -> Iterator[R]:
    decoder = msgspec.json.Decoder(kind)
    number = 0
    try:
        with path.open("rb") as handle:
            for line in handle:
                number += 1
                yield decoder.decode(line)
    except FileNotFoundError:
        raise NotFoundError(f"{path}: no such dataset; `freehold run` makes it again") from None
    except msgspec.MsgspecError as error:
        raise NotFoundError(f"{path}:{number}: is damaged ({error}); delete the folder and run again") from None
