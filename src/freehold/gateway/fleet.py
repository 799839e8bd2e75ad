"""The children that run now, one a base, and those that are on their way out."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar


class Running(Protocol):
    """A child that can be stopped: it lets the answers under way out first."""

    async def stop(self) -> None: ...


R = TypeVar("R", bound=Running)


class Fleet(Generic[R]):
    """Running children by base, and the threads in which they are waited for."""

    def __init__(self, at_once: int, threads: str) -> None:
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix=threads)
        self._running: dict[str, R] = {}
        self._retiring: set[asyncio.Task[None]] = set()

    def keep_only(self, wanted: dict[str, R]) -> None:
        """Let every other child finish its answers and stop."""
        for base, running in self._running.items():
            if wanted.get(base) is not running:
                retiring = asyncio.create_task(running.stop())
                self._retiring.add(retiring)
                retiring.add_done_callback(self._retiring.discard)
        self._running = dict(wanted)

    async def stop(self) -> None:
        """Stop them all, the retiring ones included."""
        self.keep_only({})
        await asyncio.gather(*self._retiring, return_exceptions=True)
        self._threads.shutdown(wait=False)
