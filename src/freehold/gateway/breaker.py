"""A circuit breaker a target: what fails again and again is left alone for a while, then tried with one request.

Source of the method: Nygard, *Release It!* (2007), "Circuit Breaker".
"""

import time
from collections.abc import Callable

FAILURES = 5
REST_S = 10.0


class Breaker:
    """Closed while answers come, open after `FAILURES` in a row, half open when it has rested."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._opened: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether the target is to be left alone now."""
        if self._opened is None:
            return False
        return self._probing or self._clock() - self._opened < REST_S

    @property
    def rest_s(self) -> float:
        """How long until it is tried again."""
        return max(0.0, REST_S - (self._clock() - self._opened)) if self._opened is not None else 0.0

    def begin(self) -> None:
        """A request is let through; where the breaker has rested, it is the one that probes."""
        self._probing = self._opened is not None

    def succeeded(self) -> None:
        self._failures, self._opened, self._probing = 0, None, False

    def left(self) -> None:
        """The caller went before anything could be known."""
        self._probing = False

    def failed(self) -> None:
        self._failures += 1
        self._probing = False
        if self._failures >= FAILURES:
            self._opened = self._clock()
