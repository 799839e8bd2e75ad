"""Texts of files and folders, each with its origin: what is searched, or what is searched for."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from freehold.data import files
from freehold.data.exchange import is_exchange
from freehold.errors import DataError, did_you_mean

_PLAIN = (".txt", ".md", ".rst")
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_USUAL = ("text", "question", "input", "prompt", "instruction", "query", "problem", "turns", "sentence")
_DOCUMENT_CHARS = 1 << 20
_SHARED_LINES = 13  # an n-gram of 13 words spans at most so many lines that hold words


class Text(NamedTuple):
    """A text and where it stands: `messages.csv:12`."""

    origin: str
    text: str


def documents(path: Path) -> Iterator[Text]:
    """Everything written in a file or folder: all text of each row, its fields kept apart by a NUL.

    Raises `DataError` for a file that cannot be read, or a folder that holds none that can.
    """
    for file in _files(path):
        if file.suffix.lower() in _PLAIN:
            yield from _plain(file)
        else:
            for line, fields in files.read(file):
                yield Text(f"{file.name}:{line}", "\0".join(_strings(fields)))


def items(path: Path, column: str | None = None) -> Iterator[Text]:
    """The questions of a benchmark: `column`, or the field that usually holds them, or all text of a row."""
    for file in _files(path):
        if file.suffix.lower() in _PLAIN:
            yield from (Text(f"{file.name}:{line}", text.strip()) for line, text in files.lines(file) if text.strip())
        else:
            for line, fields in files.read(file):
                yield Text(f"{file.name}:{line}", _item(fields, column, f"{file.name}:{line}"))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = [each for each in sorted(path.rglob("*")) if each.is_file() and each.suffix.lower() in (*_PLAIN, *_TABLES)]
    if not found:
        raise DataError(f"{path}: holds no file that can be read ({', '.join((*_TABLES, *_PLAIN))})")
    return found


def _plain(file: Path) -> Iterator[Text]:
    """A text file in pieces of about a million characters that share some lines, each named by its first line."""
    files.present(file)
    start, held, fresh = 1, [], 0
    for number, line in files.lines(file):
        held.append(line)
        fresh += len(line)
        if fresh >= _DOCUMENT_CHARS:
            yield Text(f"{file.name}:{start}", "".join(held))
            held, fresh = held[-_SHARED_LINES:], 0
            start = number - len(held) + 1
    if fresh:
        yield Text(f"{file.name}:{start}", "".join(held))


def _item(fields: Mapping[str, Any], column: str | None, origin: str) -> str:
    if column is not None and column not in fields:
        raise DataError(
            f"{origin}: there is no column {column!r}; they are {', '.join(fields)}{did_you_mean(column, fields)}"
        )
    if column is None and is_exchange(fields):
        turns = (fields.get("request") or fields).get("messages") or []
        return "\n".join(text for turn in turns if turn.get("role") == "user" for text in _strings(turn.get("content")))
    usual = column or next((name for name in _USUAL if name in fields), None)
    return "\n".join(_strings(fields[usual] if usual else fields))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, Sequence):
        for each in value:
            yield from _strings(each)
