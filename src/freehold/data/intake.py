"""What can be imported: other tools' records, folders of documents, and what the gateway captured.

Each gives its rows one at a time, and says by a stamp when they are others than before: an import that was interrupted
goes on only where the stamp is the same.
"""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Protocol

import msgspec

from freehold.data import captured, files
from freehold.data.formats import FORMATS, recognised
from freehold.data.moment import moment
from freehold.data.shingles import normal
from freehold.errors import DataError, UserError, did_you_mean
from freehold.records import canonical, digest
from freehold.store.exchanges import Query
from freehold.store.workspace import Workspace

DOCUMENTS = (".txt", ".md", ".rst", ".html", ".htm")
_LONGEST_PIECE = 1 << 20
_TABLES = (".csv", ".tsv", ".parquet")
_NESTED = ("messages", "conversations", "request", "response", "request_body", "response_body", "input", "output")


class Intake(Protocol):
    """Rows on their way in. `kind` is what they are, once that is known."""

    kind: str | None

    @property
    def name(self) -> str: ...

    def stamp(self) -> str: ...

    def rows(self) -> Iterator[tuple[str, files.Fields | DataError]]:
        """Each row with its place, or the error that says why it is none."""
        ...

    def converted(self, fields: files.Fields, place: str) -> files.Fields:
        """The row as it is written; raises `DataError` where it is not of its kind."""
        ...


class Records:
    """A file of another tool's records; of which tool is told by the first row's fields, unless it is named."""

    def __init__(self, path: Path, kind: str | None) -> None:
        if kind is not None and kind not in FORMATS:
            raise UserError(f"{kind}: no such format{did_you_mean(kind, FORMATS)}; there are {', '.join(FORMATS)}")
        files.present(path)
        self._path, self.kind = path, kind

    @property
    def name(self) -> str:
        return str(self._path)

    def stamp(self) -> str:
        return digest(_state(self._path))

    def rows(self) -> Iterator[tuple[str, files.Fields | DataError]]:
        """A broken line of JSONL does not end the file; a broken CSV or Parquet does."""
        lines = self._path.suffix.lower() in (".jsonl", ".ndjson")
        found = files.each_line(self._path) if lines else files.read(self._path)
        return ((f"{self._path.name}:{line}", fields) for line, fields in found)

    def converted(self, fields: files.Fields, place: str) -> files.Fields:
        if self._path.suffix.lower() in _TABLES:
            fields = _unpacked(fields)
        self.kind = self.kind or recognised(fields)
        if self.kind is None:
            raise DataError(f"{place}: is of no known format; name it with --format ({', '.join(FORMATS)})")
        try:
            exchange = FORMATS[self.kind](fields)
        except KeyError as error:
            raise DataError(
                f"{place}: is not of the format {self.kind}: there is no {error}{self._now(fields)}"
            ) from None
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise DataError(f"{place}: is not of the format {self.kind}: {error}{self._now(fields)}") from None
        if "at" in exchange:
            exchange["at"] = moment(exchange["at"], "its time", place)
        return exchange

    def _now(self, fields: files.Fields) -> str:
        """What to say where the schema changed midway."""
        other = recognised(fields)
        return f"; from here on it looks like {other}: split the file" if other not in (None, self.kind) else ""


class Documents:
    """A folder of texts for continued pretraining: `{"id", "text", "origin"}` each; the id is the text's own hash."""

    kind: str | None = "documents"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = [each for each in sorted(folder.rglob("*")) if each.suffix.lower() in DOCUMENTS]
        if not self._files:
            raise DataError(f"{folder}: holds no documents ({', '.join(DOCUMENTS)})")

    @property
    def name(self) -> str:
        return str(self._folder)

    def stamp(self) -> str:
        return digest([[str(each), *_state(each)] for each in self._files])

    def rows(self) -> Iterator[tuple[str, files.Fields | DataError]]:
        for path in self._files:
            place = path.relative_to(self._folder).as_posix()
            try:
                for piece in _pieces(_document(path)):
                    known = hashlib.sha256(normal(piece).encode()).hexdigest()
                    yield place, {"id": known, "text": piece, "origin": place}
            except DataError as error:
                yield place, error

    def converted(self, fields: files.Fields, place: str) -> files.Fields:
        return fields


class Captured:
    """What the gateway recorded, by query."""

    kind: str | None = "captured"

    def __init__(self, workspace: Workspace, query: Query) -> None:
        self._workspace, self._query = workspace, query

    @property
    def name(self) -> str:
        return captured.SOURCE

    def stamp(self) -> str:
        total = hashlib.sha256(canonical(self._query))
        for place, _ in captured.selected(self._workspace, self._query):
            total.update(place.encode())
        return total.hexdigest()

    def rows(self) -> Iterator[tuple[str, files.Fields | DataError]]:
        return captured.selected(self._workspace, self._query)

    def converted(self, fields: files.Fields, place: str) -> files.Fields:
        return {name: value for name, value in fields.items() if value is not None}


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _unpacked(fields: files.Fields) -> files.Fields:
    """A table's row with the JSON in its cells read; Alpaca's cells are plain text, whatever they look like."""
    if {"instruction", "output"} <= fields.keys():
        return fields
    unpacked = dict(fields)
    for name in _NESTED:
        cell = fields.get(name)
        if isinstance(cell, str) and cell.lstrip().startswith(("{", "[")):
            with suppress(msgspec.DecodeError):  # then it is a text
                unpacked[name] = msgspec.json.decode(cell)
    return unpacked


def _document(path: Path) -> str:
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty")
    text = "".join(line for _, line in files.lines(path))
    if path.suffix.lower() in (".html", ".htm"):
        text = _Visible.of(text)
    if not text.strip():
        raise DataError(f"{path}: holds no text")
    return text


def _pieces(text: str) -> Iterator[str]:
    """A document whole, or cut between paragraphs where it is longer than a million characters."""
    held: list[str] = []
    size = 0
    for paragraph in text.split("\n\n"):
        if held and size + len(paragraph) > _LONGEST_PIECE:
            yield "\n\n".join(held)
            held, size = [], 0
        held.append(paragraph)
        size += len(paragraph) + 2
    yield "\n\n".join(held)


class _Visible(HTMLParser):
    """The text of a page that a reader sees, blocks on lines of their own."""

    _HIDDEN = ("script", "style", "head", "template", "noscript")
    _BLOCKS = ("p", "div", "li", "tr", "br", "h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "pre", "td")

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._hidden = 0

    @classmethod
    def of(cls, page: str) -> str:
        parser = cls()
        parser.feed(page)
        parser.close()
        lines = (" ".join(line.split()) for line in "".join(parser._parts).split("\n"))
        return "\n".join(line for line in lines if line)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in self._HIDDEN
        if tag in self._BLOCKS:
            self._parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in self._HIDDEN and self._hidden > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._parts.append(data)
