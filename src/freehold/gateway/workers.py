"""Several worker processes on one port and one store: the house that starts them, watches them and stops them.

Each worker answers requests and writes a journal of its own; the house reads all of them into the store, runs the
engines, and holds the limits (`house.py`). A worker that dies is replaced. One whose house is gone stops.
"""

import asyncio
import contextlib
import importlib
import logging
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from freehold.data.subject import Subjects
from freehold.errors import EngineError
from freehold.gateway import retention, rollback, serve
from freehold.gateway.ask import announced
from freehold.gateway.backends import Backends
from freehold.gateway.children import Children
from freehold.gateway.embedders import Embedders
from freehold.gateway.house import House, Lease
from freehold.gateway.keeper import JOURNAL, recover
from freehold.gateway.keeper_process import KeeperProcess
from freehold.gateway.keyring import Keyring
from freehold.gateway.wire import Message, Wire
from freehold.records import Record
from freehold.store.database import connect
from freehold.store.workspace import Workspace

log = logging.getLogger(__name__)

READY_S = 120.0
DRAIN_S = 90.0
_SHORT_LIFE_S = 5.0


class Hired(Record, frozen=True, kw_only=True):
    """What a worker is told when it begins. `opening` is where another room's pages are made (`module:name`)."""

    root: str
    settings: serve.Settings
    number: int
    opening: str | None = None


@asynccontextmanager
async def serving(
    workspace: Workspace, settings: serve.Settings, backends: Backends, opening: str | None = None
) -> AsyncIterator["Workers"]:
    """Serve with `settings.workers` processes while the block runs; at its end they drain, then the engines stop."""
    store, folder = connect(workspace.database_url), workspace.root / JOURNAL
    children, embedders = Children(backends.engine_for), Embedders(backends.embedder_for)
    async with AsyncExitStack() as stack:
        stack.callback(store.dispose)
        stack.push_async_callback(children.stop)
        stack.push_async_callback(embedders.stop)
        await asyncio.to_thread(recover, folder, store)
        await asyncio.to_thread(Subjects(workspace).hide_recorded, store)
        folder.mkdir(parents=True, exist_ok=True)
        keeper = serve.kept(workspace, settings, store, lambda: None, stack)
        if isinstance(keeper, KeeperProcess):
            keeper.start(_derives(opening))
        keyring = Keyring(store, required=False)
        await keyring.refresh()
        house = House(store, (children, embedders), keyring, folder)
        house.failing = lambda: keeper.failing
        works = (serve.follow_keys(keyring), rollback.watch(workspace, store), retention.keep(workspace))
        await stack.enter_async_context(serve.background(*works))
        told = Hired(root=str(workspace.root), settings=settings, number=0, opening=opening)
        workers = Workers(house, told)
        stack.push_async_callback(workers.stop)
        await workers.start()
        stack.enter_context(announced(workspace, settings.url, settings.tls_cert))
        yield workers


def _derives(opening: str | None) -> str | None:
    """What the room that is opened beside the gateway has the keeper derive."""
    if opening is None:
        return None
    module, _, name = opening.partition(":")
    derives: str = getattr(importlib.import_module(module), name).derives
    return derives


class Workers:
    """The worker processes."""

    def __init__(self, house: House, told: Hired) -> None:
        self._house, self._told = house, told
        self._posts: list[asyncio.Task[None]] = []
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._ready: list[asyncio.Future[list[str]]] = []
        self._stopping = False
        self.names: list[str] = []

    @property
    def pids(self) -> list[int]:
        """Of those that run now."""
        return [each.pid for each in self._processes.values() if each.returncode is None]

    async def start(self) -> None:
        """Start them all, and wait until each answers."""
        loop = asyncio.get_running_loop()
        for number in range(self._told.settings.workers):
            self._ready.append(loop.create_future())
            self._posts.append(asyncio.create_task(self._man(number)))
        async with asyncio.timeout(READY_S):
            self.names = (await asyncio.gather(*self._ready))[0]

    async def stop(self) -> None:
        """Let their answers out, then end them."""
        self._stopping = True
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        done, late = await asyncio.wait(self._posts, timeout=DRAIN_S) if self._posts else (set(), set())
        for process in self._processes.values() if late else ():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*done, *late, return_exceptions=True)

    async def _man(self, number: int) -> None:
        """Keep one worker running."""
        while not self._stopping:
            begun = time.monotonic()
            try:
                await self._life(number)
            except Exception as error:
                log.exception("worker %d cannot be started", number)
                if not self._ready[number].done():
                    self._ready[number].set_exception(error)
                    return
            if not self._ready[number].done():
                self._ready[number].set_exception(EngineError("a worker ended before it answered; the log says why"))
                return
            if not self._stopping:
                log.error("worker %d ended; another is started", number)
                if time.monotonic() - begun < _SHORT_LIFE_S:
                    await asyncio.sleep(1.0)

    async def _life(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "freehold.gateway.worker", str(theirs.fileno()), pass_fds=[theirs.fileno()]
            )
        self._processes[number] = process
        wire = Wire(*await asyncio.open_unix_connection(sock=ours, limit=2**26))
        wire.send(Message(0, "hired", msgspec.msgpack.encode(msgspec.structs.replace(self._told, number=number))))
        lease = Lease(wire, process.pid)
        answering = asyncio.create_task(self._house.answer(lease))
        waiting = asyncio.create_task(lease.ready.wait())
        await asyncio.wait((answering, waiting), return_when=asyncio.FIRST_COMPLETED)
        if lease.ready.is_set() and not self._ready[number].done():
            self._ready[number].set_result(lease.names)
        await process.wait()
        await answering
        waiting.cancel()


def run(workspace: Workspace, settings: serve.Settings, backends: Backends, ready: serve.Ready, opening: str) -> None:
    """Serve until SIGTERM or Ctrl-C; `ready` is told the served names once every worker answers."""

    async def until_signalled() -> None:
        async with serving(workspace, settings, backends, opening) as workers:
            ready(workers.names)
            await serve.signalled()

    asyncio.run(until_signalled())
