"""Import: records of other tools → one JSONL file of exchanges, streaming, resumable, each row that falls out counted.

The output grows beside its final name as `.part`; every `_EVERY` rows a note says how far it is whole, and the same
command goes on from there. The final name appears when everything is in it.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from freehold.data import curate, files
from freehold.data.formats import FORMATS, recognised
from freehold.errors import DataError, UserError, did_you_mean
from freehold.progress import Progress, Step
from freehold.records import Record
from freehold.store.workspace import write_record

_EVERY = 10_000
_SHOWN = 3


class Imported(Record, frozen=True, kw_only=True):
    """What an import did. `broken` counts rows that could not be read, where they were to be skipped."""

    format: str
    rows: int
    kept: int
    dropped: dict[str, int]
    broken: int
    first_broken: tuple[str, ...]


class _Mark(Record, frozen=True, kw_only=True):
    """How far the output is whole: the source it belongs to, rows read, bytes written, and the counts so far."""

    source: tuple[int, int]
    done: Imported
    size: int


def import_file(source: Path, out: Path, kind: str | None, skip_broken: bool, progress: Progress) -> Imported:
    """Convert a file, dropping answers that must not be learned.

    Raises `DataError` at the first broken row, unless they are to be skipped; `UserError` for an unknown format.
    """
    if kind is not None and kind not in FORMATS:
        raise UserError(f"{kind}: no such format{did_you_mean(kind, FORMATS)}; there are {', '.join(FORMATS)}")
    files.present(source)
    if out.exists():
        raise UserError(f"{out}: exists already; name another file or delete it first")
    run = _Import(source, out, kind, skip_broken)
    with progress.step("import") as step:
        return run.all(step)


class _Import:
    """One import under way."""

    def __init__(self, source: Path, out: Path, kind: str | None, skip_broken: bool) -> None:
        self._source, self._out, self._skip = source, out, skip_broken
        self._part, self._note = Path(f"{out}.part"), Path(f"{out}.resume")
        self._kind = kind
        self._rows = self._broken = self._kept = 0
        self._dropped: Counter[str] = Counter()
        self._first_broken: list[str] = []
        state = source.stat()
        self._stamp = (state.st_size, state.st_mtime_ns)

    def all(self, step: Step) -> Imported:
        start, size = self._resume()
        out: BinaryIO
        with self._part.open("r+b" if start else "wb") as out:
            out.truncate(size)
            out.seek(size)
            for number, (line, fields) in enumerate(self._records()):
                if number < start:
                    continue
                self._row(line, fields, out)
                step.advance()
                if self._rows % _EVERY == 0:
                    self._mark(out)
            out.flush()
            os.fsync(out.fileno())
        os.replace(self._part, self._out)
        self._note.unlink(missing_ok=True)
        return self._done()

    def _records(self) -> Iterator[tuple[int, files.Fields | DataError]]:
        """Every row, or why it is none. A broken line of JSONL does not end the file; a broken CSV or Parquet does."""
        if self._source.suffix.lower() in (".jsonl", ".ndjson"):
            return files.each_line(self._source)
        return iter(files.read(self._source))

    def _row(self, line: int, fields: files.Fields | DataError, out: BinaryIO) -> None:
        self._rows += 1
        where = f"{self._source.name}:{line}"
        try:
            if isinstance(fields, DataError):
                raise fields
            exchange = self._converted(fields, where)
        except DataError as error:
            if not self._skip:
                raise
            self._broken += 1
            self._first_broken += [str(error)] if len(self._first_broken) < _SHOWN else []
            return
        reason = curate.fault(exchange)
        if reason:
            self._dropped[reason] += 1
        else:
            self._kept += 1
            out.write(msgspec.json.encode(exchange) + b"\n")

    def _converted(self, fields: files.Fields, where: str) -> files.Fields:
        self._kind = self._kind or recognised(fields)
        if self._kind is None:
            raise DataError(f"{where}: is of no known format; name it with --format ({', '.join(FORMATS)})")
        try:
            return FORMATS[self._kind](fields)
        except KeyError as error:
            raise DataError(f"{where}: is not of the format {self._kind}: there is no {error}") from None
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise DataError(f"{where}: is not of the format {self._kind}: {error}") from None

    def _done(self) -> Imported:
        return Imported(
            format=self._kind or "unknown",
            rows=self._rows,
            kept=self._kept,
            dropped=dict(sorted(self._dropped.items())),
            broken=self._broken,
            first_broken=tuple(self._first_broken),
        )

    def _mark(self, out: BinaryIO) -> None:
        out.flush()
        os.fsync(out.fileno())
        write_record(self._note, _Mark(source=self._stamp, done=self._done(), size=out.tell()))

    def _resume(self) -> tuple[int, int]:
        """Rows read and bytes whole; nothing where there is no note, or the source is another one since."""
        try:
            mark = msgspec.json.decode(self._note.read_bytes(), type=_Mark)
        except (FileNotFoundError, msgspec.MsgspecError):
            return 0, 0
        if mark.source != self._stamp or not self._part.exists() or self._part.stat().st_size < mark.size:
            return 0, 0
        self._kind = self._kind or mark.done.format
        self._rows, self._kept, self._broken = mark.done.rows, mark.done.kept, mark.done.broken
        self._dropped, self._first_broken = Counter(mark.done.dropped), list(mark.done.first_broken)
        return mark.done.rows, mark.size
