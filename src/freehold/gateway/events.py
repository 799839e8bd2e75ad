"""Server-sent events, cut out of a byte stream at whatever bytes it arrives in.

Source: HTML Living Standard, section 9.2 (server-sent events). Events are passed on as the bytes they came in.
"""

from collections.abc import Iterator

_ENDS = (b"\n\n", b"\r\n\r\n", b"\r\r")


class Splitter:
    """`feed` bytes, get whole events, each with the blank line that ends it. What is left over is in `rest`."""

    def __init__(self, longest: int = 16 * 1024 * 1024) -> None:
        self.rest = b""
        self._longest = longest

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The events that are whole now; raises `ValueError` on one that does not end."""
        pending = self.rest + data if self.rest else data
        start = 0
        while (end := _end(pending, start)) >= 0:
            yield pending[start:end]
            start = end
        self.rest = pending[start:]
        if len(self.rest) > self._longest:
            raise ValueError(f"an event is longer than {self._longest:,} bytes")


def data_of(event: bytes) -> bytes:
    """What an event says: its data lines, joined."""
    lines = event.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    found = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    return b"\n".join(found)


def _end(pending: bytes, start: int) -> int:
    """Where the first event from `start` on ends, behind its blank line; -1 while it does not."""
    ends = [at + len(mark) for mark in _ENDS if (at := pending.find(mark, start)) >= 0]
    return min(ends, default=-1)
