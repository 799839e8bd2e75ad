"""The lines of a batch: one request each, as OpenAI's Batch API writes them. A fault names its line.

Ids are held as 64-bit hashes, eight bytes a line, so that hundreds of thousands of lines take a few megabytes.
"""

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

MOST_LINES = 1_000_000
MOST_FAULTS = 100


class Line(msgspec.Struct, frozen=True):
    """One request."""

    custom_id: str
    url: str
    body: msgspec.Raw
    method: str = "POST"


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with a line (counted from 1)."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Bounds(NamedTuple):
    """The one address that every line must name, and the longest body (bytes)."""

    url: str
    longest: int

    @property
    def line(self) -> int:
        """The longest line (bytes)."""
        return self.longest + 4096


class _Named(msgspec.Struct):
    model: str
    stream: bool | None = None


_LINE = msgspec.json.Decoder(Line)
_NAMED = msgspec.json.Decoder(_Named)


def read(text: bytes) -> Line:
    """A line; raises `ValueError` saying what it is not."""
    try:
        return _LINE.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"is not a line of OpenAI's batch format (custom_id, method, url, body): {error}") from None


def numbered(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines that hold something, each with its number from 1."""
    return ((number, text) for number, text in enumerate(lines, 1) if text.strip())


def check(lines: Iterable[bytes], bounds: Bounds) -> tuple[int, list[Fault]]:
    """How many requests there are, and what is wrong with them (the first hundred faults)."""
    ids = array("Q")
    faults: list[Fault] = []
    places = array("L")
    for number, text in numbered(lines):
        fault, line = _checked(number, text, bounds)
        faults += [fault] if fault else []
        if line is not None:
            ids.append(hashed(line.custom_id))
            places.append(number)
        if len(faults) >= MOST_FAULTS:
            return len(ids), faults
        if len(ids) > MOST_LINES:
            too_many = f"there are more than {MOST_LINES:,} requests; send them as several batches"
            return len(ids), [Fault("too_many_requests", too_many)]
    if not ids and not faults:
        faults.append(Fault("empty_file", "the file holds no request"))
    faults += [
        Fault("duplicate_custom_id", f"line {places[at]}: this custom_id stands in an earlier line too", places[at])
        for at in repeated(ids)[: MOST_FAULTS - len(faults)]
    ]
    return len(ids), faults


def repeated(ids: "array[int]") -> list[int]:
    """The positions of ids that stood before."""
    import numpy

    if not ids:
        return []
    values = numpy.frombuffer(ids, dtype=numpy.uint64)
    order = numpy.argsort(values, kind="stable")
    same = numpy.flatnonzero(values[order][1:] == values[order][:-1]) + 1
    return sorted(int(at) for at in order[same])


def hashed(custom_id: str) -> int:
    """64 bits that stand for an id."""
    return int.from_bytes(hashlib.blake2b(custom_id.encode(), digest_size=8).digest())


class Ids:
    """Which ids are in a set that does not change, eight bytes each."""

    def __init__(self, custom_ids: Iterable[str]) -> None:
        import numpy

        self._sorted = numpy.sort(numpy.fromiter((hashed(each) for each in custom_ids), dtype=numpy.uint64))

    def __len__(self) -> int:
        return len(self._sorted)

    def __contains__(self, custom_id: str) -> bool:
        value = self._sorted.dtype.type(hashed(custom_id))
        at = int(self._sorted.searchsorted(value))
        return at < len(self._sorted) and bool(self._sorted[at] == value)


def _checked(number: int, text: bytes, bounds: Bounds) -> tuple[Fault | None, Line | None]:
    if len(text) >= bounds.line:
        what = f"line {number} is longer than {bounds.line:,} bytes"
        return Fault("body_too_large", what, number, "body"), None
    try:
        line = read(text)
    except ValueError as error:
        return Fault("invalid_json_line", f"line {number} {error}", number), None
    where = f"line {number}: "
    if line.method != "POST":
        return Fault("invalid_method", f"{where}method must be POST", number, "method"), line
    if line.url != bounds.url:
        return Fault("mismatched_url", f"{where}url is not {bounds.url}, the batch's endpoint", number, "url"), line
    if len(bytes(line.body)) > bounds.longest:
        what = f"{where}body is larger than {bounds.longest:,} bytes"
        return Fault("body_too_large", what, number, "body"), line
    try:
        named: Any = _NAMED.decode(line.body)
    except msgspec.MsgspecError as error:
        return Fault("invalid_body", f"{where}body: {error}", number, "body"), line
    if named.stream:
        return Fault("stream_in_batch", f"{where}body.stream: a batch answers whole", number, "body.stream"), line
    return None, line
