"""Files of rows: CSV, TSV, JSONL and Parquet → (line, fields), one at a time, every fault named by file and line.

Text is UTF-8 (a byte-order mark is allowed). A Parquet file has no lines; its rows are counted from 1 instead.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from freehold.errors import DataError
from freehold.store.workspace import file_sha256

Fields = dict[str, Any]
LONGEST_LINE = 16 * 2**20
_KINDS = ".csv, .tsv, .jsonl, .ndjson or .parquet"


def read(path: Path) -> Iterator[tuple[int, Fields]]:
    """Rows of a file with their lines; raises `DataError` that names the file, the line and the mend."""
    present(path)
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return _jsonl(path)
    if suffix in (".csv", ".tsv"):
        return _csv(path, "," if suffix == ".csv" else "\t")
    if suffix == ".parquet":
        return _parquet(path)
    raise DataError(f"{path}: its ending does not say what it holds; name it {_KINDS}")


def sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    present(path)
    return file_sha256(path)


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """A text file's lines with their numbers; the line ends are kept, a byte-order mark is not."""
    for number, raw in _raw_lines(path):
        yield number, _text(raw, path, number)


def _raw_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines as bytes; one beyond `LONGEST_LINE` comes cut just above it, and is told by `_text`."""
    with path.open("rb") as handle:
        number = 0
        while raw := handle.readline(LONGEST_LINE + 1):
            number += 1
            yield number, raw
            while len(raw) > LONGEST_LINE and not raw.endswith(b"\n"):
                raw = handle.readline(LONGEST_LINE + 1)


def present(path: Path) -> None:
    """Raise `DataError` where a file is missing, empty or a folder."""
    if path.is_dir():
        raise DataError(f"{path}: is a folder; name a {_KINDS} file in it")
    if not path.exists():
        raise DataError(f"{path}: no such file; data.source is read relative to the task file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty")


def _text(raw: bytes, path: Path, number: int) -> str:
    if len(raw) > LONGEST_LINE:
        raise DataError(f"{path.name}:{number}: is longer than {LONGEST_LINE >> 20} MiB; is a line break missing?")
    if number == 1 and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path.name}: is UTF-16; save it as UTF-8")
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        raise DataError(f"{path.name}:{number}: byte 0x{byte:02X} is not UTF-8; save the whole file as UTF-8") from None


def each_line(path: Path) -> Iterator[tuple[int, Fields | DataError]]:
    """Rows of a JSONL file, each line that is none given as the error that says why."""
    for number, raw in _raw_lines(path):
        if not raw.strip():
            continue
        try:
            yield number, _object(_text(raw, path, number), path, number)
        except DataError as error:
            yield number, error


def _jsonl(path: Path) -> Iterator[tuple[int, Fields]]:
    for number, line in lines(path):
        if line.strip():
            yield number, _object(line, path, number)


def _object(line: str, path: Path, number: int) -> Fields:
    try:
        fields = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        raise DataError(f"{path.name}:{number}: is not JSON ({error}); JSONL holds one document a line") from None
    if not isinstance(fields, dict):
        raise DataError(f"{path.name}:{number}: is not a JSON object; each line is one {{…}}")
    return fields


def _csv(path: Path, delimiter: str) -> Iterator[tuple[int, Fields]]:
    csv.field_size_limit(LONGEST_LINE)
    reader = csv.reader((line for _, line in lines(path)), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    start = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{path.name}:{start}: {error}; is a quotation mark left open?") from None
        if cells is None:
            return
        if header is None:
            header = _header(cells, path)
        elif cells:
            yield start, _fields(header, cells, f"{path.name}:{start}")
        start = reader.line_num + 1


def _header(cells: list[str], path: Path) -> list[str]:
    names = [name.strip() for name in cells]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path.name}:1: two columns are named {twice!r}; each name may stand once")
    return names


def _fields(header: list[str], cells: list[str], where: str) -> Fields:
    if len(cells) != len(header):
        raise DataError(
            f"{where}: has {len(cells)} fields where the header names {len(header)}; "
            "a text that holds the separator needs quotation marks"
        )
    return dict(zip(header, cells, strict=True))


def _parquet(path: Path) -> Iterator[tuple[int, Fields]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=4096):
                for fields in batch.to_pylist():
                    number += 1
                    yield number, fields
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path.name}: cannot be read as Parquet ({str(error).splitlines()[0]})") from None
