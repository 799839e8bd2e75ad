"""The HTTP server: what it refuses, what leaves together, and whom it believes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.errors import ResourceError
from freehold.gateway.http_server import Address, listening

Talk = Callable[[bytes], Awaitable[list[bytes]]]
ASK = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def length_of_body(scope: Scope, receive: Receive, send: Send) -> None:
    size, more = 0, True
    while more:
        message: Message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    said = f"{size} from {scope['client'][0]}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]})
    await send({"type": "http.response.body", "body": said})


async def slow_stream(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await asyncio.sleep(0.2)
    await send({"type": "http.response.body", "body": b"HTTP/1.1 is what this body begins with", "more_body": True})
    await send({"type": "http.response.body", "body": b" and ends"})


@asynccontextmanager
async def talking(app: ASGIApp) -> AsyncIterator[Talk]:
    """Sends bytes on a connection of their own, and gives what comes back in the pieces it comes in."""
    port = free_port()

    async def talk(sent: bytes) -> list[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        pieces = []
        while piece := await reader.read(1 << 16):
            pieces.append(piece)
        writer.close()
        return pieces

    async with listening(app, Address("127.0.0.1", port)):
        yield talk


def answered(app: ASGIApp, sent: bytes) -> list[bytes]:
    async def run() -> list[bytes]:
        async with talking(app) as talk:
            return await asyncio.wait_for(talk(sent), 10)

    return asyncio.run(run())


@pytest.mark.parametrize("head", [b"x-long: " + b"a" * 70_000, b"x: y\r\n" * 12_000])
def test_a_head_that_does_not_end_is_refused(head: bytes) -> None:
    said = b"".join(answered(length_of_body, (ASK + head)[: 64 * 1024 + 1]))  # the last byte is one too many
    assert said.startswith(b"HTTP/1.1 400") and said.endswith(b"The head of this request is too long.")


def test_a_long_body_is_no_long_head() -> None:
    body = b"b" * 400_000
    said = b"".join(answered(length_of_body, ASK + b"content-length: %d\r\n\r\n" % len(body) + body))
    assert said.startswith(b"HTTP/1.1 200") and said.endswith(b"400000 from 127.0.0.1")


def test_what_is_no_http_is_refused() -> None:
    assert b"".join(answered(length_of_body, b"\x16\x03\x01\x02\x00 hello\r\n\r\n")).startswith(b"HTTP/1.1 400")


def test_nobody_is_somebody_else_because_a_header_says_so() -> None:
    said = b"".join(answered(length_of_body, ASK + b"x-forwarded-for: 203.0.113.9\r\ncontent-length: 0\r\n\r\n"))
    assert said.endswith(b"0 from 127.0.0.1")


def test_a_head_leaves_together_with_its_body() -> None:
    [whole] = answered(length_of_body, ASK + b"content-length: 0\r\n\r\n")
    assert whole.startswith(b"HTTP/1.1 200") and whole.endswith(b"0 from 127.0.0.1")


def test_a_head_does_not_wait_for_a_body_that_is_yet_to_come() -> None:
    head, *body = answered(slow_stream, ASK + b"content-length: 0\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and head.endswith(b"\r\n\r\n")
    assert b"begins with" in b"".join(body) and b" and ends" in b"".join(body)


def test_a_port_that_is_taken_is_one_clear_error() -> None:
    async def run() -> None:
        taken = socket.create_server(("127.0.0.1", 0))
        with taken, pytest.raises(ResourceError, match="cannot be served from"):
            async with listening(length_of_body, Address("127.0.0.1", taken.getsockname()[1])):
                pass

    asyncio.run(run())


def test_processes_that_say_so_share_a_port() -> None:
    async def run() -> None:
        at = Address("127.0.0.1", free_port())
        async with listening(length_of_body, at, shared=True), listening(length_of_body, at, shared=True):
            pass

    asyncio.run(run())
