"""The keeper in a process of its own, behind requests in priority: what it decodes, writes and derives takes no moment
of theirs. In the gateway's own process it would: two threads of one Python never run at once.

It ends with its gateway, however that ends: at the end of its input it carries what is there, and stops. On its output
it writes a byte whenever the store begins (1) or ceases (0) to take nothing.
"""

import asyncio
import contextlib
import importlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Protocol

from freehold.gateway.keeper import JOURNAL, Keeper
from freehold.store.database import Store, connect
from freehold.store.workspace import Workspace

log = logging.getLogger(__name__)

BEHIND = 5  # how much nicer than the gateway
END_S = 60.0
_AGAIN_S = 1.0


class Derived(Protocol):
    """What another room derives from what was kept."""

    def step(self) -> float:
        """One portion; returns how long to rest (seconds). Raises whatever the store does."""


class KeeperProcess:
    """The gateway's side of it. One that dies is replaced; until then exchanges are safe in the journal."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._stopping = False
        self.failing = False

    def start(self, derives: str | None) -> None:
        """Begin; `derives` names another room's `Derived` as module:name, which is made with the store."""
        self._watch = asyncio.create_task(self._keep(derives or ""))

    async def stop(self) -> None:
        """Have it carry what is there, and end."""
        self._stopping = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        if self._watch is not None:
            await asyncio.wait((self._watch,), timeout=END_S)
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _keep(self, derives: str) -> None:
        while not self._stopping:
            await self._life(derives)
            if not self._stopping:
                self.failing = True
                log.error("the keeper ended; another is started, and exchanges are safe in the journal until it runs")
                await asyncio.sleep(_AGAIN_S)

    async def _life(self, derives: str) -> None:
        command = (sys.executable, "-m", "freehold.gateway.keeper_process", str(self._root), derives)
        pipe = asyncio.subprocess.PIPE
        self._process = process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        if self._stopping and process.stdin is not None:
            process.stdin.close()
        assert process.stdout is not None
        while said := await process.stdout.read(1):
            self.failing = said == b"1"
        await process.wait()


def main() -> None:
    """The process itself: its arguments are the workspace's folder, and what is derived (module:name, or nothing)."""
    for each in (signal.SIGINT, signal.SIGTERM):  # those are the gateway's
        signal.signal(each, signal.SIG_IGN)
    os.nice(BEHIND)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    workspace = Workspace(Path(sys.argv[1]))
    store = connect(workspace.database_url)
    keeper = Keeper(workspace.root / JOURNAL, store, lambda: None, _tell)
    _tell(False)
    ended = threading.Event()
    if sys.argv[2]:
        threading.Thread(target=_derive, args=(sys.argv[2], store, ended), name="derived", daemon=True).start()
    sys.stdin.buffer.read()
    ended.set()
    keeper.close()
    store.dispose()


def _tell(failing: bool) -> None:
    with contextlib.suppress(OSError):  # the gateway is gone, and so is this process in a moment
        os.write(sys.stdout.fileno(), b"1" if failing else b"0")


def _derive(named: str, store: Store, ended: threading.Event) -> None:
    module, _, name = named.partition(":")
    derived: Derived = getattr(importlib.import_module(module), name)(store)
    rest = 0.0
    while not ended.wait(rest):
        try:
            rest = derived.step()
        except Exception as error:  # the store is down: what was derived stays, loudly
            log.error("the search index and the totals cannot follow: %s", error)
            rest = 10.0


if __name__ == "__main__":
    main()
