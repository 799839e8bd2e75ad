"""The embedding models that answer here: one supervised child a base. They embed in threads, as engines answer."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from freehold.engines.embedder import Embedder, Embedding, Input
from freehold.errors import FreeholdError, NotFoundError
from freehold.gateway.busy import Busy
from freehold.gateway.fleet import Fleet

log = logging.getLogger(__name__)

EmbedderFor = Callable[[str], Embedder]
"""The embedder of a base (by name), not started; raises where the base is none."""

_AT_ONCE = 8
_DRAIN_S = 60.0


def no_embedder(base: str) -> Embedder:
    """For backends that have none."""
    raise NotFoundError(f"{base}: no embedding model is served here")


class RunningEmbedder:
    """One embedding model's child."""

    def __init__(self, base: str, embedder: Embedder, threads: ThreadPoolExecutor) -> None:
        self.base = base
        self._embedder, self._threads = embedder, threads
        self._busy = Busy()

    async def start(self) -> None:
        await asyncio.to_thread(self._embedder.start)

    async def embed(self, inputs: Sequence[Input]) -> tuple[list[Embedding], float]:
        """The vectors, and their share of the machine's time (seconds)."""
        with self._busy.held() as share:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._threads, self._embedder.embed, inputs)
            return found, share()

    async def stop(self) -> None:
        """Wait for the answers under way, then end the child."""
        if not await self._busy.drained(_DRAIN_S):
            log.warning("the embedder %s is stopped with %d answers under way", self.base, self._busy.count)
        await asyncio.to_thread(self._embedder.stop)


class Embedders(Fleet[RunningEmbedder]):
    """Every embedding model's child, by base."""

    def __init__(self, embedder_for: EmbedderFor) -> None:
        super().__init__(_AT_ONCE, "embedder")
        self._embedder_for = embedder_for

    async def want(self, bases: Iterable[str]) -> tuple[dict[str, RunningEmbedder], dict[str, FreeholdError]]:
        """Children for these bases, and why others cannot start. Nothing is stopped before `keep_only`."""
        found, failed = {}, {}
        for base in bases:
            try:
                found[base] = self._running.get(base) or await self._started(base)
            except FreeholdError as error:
                failed[base] = error
        return found, failed

    async def _started(self, base: str) -> RunningEmbedder:
        embedder = await asyncio.to_thread(self._embedder_for, base)
        running = RunningEmbedder(base, embedder, self._threads)
        await running.start()
        return running
