"""Running the gateway: one process on one port, until SIGTERM or Ctrl-C, then draining.

The engines are children of this process. The server (Granian) is embedded in this process's event loop, so that one
loop owns requests, children and the record, and one signal stops them in order: no new connections, answers out,
children down.
"""

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server
from starlette.types import ASGIApp

from freehold.errors import RefusedError, ResourceError
from freehold.gateway.app import build
from freehold.gateway.backends import Backends
from freehold.gateway.children import Children
from freehold.gateway.roster import Roster
from freehold.records import Record
from freehold.store.database import connect
from freehold.store.workspace import Workspace

log = logging.getLogger(__name__)


class Settings(Record, frozen=True, kw_only=True):
    """How the gateway is run.

    `max_body` is in bytes. `beyond_loopback` is the explicit word without which only this machine is served.
    """

    host: str = "127.0.0.1"
    port: int = 8400
    max_body: int = 16 * 1024 * 1024
    beyond_loopback: bool = False

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def serve(workspace: Workspace, settings: Settings, backends: Backends, ready: Callable[[list[str]], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; `ready` is told the served names once the port answers. Raises `ResourceError`."""
    check_address(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_signalled(workspace, settings, backends, ready))


async def _until_signalled(
    workspace: Workspace, settings: Settings, backends: Backends, ready: Callable[[list[str]], None]
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serving(workspace, settings, backends) as roster:
        ready(roster.names)
        await stop.wait()


@asynccontextmanager
async def serving(workspace: Workspace, settings: Settings, backends: Backends) -> AsyncIterator[Roster]:
    """Serve while the block runs; at its end no connection is taken, answers under way go out, children stop."""
    store = connect(workspace.database_url)
    children = Children(backends.engine_for)
    try:
        roster = Roster(workspace, store, children, backends.load_classifier)
        await roster.refresh()
        async with _listening(build(roster, settings.max_body), settings), _background(roster.follow()):
            yield roster
    finally:
        await children.stop()
        store.dispose()


@asynccontextmanager
async def _listening(app: ASGIApp, settings: Settings) -> AsyncIterator[None]:
    server = Server(app, settings.host, settings.port, interface=Interfaces.ASGINL, log_enabled=False, backlog=1024)
    running = asyncio.create_task(server.serve())
    try:
        await _answers(settings, running)
        yield
    finally:
        server.stop()
        await running


@asynccontextmanager
async def _background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()


async def _answers(settings: Settings, serving: "asyncio.Task[None]") -> None:
    """Wait until the port takes connections."""
    while not serving.done():
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(settings.host, settings.port)
            writer.close()
            return
        await asyncio.sleep(0.02)
    await serving


def check_address(settings: Settings) -> None:
    """Refuse a port that is in use, and an address beyond this machine without the explicit word."""
    if not _is_loopback(settings.host) and not settings.beyond_loopback:
        raise RefusedError(
            f"{settings.host} is reachable from other machines; give --beyond-loopback if that is meant, "
            "and only behind something that speaks TLS"
        )
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise ResourceError(
                f"{settings.host}:{settings.port} cannot be served from ({error.strerror}); "
                "stop what uses it, or name another with --port"
            ) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
