"""The engines behind the owned models: one supervised child process a base, holding every adapter deployed on it.

An engine that cannot change its adapters while it runs is replaced: a second child is started while the first one
answers, and the first is stopped when its last answer is out. A child that breaks is started again by `engines`; the
gateway lives on. Engines answer in threads, and the event loop only ever waits for them.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

from freehold.engines.engine import Answer, Completion, Engine, Piece
from freehold.errors import FreeholdError
from freehold.gateway.busy import Busy
from freehold.gateway.fleet import Fleet

log = logging.getLogger(__name__)

DRAIN_S = 60.0
AT_ONCE = 64

EngineFor = Callable[[str, tuple[str, ...]], Engine]
"""The engine of a base (by name) that holds these adapters (by digest): a new one, or the running one, changed."""


class RunningChild:
    """One child, and how busy it is."""

    def __init__(self, base: str, adapters: tuple[str, ...], engine: Engine, threads: ThreadPoolExecutor) -> None:
        self.base = base
        self.adapters = adapters
        self.engine = engine
        self._threads = threads
        self._busy = Busy()

    async def start(self) -> None:
        await asyncio.to_thread(self.engine.start)

    async def complete(self, request: Completion) -> tuple[Answer, float]:
        """The answer, and its share of the machine's time (seconds)."""
        with self._busy.held() as share:
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(self._threads, self.engine.complete, request)
            return answer, share()

    async def stream(self, request: Completion) -> AsyncIterator[tuple[Piece, float]]:
        """The pieces as they are decoded, each with the share of the machine's time until then (seconds).

        Leaving the loop early stops the decoding.
        """
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[Piece | Exception] = asyncio.Queue()
        unwanted = threading.Event()

        def decode() -> None:
            try:
                for piece in self.engine.stream(request):
                    if unwanted.is_set():
                        return
                    loop.call_soon_threadsafe(pieces.put_nowait, piece)
            except Exception as error:  # handed to whoever waits for the pieces
                loop.call_soon_threadsafe(pieces.put_nowait, error)

        with self._busy.held() as share:
            decoding = loop.run_in_executor(self._threads, decode)
            try:
                while True:
                    piece = await pieces.get()
                    if isinstance(piece, Exception):
                        raise piece
                    yield piece, share()
                    if piece.answer is not None:
                        return
            finally:
                unwanted.set()
                await asyncio.shield(decoding)

    async def stop(self, longest_s: float = DRAIN_S) -> None:
        """Wait for the answers under way, then end the child."""
        if not await self._busy.drained(longest_s):
            log.warning("the engine of %s is stopped with %d answers under way", self.base, self._busy.count)
        await asyncio.to_thread(self.engine.stop)


class Children(Fleet[RunningChild]):
    """Every child, by base."""

    def __init__(self, engine_for: EngineFor) -> None:
        super().__init__(AT_ONCE, "engine")
        self._engine_for = engine_for

    async def want(self, needs: dict[str, tuple[str, ...]]) -> tuple[dict[str, RunningChild], dict[str, FreeholdError]]:
        """Children for these bases and adapters, and why others cannot start; those that fit already are kept.

        Nothing is stopped yet: the caller first switches to what is returned, then calls `keep_only`.
        """
        found: dict[str, RunningChild] = {}
        failed: dict[str, FreeholdError] = {}
        for base, adapters in needs.items():
            try:
                found[base] = await self._child(base, adapters)
            except FreeholdError as error:
                failed[base] = error
        return found, failed

    async def _child(self, base: str, adapters: tuple[str, ...]) -> RunningChild:
        """The running child where it fits, or where its engine takes the adapters while it runs; else a new one."""
        child = self._running.get(base)
        if child is not None and child.adapters == adapters:
            return child
        engine = await asyncio.to_thread(self._engine_for, base, adapters)
        if child is not None and child.engine is engine:
            child.adapters = adapters
            return child
        child = RunningChild(base, adapters, engine, self._threads)
        await child.start()
        return child
