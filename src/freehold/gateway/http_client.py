"""Posting to an upstream over HTTP/1.1: what the hot path needs of a client and no more.

Connections are kept and used again, the last one first; nothing is ever sent twice, since what is sent may be billed.
Whatever is wrong on the wire is an `OSError`, and never a short answer (invariant 6).
Source of the framing: RFC 9112 (HTTP/1.1), sections 4 to 7.
"""

import asyncio
import re
import ssl
import time
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from functools import lru_cache
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlsplit

CONNECT_S, READ_S, KEPT_S = 10.0, 300.0, 25.0
_LONGEST_HEAD = 256 * 1024
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*?)[ \t]*")
_HIGH_WATER = 1024 * 1024  # bytes that wait for their reader before the upstream is told to pause


class WireError(ConnectionError):
    """The answer broke off, or is not HTTP/1.1."""


class _Address(NamedTuple):
    """What connections are shared by."""

    scheme: str
    host: str
    port: int


class HttpClient:
    """A pool of connections to any number of addresses."""

    def __init__(self) -> None:
        self._idle: dict[_Address, deque[Answer]] = {}
        self._starts: dict[str, tuple[_Address, str]] = {}
        self._secure: ssl.SSLContext | None = None

    def post(self, url: str, headers: Sequence[tuple[str, str]], content: bytes) -> "_Posting":
        """`async with wire.post(…) as answer:`; raises `OSError`, of which `TimeoutError` is one."""
        address, start = self._starts.get(url) or self._split(url)
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers])
        if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
            raise WireError("a header holds a line break")
        head = f"{start}{lines}accept-encoding: identity\r\ncontent-length: {len(content)}\r\n\r\n"
        try:
            return _Posting(self, address, head.encode("latin-1") + content)
        except UnicodeEncodeError:
            raise WireError("a header or key holds a character that HTTP cannot carry") from None

    def close(self) -> None:
        """Let every idle connection go."""
        for kept in self._idle.values():
            for connection in kept:
                connection.abort()
        self._idle.clear()

    async def connection(self, address: _Address) -> "Answer":
        """One that was used a moment ago and is still open, else a new one."""
        kept = self._idle.get(address)
        while kept:
            connection = kept.pop()
            if connection.is_open and time.monotonic() - connection.left < KEPT_S:
                return connection
            connection.abort()
        return await self._connect(address)

    def keep(self, address: _Address, connection: "Answer") -> None:
        connection.left = time.monotonic()
        self._idle.setdefault(address, deque()).append(connection)

    async def _connect(self, address: _Address) -> "Answer":
        loop, secure = asyncio.get_running_loop(), None
        if address.scheme == "https":
            secure = self._secure = self._secure or await asyncio.to_thread(ssl.create_default_context)
        async with asyncio.timeout(CONNECT_S):
            _, made = await loop.create_connection(lambda: Answer(loop), address.host, address.port, ssl=secure)
        return made

    def _split(self, url: str) -> tuple[_Address, str]:
        """The address, and the first two lines of a request."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise WireError(f"{url} is no http address")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        start = f"POST {target} HTTP/1.1\r\nhost: {parts.netloc.rpartition('@')[2]}\r\n"
        if len(self._starts) > 1000:
            self._starts.clear()
        self._starts[url] = _Address(parts.scheme, parts.hostname, port), start
        return self._starts[url]


class _Posting:
    """From a request's sending to its answer's last byte; the connection is kept only where all of it has come.

    A stream is left at its last event, and what ends it on the wire has mostly come by then.
    """

    __slots__ = ("_address", "_answer", "_request", "_wire")

    def __init__(self, wire: HttpClient, address: _Address, request: bytes) -> None:
        self._wire, self._address, self._request = wire, address, request
        self._answer: Answer | None = None

    async def __aenter__(self) -> "Answer":
        self._answer = answer = await self._wire.connection(self._address)
        try:
            await answer.ask(self._request)
        except BaseException:
            answer.abort()
            raise
        return answer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._answer is not None
        if self._answer.can_be_kept:
            self._wire.keep(self._address, self._answer)
        else:
            self._answer.abort()


class Answer(asyncio.Protocol):
    """One connection, and the answer that is under way on it: `status`, `headers`, and the body as it comes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lost: Exception | None = None
        self._heard_at = 0.0
        self.left = 0.0
        self._begin()

    def _begin(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._raw = b""  # what has come and is not taken apart yet
        self._frame: Callable[[Answer], bool] = Answer._read_head
        self._wanted = 0  # bytes of the body, or of its chunk, that are still to come
        self._ready: list[bytes] = []  # the body's bytes that nobody has read yet
        self._ready_bytes = 0
        self._unpacker: zlib._Decompress | None = None
        self._done = self._closes = self._paused = False

    # What the asker does

    async def ask(self, request: bytes) -> None:
        """Send, and wait for the head."""
        self._begin()
        if self._transport is None or not self.is_open:
            raise WireError("the connection was closed")
        self._heard_at = self._loop.time()
        self._transport.write(request)
        while not self.status:
            await self._more()

    def header(self, name: bytes) -> str:
        """A header by its lower-case name; empty where it is not there."""
        return next((value.decode("latin-1") for known, value in self.headers if known.lower() == name), "")

    async def read(self, most: int) -> bytes:
        """All of the body; raises `WireError` where it is longer than `most` bytes."""
        while not self._done:
            if self._ready_bytes > most:
                raise WireError("the answer does not end")
            self._resume()
            await self._more()
        return self._taken()

    async def start(self, most: int) -> bytes:
        """What there is of the body at once, for a message about it."""
        if not self._ready and not self._done:
            await self._more()
        return self._taken()[:most]

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        while True:
            if self._ready:
                yield self._taken()
            elif self._done:
                return
            else:
                await self._more()

    @property
    def is_open(self) -> bool:
        """Whether another request may be sent: open, and nothing came that nobody asked for."""
        return not (self._lost or self._raw or self._transport is None or self._transport.is_closing())

    @property
    def can_be_kept(self) -> bool:
        return self._done and not (self._closes or self._paused) and self.is_open

    def abort(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()

    # What the connection does

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # of a stream, it is one that writes

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        self._raw = self._raw + data if self._raw else data
        try:
            while self._raw and not self._done and self._frame(self):
                pass
        except WireError as error:
            self._lost = self._lost or error
        except (ValueError, zlib.error) as error:
            self._lost = self._lost or WireError(f"the answer is malformed ({error})")
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        if error is None and self.status and self._frame == Answer._until_closed:
            self._finish()
        self._lost = self._lost or WireError(str(error) if error else "the connection was closed")
        self._wake()

    async def _more(self) -> None:
        """Wait until something comes; raises `TimeoutError` where nothing does."""
        if self._lost is not None:
            raise self._lost
        if self._timer is None:
            self._timer = self._loop.call_later(READ_S, self._silent)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._lost is not None and not self._done and not self._ready:
            raise self._lost

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _silent(self) -> None:
        """One timer a connection, that looks when the last byte came: one for each request would cost more."""
        self._timer = None
        rest = self._heard_at + READ_S - self._loop.time()
        if self._waiter is None:
            return
        if rest > 0:
            self._timer = self._loop.call_later(rest, self._silent)
        else:
            self._lost = TimeoutError("nothing came for too long")
            self._wake()

    def _taken(self) -> bytes:
        ready, self._ready, self._ready_bytes = self._ready, [], 0
        self._resume()
        return ready[0] if len(ready) == 1 else b"".join(ready)

    def _resume(self) -> None:
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    # How an answer is framed: each of these takes what it can of `_raw`, and says whether it took anything

    def _read_head(self) -> bool:
        end = self._raw.find(b"\r\n\r\n")
        if end < 0:
            if len(self._raw) > _LONGEST_HEAD:
                raise WireError("the answer's head does not end")
            return False
        first, *lines = self._raw[:end].split(b"\r\n")
        self._raw = self._raw[end + 4 :]
        version, _, rest = first.partition(b" ")
        if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
            raise WireError("the answer is not HTTP/1.1")
        if rest[:1] != b"1":  # what is only informational has another one behind it
            self.headers = [_header(line) for line in lines]
            self._choose_frame(version)
            self.status = int(rest[:3])
            if self.status in (204, 304):
                self._finish()
        return True

    def _choose_frame(self, version: bytes) -> None:
        """How long the body is (RFC 9112, section 6.3)."""
        known = {name.lower(): value.lower() for name, value in self.headers}
        if len({value for name, value in self.headers if name.lower() == b"content-length"}) > 1:
            raise WireError("the answer has two lengths")
        connection = known.get(b"connection", b"")
        self._closes = b"close" in connection or (version == b"HTTP/1.0" and b"keep-alive" not in connection)
        self._unpacker = _unpacker(known.get(b"content-encoding", b"identity"))
        coding, length = known.get(b"transfer-encoding"), known.get(b"content-length")
        if coding is not None:
            if coding != b"chunked":
                raise WireError(f"the answer's transfer-encoding is {coding.decode('latin-1')}")
            self._frame = Answer._chunk_size
        elif length is not None:
            if not length.isdigit():
                raise WireError("the answer's content-length is no number")
            self._wanted, self._frame = int(length), Answer._counted
            if not self._wanted:
                self._finish()
        else:
            self._frame, self._closes = Answer._until_closed, True

    def _counted(self) -> bool:
        self._give(self._wanted)
        if not self._wanted:
            self._finish()
        return True

    def _until_closed(self) -> bool:
        self._give(len(self._raw))
        return True

    def _chunk_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        self._wanted = int(line.partition(b";")[0].strip(), 16)
        if self._wanted < 0:
            raise WireError("a chunk's size is no number")
        self._frame = Answer._chunk if self._wanted else Answer._trailer
        return True

    def _chunk(self) -> bool:
        self._give(self._wanted)
        if not self._wanted:
            self._frame = Answer._chunk_end
        return True

    def _chunk_end(self) -> bool:
        line = self._line()
        if line:
            raise WireError("a chunk is longer than it said")
        if line is not None:
            self._frame = Answer._chunk_size
        return line is not None

    def _trailer(self) -> bool:
        line = self._line()
        if line == b"":
            self._finish()
        return line is not None

    def _line(self) -> bytes | None:
        end = self._raw.find(b"\r\n")
        if end < 0:
            if len(self._raw) > _LONGEST_HEAD:
                raise WireError("a line of the answer does not end")
            return None
        line, self._raw = self._raw[:end], self._raw[end + 2 :]
        return line

    def _give(self, most: int) -> None:
        """Up to so many bytes go to whoever reads."""
        data, self._raw = (self._raw, b"") if len(self._raw) <= most else (self._raw[:most], self._raw[most:])
        self._wanted = max(0, self._wanted - len(data))
        if self._unpacker is not None:
            data = self._unpacker.decompress(data)
        if data:
            self._ready.append(data)
            self._ready_bytes += len(data)
        if self._ready_bytes > _HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _finish(self) -> None:
        if self._unpacker is not None and self.status and not self._unpacker.eof:
            raise WireError("the answer is packed, and breaks off")
        self._done = True


@lru_cache(maxsize=1024)  # most lines of an answer's head are those of the answer before
def _header(line: bytes) -> tuple[bytes, bytes]:
    match = _HEADER.fullmatch(line)
    if match is None:
        raise WireError("a header of the answer is malformed")
    return match[1], match[2]


def _unpacker(coding: bytes) -> "zlib._Decompress | None":
    if coding in (b"gzip", b"x-gzip", b"deflate"):
        return zlib.decompressobj(wbits=47 if coding != b"deflate" else 15)
    if coding not in (b"identity", b""):
        raise WireError(f"the answer is packed as {coding.decode('latin-1')}, which nobody asked for")
    return None
