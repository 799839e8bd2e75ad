"""The HTTP server, in the event loop of whoever serves: no request changes threads on its way (uvicorn with httptools).

The connection is watched while a head is read: llhttp bounds none, and a head without an end would fill the memory.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from freehold.errors import ResourceError

_BACKLOG = 1024
_KEPT_ALIVE_S = 75  # longer than clients keep a connection that they do not use: they close it, never both at once
_HEAD_BYTES = 64 * 1024
_LOOK_S = 0.005


class Tls(NamedTuple):
    """PEM files."""

    certificate: str
    key: str


class Address(NamedTuple):
    """Where to listen, in plain HTTP where no TLS is given."""

    host: str
    port: int
    tls: Tls | None = None


@contextmanager
def bound(address: Address, shared: bool = False) -> Iterator[socket.socket]:
    """The port, for as long as the block runs; raises `ResourceError` where it is taken."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            door.bind((address.host, address.port))
        except OSError as error:
            raise ResourceError(
                f"{address.host}:{address.port} cannot be served from ({error.strerror}); "
                "stop what uses it, or name another with --port"
            ) from None
        yield door


@asynccontextmanager
async def listening(app: ASGIApp, address: Address, shared: bool = False) -> AsyncIterator[None]:
    """Answer on the port while the block runs; then close it and wait for the answers under way.

    `shared` lets other processes that say so listen on the same port. Raises `ResourceError` where it is taken.
    """
    server = _Server(_config(app, address.tls))
    with bound(address, shared) as door:
        running = asyncio.create_task(server.serve(sockets=[door]))
        try:
            while not (server.started or running.done()):
                await asyncio.sleep(_LOOK_S)
            if running.done():
                await running  # raises why it did not start
            yield
        finally:
            server.should_exit = True
            await running


class _Server(uvicorn.Server):
    """Whoever serves minds the signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(HttpToolsProtocol):
    """Refuses a head that does not end, and writes its own heads together with what follows them."""

    _head_bytes: int | None = 0  # of a head that is not whole yet; None: what comes now is a body

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_HeadWaits(transport, self.loop))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("The head of this request is too long.")

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        super().on_headers_complete()


class _HeadWaits:
    """A transport on which an answer's head leaves with its body in one system call, or else at the end of the turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._head = b""
        self.get_extra_info, self.is_closing = transport.get_extra_info, transport.is_closing
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading

    def write(self, data: bytes) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head + data)
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._let_go)
        else:
            self._transport.write(data)

    def close(self) -> None:
        self._let_go()
        self._transport.close()

    def _let_go(self) -> None:
        if self._head:
            self.write(b"")


def _config(app: ASGIApp, tls: Tls | None) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        loop="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEPT_ALIVE_S,
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key if tls else None,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return config
