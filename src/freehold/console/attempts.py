"""How often somebody may try to sign in: by name and by address, so that neither can be tried out."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

from freehold.gateway.faults import GatewayError

WINDOW_S = 900.0
BY_NAME = 8
BY_ADDRESS = 24


class Attempts:
    """Failed attempts of the last quarter of an hour, in this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: dict[str, deque[float]] = defaultdict(deque)
        self._lock = threading.Lock()

    def check(self, name: str, address: str) -> None:
        """Raise a `GatewayError` of 429 where too many attempts failed."""
        with self._lock:
            waits = [self._wait(f"name {name}", BY_NAME), self._wait(f"address {address}", BY_ADDRESS)]
        if max(waits) > 0:
            wait = int(max(waits)) + 1
            what = f"too many attempts; try again in {wait // 60 + 1} min"
            raise GatewayError(429, what, code="slow_down", retry_after_s=wait)

    def failed(self, name: str, address: str) -> None:
        """Count one."""
        with self._lock:
            if len(self._failed) > 10_000:
                self._failed.clear()
            for key in (f"name {name}", f"address {address}"):
                self._failed[key].append(self._clock())

    def succeeded(self, name: str) -> None:
        """Whoever knows the password starts anew."""
        with self._lock:
            self._failed.pop(f"name {name}", None)

    def _wait(self, key: str, most: int) -> float:
        times, now = self._failed.get(key), self._clock()
        while times and times[0] < now - WINDOW_S:
            times.popleft()
        return WINDOW_S - (now - times[-most]) if times and len(times) >= most else 0.0
