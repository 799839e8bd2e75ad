"""The engines behind the owned models: one supervised child process a base, holding every adapter deployed on it.

An engine fixes its adapters when it starts. A changed set is therefore a second child, started and warmed while the
first one answers; the first is stopped when its last answer is out. A child that breaks is started again; the gateway
lives on.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from freehold.engines.engine import Address, Completion, LocalEngine
from freehold.errors import EngineError, FreeholdError

log = logging.getLogger(__name__)

DRAIN_S = 60.0
_RESTART_PAUSES_S = (0.0, 1.0, 5.0, 15.0, 60.0)

EngineFor = Callable[[str, tuple[str, ...]], LocalEngine]
"""Makes the engine of a base (by name) that holds these adapters (by digest)."""

BodyOf = Callable[[Completion, bool, tuple[str, ...]], dict[str, Any]]
"""Writes a request in the engine's dialect; the adapters are in the engine's own order."""


class RunningChild:
    """One child process: where it is, how busy it is, and how it comes back when it breaks."""

    def __init__(self, base: str, adapters: tuple[str, ...], engine: LocalEngine, body_of: BodyOf) -> None:
        self.base = base
        self.adapters = adapters
        self._engine = engine
        self._body_of = body_of
        self._address: Address | None = None
        self._revival: asyncio.Task[None] | None = None
        self._busy = 0

    @property
    def address(self) -> Address:
        """Where it answers now; raises `EngineError` while it is being started again."""
        if self._address is None:
            raise EngineError(f"the engine of {self.base} is being started again; try once more in a moment")
        return self._address

    def body(self, completion: Completion, stream: bool) -> dict[str, Any]:
        return self._body_of(completion, stream, self.adapters)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Held while an answer is under way, so that the child is not stopped under it."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    async def start(self) -> None:
        await asyncio.to_thread(self._engine.start)
        self._address = self._engine.address()

    def failed(self) -> None:
        """Told that the child no longer answers: it is started again, once, in the background."""
        if self._address is not None:
            self._address = None
            self._revival = asyncio.create_task(self._revive())

    async def drain(self, longest_s: float = DRAIN_S) -> None:
        """Wait for the answers under way, then stop."""
        async with asyncio.timeout(longest_s) if longest_s else asyncio.timeout(0.001):
            while self._busy:
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        if self._revival is not None:
            self._revival.cancel()
        try:
            await self.drain()
        except TimeoutError:
            log.warning("the engine of %s is stopped with %d answers under way", self.base, self._busy)
        await asyncio.to_thread(self._engine.stop)

    async def _revive(self) -> None:
        for at in range(1_000_000):
            await asyncio.sleep(_RESTART_PAUSES_S[min(at, len(_RESTART_PAUSES_S) - 1)])
            try:
                await asyncio.to_thread(self._engine.stop)
                await self.start()
                log.warning("the engine of %s was started again", self.base)
                return
            except FreeholdError as error:
                log.error("the engine of %s cannot be started again: %s", self.base, error)


class Children:
    """Every child, by base."""

    def __init__(self, engine_for: EngineFor, body_of: BodyOf) -> None:
        self._engine_for = engine_for
        self._body_of = body_of
        self._running: dict[str, RunningChild] = {}
        self._retiring: set[asyncio.Task[None]] = set()

    async def want(self, needs: dict[str, tuple[str, ...]]) -> dict[str, RunningChild]:
        """Children for these bases and adapters: those that fit are kept, others are started. Raises `EngineError`.

        Nothing is stopped yet: the caller first switches to what is returned, then calls `keep_only`.
        """
        found: dict[str, RunningChild] = {}
        for base, adapters in needs.items():
            child = self._running.get(base)
            if child is None or child.adapters != adapters:
                engine = await asyncio.to_thread(self._engine_for, base, adapters)
                child = RunningChild(base, adapters, engine, self._body_of)
                await child.start()
            found[base] = child
        return found

    def keep_only(self, wanted: dict[str, RunningChild]) -> None:
        """Let every other child finish its answers and stop."""
        for base, child in self._running.items():
            if wanted.get(base) is not child:
                retiring = asyncio.create_task(child.stop())
                self._retiring.add(retiring)
                retiring.add_done_callback(self._retiring.discard)
        self._running = dict(wanted)

    async def stop(self) -> None:
        """Stop them all, the retiring ones included."""
        self.keep_only({})
        await asyncio.gather(*self._retiring, return_exceptions=True)
