"""The client under the hot path: every framing of RFC 9112, cut at every byte; nothing broken looks like an answer."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from freehold.gateway import http_client as wires
from freehold.gateway.http_client import Answer, HttpClient, WireError

T = TypeVar("T")

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
BODY = '{"answer": "Zürich 你好"}'.encode()
PACKED = gzip.compress(BODY, mtime=0)
CHUNKED = b"".join(b"%x;x=1\r\n%b\r\n" % (len(part), part) for part in (BODY[:5], BODY[5:6], BODY[6:]))
ANSWERS = {
    "counted": HEAD + b"content-length: %d\r\n\r\n" % len(BODY) + BODY,
    "chunked": HEAD + b"transfer-encoding: chunked\r\n\r\n" + CHUNKED + b"0\r\n\r\n",
    "trailer": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED + b"0\r\nx-sum: 1\r\n\r\n",
    "packed": HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(PACKED) + PACKED,
    "informed": b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    + HEAD
    + b"content-length: %d\r\n\r\n" % len(BODY)
    + BODY,
}


class Scripted:
    """A server that answers each request with the next pieces; `asked` is what came, on so many `connections`."""

    def __init__(self, answers: Sequence[Sequence[bytes]], close: bool = False) -> None:
        self._answers, self._close = list(answers), close
        self.asked: list[bytes] = []
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while self._answers:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            self.asked.append(head + await reader.readexactly(length))
            for piece in self._answers.pop(0):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            if self._close:
                break
        writer.close()


@asynccontextmanager
async def served(script: Scripted) -> AsyncIterator[tuple[HttpClient, str]]:
    server = await asyncio.start_server(script, "127.0.0.1", 0)
    wire = HttpClient()
    try:
        yield wire, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/x?y=1"
    finally:
        wire.close()
        server.close()


def run(script: Scripted, ask: Callable[[HttpClient, str], Awaitable[T]]) -> T:
    async def within() -> T:
        async with served(script) as (wire, url):
            return await ask(wire, url)

    return asyncio.run(within())


async def whole(wire: HttpClient, url: str) -> bytes:
    async with wire.post(url, [("x-a", "b")], b"{}") as answer:
        return await answer.read(1_000_000)


async def in_pieces(wire: HttpClient, url: str) -> bytes:
    async with wire.post(url, [], b"{}") as answer:
        return b"".join([piece async for piece in answer.pieces()])


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("ask", [whole, in_pieces])
def test_every_framing_is_read_however_it_is_cut(kind: str, ask: Callable[[HttpClient, str], Awaitable[bytes]]) -> None:
    raw = ANSWERS[kind]
    cuts = [(raw[:at], raw[at:]) for at in range(1, len(raw))]
    script = Scripted([*cuts, [bytes([each]) for each in raw]])

    async def every(wire: HttpClient, url: str) -> list[bytes]:
        return [await ask(wire, url) for _ in range(len(cuts) + 1)]

    assert set(run(script, every)) == {BODY}
    assert script.connections == 1, "a connection whose answer was read is used again"


def test_what_is_asked_is_on_the_wire_as_it_was_given() -> None:
    script = Scripted([[ANSWERS["counted"]]])
    assert run(script, whole) == BODY
    (asked,) = script.asked
    assert asked.startswith(b"POST /v1/x?y=1 HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"\r\nx-a: b\r\naccept-encoding: identity\r\ncontent-length: 2\r\n\r\n{}" in asked


def test_an_answer_that_ends_with_its_connection() -> None:
    script = Scripted([[HEAD + b"\r\n", BODY[:4], BODY[4:]]], close=True)
    assert run(script, whole) == BODY


@pytest.mark.parametrize(
    "raw",
    [
        ANSWERS["counted"][:-1],
        ANSWERS["chunked"][:-5],
        ANSWERS["chunked"][:-2],
        ANSWERS["packed"][:-3],
        HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % (len(PACKED) - 9) + PACKED[:-9],
        HEAD + b"content-encoding: br\r\ncontent-length: 1\r\n\r\nx",
        HEAD + b"content-length: +5\r\n\r\nhello",
        HEAD + b"content-length: 5\r\ncontent-length: 4\r\n\r\nhello",
        HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\nx\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: a\nset-cookie: b\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 300_000,
        b"",
    ],
)
@pytest.mark.parametrize("ask", [whole, in_pieces])
def test_what_is_broken_never_looks_like_an_answer(
    raw: bytes, ask: Callable[[HttpClient, str], Awaitable[bytes]]
) -> None:
    with pytest.raises(WireError):
        run(Scripted([[raw]], close=True), ask)


def test_an_answer_without_an_end_is_given_up() -> None:
    async def bounded(wire: HttpClient, url: str) -> bytes:
        async with wire.post(url, [], b"") as answer:
            return await answer.read(3_000_000)

    with pytest.raises(WireError, match="does not end"):
        run(Scripted([[HEAD + b"\r\n", *[bytes(100_000)] * 60]], close=True), bounded)


def test_a_slow_reader_holds_the_upstream_back() -> None:
    async def slowly(wire: HttpClient, url: str) -> tuple[int, int]:
        async with wire.post(url, [], b"") as answer:
            await asyncio.sleep(0.2)
            waiting = answer._ready_bytes
            return waiting, sum([len(piece) async for piece in answer.pieces()])

    waiting, size = run(Scripted([[HEAD + b"\r\n", *[bytes(100_000)] * 80]], close=True), slowly)
    assert waiting < 2_000_000
    assert size == 8_000_000


def test_a_kept_connection_that_was_closed_is_not_used_and_nothing_is_sent_twice() -> None:
    script = Scripted([[ANSWERS["counted"]], [ANSWERS["counted"]]], close=True)

    async def twice(wire: HttpClient, url: str) -> None:
        await whole(wire, url)
        await asyncio.sleep(0.05)
        await whole(wire, url)

    run(script, twice)
    assert (script.connections, len(script.asked)) == (2, 2)


def test_an_answer_that_was_left_early_does_not_leak_into_the_next() -> None:
    script = Scripted([[ANSWERS["counted"][:-4]], [ANSWERS["counted"]]])

    async def left(wire: HttpClient, url: str) -> bytes:
        async with wire.post(url, [], b"") as answer:
            assert answer.status == 200
        return await whole(wire, url)

    assert run(script, left) == BODY
    assert script.connections == 2


def test_a_stream_that_is_left_at_its_last_event_leaves_its_connection_to_the_next() -> None:
    """The generator is closed where it stands: an exception ends its block, though nothing went wrong."""
    script = Scripted([[ANSWERS["chunked"]], [ANSWERS["chunked"]]])

    async def streamed(wire: HttpClient, url: str) -> AsyncIterator[bytes]:
        async with wire.post(url, [], b"") as answer:
            async for piece in answer.pieces():
                yield piece

    async def twice(wire: HttpClient, url: str) -> None:
        for _ in range(2):
            stream = streamed(wire, url)
            assert await anext(stream)
            await asyncio.sleep(0.05)  # the rest has come
            await stream.aclose()  # type: ignore[attr-defined]

    run(script, twice)
    assert (script.connections, len(script.asked)) == (1, 2)


def test_a_connection_that_was_told_to_pause_is_not_left_to_the_next() -> None:
    long = b"x" * (wires._HIGH_WATER + 1)  # its last bytes are those that are too many to wait for their reader
    script = Scripted([[HEAD + b"content-length: %d\r\n\r\n" % len(long) + long], [ANSWERS["counted"]]])

    async def left(wire: HttpClient, url: str) -> bytes:
        async with wire.post(url, [], b"") as answer:
            while not answer._done:
                await asyncio.sleep(0.01)
        return await asyncio.wait_for(whole(wire, url), 5)

    assert run(script, left) == BODY
    assert script.connections == 2


@pytest.mark.parametrize("header", [("x", "a\r\nevil: 1"), ("x\n", "a"), ("x", "a\rb"), ("x", "\u20ac")])
def test_no_header_can_be_smuggled_in(header: tuple[str, str]) -> None:
    with pytest.raises(WireError):
        HttpClient().post("http://127.0.0.1:1/", [header], b"")


def test_silence_is_a_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wires, "READ_S", 0.1)

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)
        writer.close()

    async def within() -> None:
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        async with server:
            with pytest.raises(TimeoutError):
                await whole(HttpClient(), f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")

    asyncio.run(within())


def test_nobody_there_is_an_os_error() -> None:
    with pytest.raises(OSError):
        asyncio.run(whole(HttpClient(), "http://127.0.0.1:9/v1"))
    with pytest.raises(WireError):
        HttpClient().post("ftp://x/", [], b"")


def test_a_header_is_found_whatever_its_case() -> None:
    async def typed(wire: HttpClient, url: str) -> str:
        async with wire.post(url, [], b"") as answer:
            assert isinstance(answer, Answer)
            await answer.read(1000)
            return answer.header(b"retry-after")

    assert run(Scripted([[b"HTTP/1.1 429 X\r\nRetry-After: 7\r\ncontent-length: 0\r\n\r\n"]]), typed) == "7"
