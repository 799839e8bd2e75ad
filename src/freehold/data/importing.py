"""Import: rows of an intake → one JSONL file, streaming, resumable, each row that is broken counted.

The output grows beside its final name as `.part`; every `_EVERY` rows a note says how far it is whole, and the same
command goes on from there. The final name appears when everything is in it. Answers that must not be learned are
counted here and left in the file: a dataset leaves them out, and keeps the reason of each.
"""

import os
from collections import Counter
from pathlib import Path
from typing import BinaryIO

import msgspec

from freehold.data import curate, files
from freehold.data.ids import Ids
from freehold.data.intake import Intake
from freehold.errors import DataError, UserError
from freehold.progress import Progress, Step
from freehold.records import Record
from freehold.store.workspace import write_record

_EVERY = 10_000
_SHOWN = 3


class Imported(Record, frozen=True, kw_only=True):
    """What an import did.

    `kept` rows were written; `faults` counts those among them that a dataset will leave out, by reason. `duplicates`
    stood before under the same id; `broken` rows could not be read, where they were to be skipped.
    """

    format: str
    rows: int
    kept: int
    faults: dict[str, int]
    duplicates: int
    broken: int
    first_broken: tuple[str, ...]


class _Mark(Record, frozen=True, kw_only=True):
    """How far the output is whole: the stamp of what is read, rows read, bytes written, and the counts so far."""

    stamp: str
    done: Imported
    size: int


def import_rows(intake: Intake, out: Path, skip_broken: bool, progress: Progress) -> Imported:
    """Write an intake's rows into a file; raises `DataError` at the first broken one, unless they are to be skipped."""
    if out.exists():
        raise UserError(f"{out}: exists already; name another file or delete it first")
    out.parent.mkdir(parents=True, exist_ok=True)
    with progress.step("import") as step:
        return _Import(intake, out, skip_broken).all(step)


class _Import:
    """One import under way."""

    def __init__(self, intake: Intake, out: Path, skip_broken: bool) -> None:
        self._intake, self._out, self._skip = intake, out, skip_broken
        self._part, self._note = Path(f"{out}.part"), Path(f"{out}.resume")
        self._rows = self._broken = self._kept = self._duplicates = 0
        self._faults: Counter[str] = Counter()
        self._first_broken: list[str] = []
        self._stamp = intake.stamp()
        self._ids = Ids()

    def all(self, step: Step) -> Imported:
        start, size = self._resume()
        out: BinaryIO
        with self._part.open("r+b" if start else "wb") as out:
            out.truncate(size)
            out.seek(size)
            for number, (place, fields) in enumerate(self._intake.rows()):
                if number < start:
                    continue
                self._row(place, fields, out)
                step.advance()
                if self._rows % _EVERY == 0:
                    self._mark(out)
            out.flush()
            os.fsync(out.fileno())
        os.replace(self._part, self._out)
        self._note.unlink(missing_ok=True)
        return self._done()

    def _row(self, place: str, fields: files.Fields | DataError, out: BinaryIO) -> None:
        self._rows += 1
        try:
            if isinstance(fields, DataError):
                raise fields
            written = self._intake.converted(fields, place)
            again = self._ids.again(written, place)
        except DataError as error:
            if not self._skip:
                raise
            self._broken += 1
            self._first_broken += [str(error)] if len(self._first_broken) < _SHOWN else []
            return
        if again:
            self._duplicates += 1
            return
        fault = curate.fault(written)
        if fault:
            self._faults[fault] += 1
        self._kept += 1
        out.write(msgspec.json.encode(written) + b"\n")

    def _done(self) -> Imported:
        return Imported(
            format=self._intake.kind or "unknown",
            rows=self._rows,
            kept=self._kept,
            faults=dict(sorted(self._faults.items())),
            duplicates=self._duplicates,
            broken=self._broken,
            first_broken=tuple(self._first_broken),
        )

    def _mark(self, out: BinaryIO) -> None:
        out.flush()
        os.fsync(out.fileno())
        write_record(self._note, _Mark(stamp=self._stamp, done=self._done(), size=out.tell()))

    def _resume(self) -> tuple[int, int]:
        """Rows read and bytes whole; nothing where there is no note, or the source is another one since."""
        try:
            mark = msgspec.json.decode(self._note.read_bytes(), type=_Mark)
        except (FileNotFoundError, msgspec.MsgspecError):
            return 0, 0
        if mark.stamp != self._stamp or not self._part.exists() or self._part.stat().st_size < mark.size:
            return 0, 0
        self._intake.kind = self._intake.kind or mark.done.format
        self._rows, self._kept, self._broken = mark.done.rows, mark.done.kept, mark.done.broken
        self._duplicates = mark.done.duplicates
        self._faults, self._first_broken = Counter(mark.done.faults), list(mark.done.first_broken)
        self._remember(mark.size)
        return mark.done.rows, mark.size

    def _remember(self, size: int) -> None:
        """What was written before: its ids must not come again with another content."""
        with self._part.open("rb") as part:
            while part.tell() < size:
                written = msgspec.json.decode(part.readline())
                self._ids.again(written, "")
