"""Who may be decoded where and when: first come, first served, and an adapter back to a slot that knows its prompt.

A slot keeps the keys and values of the last prompt it saw, so the part that the next one shares (a task's system
message) is not computed again. llama.cpp forgets them when the adapter changes; therefore an adapter returns to a slot
of its own while there is one. llama.cpp also never decodes two adapters in one step, and always begins with the lowest
slot: with many adapters in flight the highest slot would starve. Therefore requests of different adapters are let in a
few at a time, and none is let in while one in flight has been overtaken too often.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from freehold.errors import EngineError

MIXED = 4  # requests in flight a child where their adapters differ
OVERTAKEN = 16  # times that a request in flight may be overtaken by another adapter's


@dataclass
class Slot:
    """One of a child's slots, and whom it served last."""

    child: int
    number: int
    adapter: str | None = None
    used: int = 0  # by a clock that counts admissions; 0: never
    busy: bool = False
    overtaken: int = 0


class Slots:
    """The slots of one or more equal children. `ready` says which of them can take a request now."""

    def __init__(self, children: int, each: int, ready: Callable[[int], bool]) -> None:
        self._slots = [[Slot(child, number) for number in range(each)] for child in range(children)]
        self._ready = ready
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()
        self._clock = 0

    @property
    def in_flight(self) -> int:
        return sum(slot.busy for child in self._slots for slot in child)

    @contextmanager
    def one(self, adapter: str | None, timeout_s: float, child: int | None = None) -> Iterator[Slot]:
        """A slot of one's own while the block runs (of `child`, where it is named); raises `EngineError` in vain."""
        slot = self._take(adapter, timeout_s, child)
        try:
            yield slot
        finally:
            self._give(slot)

    def drained(self, timeout_s: float) -> bool:
        """Wait until nothing is in flight or waiting; False where that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self.in_flight, timeout_s)

    def _take(self, adapter: str | None, timeout_s: float, child: int | None) -> Slot:
        ticket, deadline = object(), time.monotonic() + timeout_s
        with self._changed:
            self._waiting.append(ticket)
            try:
                while True:
                    slot = self._admit(adapter, child) if self._waiting[0] is ticket else None
                    if slot is not None:
                        return slot
                    if not self._changed.wait(min(1.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                        raise EngineError(f"the engine was busy for {timeout_s:.0f} s; add a machine or ask less")
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _admit(self, adapter: str | None, only: int | None) -> Slot | None:
        asked = self._slots if only is None else [self._slots[only]]
        able = [child for child in asked if self._ready(child[0].child)] or asked
        open_ = [child for child in able if _lets_in(child, adapter)]
        if not open_:
            return None
        slot = min((_best(child, adapter) for child in open_), key=lambda each: self._rank(each, adapter))
        self._clock += 1
        slot.adapter, slot.busy, slot.used, slot.overtaken = adapter, True, self._clock, 0
        return slot

    def _rank(self, slot: Slot, adapter: str | None) -> tuple[int, bool]:
        return sum(each.busy for each in self._slots[slot.child]), not _knows(slot, adapter)

    def _give(self, slot: Slot) -> None:
        with self._changed:
            slot.busy = False
            for other in self._slots[slot.child]:
                if other.busy and other.used < slot.used and other.adapter != slot.adapter:
                    other.overtaken += 1
            self._changed.notify_all()


def _lets_in(child: list[Slot], adapter: str | None) -> bool:
    busy = [slot for slot in child if slot.busy]
    if len(busy) == len(child) or any(slot.overtaken >= OVERTAKEN for slot in busy):
        return False
    return len(busy) < MIXED or all(slot.adapter == adapter for slot in busy)


def _best(child: list[Slot], adapter: str | None) -> Slot:
    """The free slot that knows this adapter best: its own, latest first; else a fresh one; else the longest unused."""
    free = [slot for slot in child if not slot.busy]
    own = [slot for slot in free if _knows(slot, adapter)]
    return max(own, key=lambda slot: slot.used) if own else min(free, key=lambda slot: slot.used)


def _knows(slot: Slot, adapter: str | None) -> bool:
    return slot.used > 0 and slot.adapter == adapter
