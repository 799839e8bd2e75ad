"""How busy a child is, and what share of its machine's time each answer took."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Busy:
    """Counts the answers under way. Answers at the same time share the machine's time evenly."""

    def __init__(self) -> None:
        self.count = 0
        self._shared_s = 0.0
        self._ticked = time.perf_counter()

    @contextmanager
    def held(self) -> Iterator[Callable[[], float]]:
        """Held while an answer is under way; what it yields tells the answer's share until then, in seconds."""
        begun = self._tick()
        self.count += 1
        try:
            yield lambda: self._tick() - begun
        finally:
            self._tick()
            self.count -= 1

    async def drained(self, longest_s: float) -> bool:
        """Wait until no answer is under way, so long at most; whether it came to that."""
        try:
            async with asyncio.timeout(longest_s):
                while self.count:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            return False
        return True

    def _tick(self) -> float:
        """A clock that runs at one over the number of answers under way: so that shares add up to time worked."""
        now = time.perf_counter()
        self._shared_s += (now - self._ticked) / max(1, self.count)
        self._ticked = now
        return self._shared_s
