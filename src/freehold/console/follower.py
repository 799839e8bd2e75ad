"""What is derived from captured traffic, kept near its end: the search index and the daily totals.

A thread reads what was added since, in small portions. While exchanges come in it works a twentieth of the time, so
that the gateway keeps its core; when none come it works half of it. No page waits for it: a search says how many
exchanges it could not see yet, and totals add what is missing themselves.
"""

import asyncio
import logging
import time

from freehold.store import search, totals
from freehold.store.database import Store

log = logging.getLogger(__name__)

PORTION = 100
IDLE_S, BROKEN_S = 1.0, 10.0
BUSY_REST, QUIET_REST = 19.0, 1.0  # how much longer than its work a rest is


class Follower:
    """One reader of the store's end."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last = -1

    async def follow(self) -> None:
        """Derive for ever."""
        while True:
            try:
                rest = await asyncio.to_thread(self.step)
            except Exception as error:  # the store is down: what was derived stays, loudly
                log.error("the search index and the totals cannot follow: %s", error)
                rest = BROKEN_S
            await asyncio.sleep(rest)

    def step(self) -> float:
        """One portion; returns how long to rest (seconds)."""
        began = time.perf_counter()
        last = search.last(self._store)
        arriving, self._last = last != self._last, last
        read = search.index(self._store, PORTION) + totals.advance(self._store, 20 * PORTION)
        spent = time.perf_counter() - began
        return spent * (BUSY_REST if arriving else QUIET_REST) if read else IDLE_S
