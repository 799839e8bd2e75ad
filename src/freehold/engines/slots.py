"""Who may be decoded where and when: adapters in groups, nobody passed over without end, a slot that knows the prompt.

llama.cpp never decodes two adapters in one step, so requests that wait for one adapter are let in together: a group. At
most two groups are in one child at a time, the one that is decoded and the next; only the latest may still be joined.
The oldest request opens the next group (the adapter for which most wait would be a little quicker, and let others wait
for seconds: measured), and none that waits is passed over more than PASSED times.

A slot keeps the keys and values of the last prompt it saw, so the part that the next one shares (a task's system
message) is not computed again. llama.cpp forgets them when the adapter changes; therefore an adapter has a child that
is its home, and returns there to slots of its own while there are any. A child that has nothing to do takes others',
and so does one whose own have waited much less long: homes even out.
llama.cpp begins with the lowest slot that has work, so none is let in while one in flight has been overtaken too often.

Engines of one adapter each (merged copies) take turns at the cores: a child is opened when a turn is free, the one with
the oldest request first, and while others wait for a turn it lets in a full group and no more.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from freehold.errors import EngineError

GROUPS = 2  # in a child at a time: the one that is decoded, and the next
FULL = 6  # requests in a group; more make it hardly quicker, and keep others waiting
LEAST = 4  # requests in a group where an adapter has no more slots to come back to
AT_ONCE = GROUPS * FULL  # requests in a child: where their prompts overfill a step, the highest slots would starve
PASSED = 32  # times that a request that waits may be passed over by younger ones
LATER_S = 1.0  # how much longer another child's may wait than those at home here before they come here
OVERTAKEN = 16  # times that a request in flight may be overtaken by another adapter's


@dataclass(eq=False)
class Slot:
    """One of a child's slots, and whom it served last."""

    child: int
    number: int
    adapter: str | None = None
    used: int = 0  # by a clock that counts admissions; 0: never
    busy: bool = False
    group: int = 0  # with which it was let in: the clock when the group was opened
    overtaken: int = 0


@dataclass(eq=False)
class _Waiting:
    """A request that wants a slot (of one `child`, where it is named)."""

    adapter: str | None
    child: int | None
    passed: int = 0
    since: float = field(default_factory=time.monotonic)
    slot: Slot | None = None
    let_in: threading.Event = field(default_factory=threading.Event)


class Turns:
    """Children of several engines that may be at work at once; of those that find none free, the oldest is woken."""

    def __init__(self, most: int) -> None:
        self.changed = threading.Condition()  # one lock for all who take turns
        self._free = most
        self._asking: list[Slots] = []

    def take(self, slots: "Slots") -> bool:
        """Whether a child may be opened; if not, its `wake` is called when one may. The lock is held."""
        if self._free > 0:
            self._free -= 1
            return True
        if slots not in self._asking:
            self._asking.append(slots)
        return False

    def give(self) -> None:
        """A child has nothing to do any more. The lock is held."""
        self._free += 1
        while self._free and self._asking:
            oldest = min(self._asking, key=lambda each: each.oldest)
            self._asking.remove(oldest)
            oldest.wake()

    def asked_by_others(self, slots: "Slots") -> bool:
        """Whether anybody else waits for a turn."""
        return any(each is not slots for each in self._asking)


class Slots:
    """The slots of one or more equal children. `ready` says which of them can take a request now."""

    def __init__(self, children: int, each: int, ready: Callable[[int], bool], turns: Turns | None = None) -> None:
        self._slots = [[Slot(child, number) for number in range(each)] for child in range(children)]
        self._ready = ready
        self._waiting: list[_Waiting] = []
        self._homes: dict[str | None, int] = {}
        self._turns = turns
        self._changed = turns.changed if turns else threading.Condition()
        self._let_in_since = [0] * children  # how many since a child was opened
        self._clock = 0

    @property
    def oldest(self) -> float:
        """Since when the oldest request waits (by the monotonic clock)."""
        return self._waiting[0].since if self._waiting else float("inf")

    def wake(self) -> None:
        """Told that a turn is free."""
        self._let_in()

    @property
    def in_flight(self) -> int:
        return sum(slot.busy for child in self._slots for slot in child)

    @contextmanager
    def one(self, adapter: str | None, timeout_s: float, child: int | None = None) -> Iterator[Slot]:
        """A slot of one's own while the block runs (of `child`, where it is named); raises `EngineError` in vain."""
        slot = self._take(_Waiting(adapter, child), timeout_s)
        try:
            yield slot
        finally:
            self._give(slot)

    def drained(self, timeout_s: float) -> bool:
        """Wait until nothing is in flight or waiting; False where that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self.in_flight, timeout_s)

    def _take(self, waiting: _Waiting, timeout_s: float) -> Slot:
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._waiting.append(waiting)
            self._let_in()
        while not waiting.let_in.wait(min(1.0, max(0.0, deadline - time.monotonic()))):
            with self._changed:
                self._let_in()  # a child may have become ready meanwhile
                if waiting.slot is None and time.monotonic() >= deadline:
                    self._waiting.remove(waiting)
                    self._let_in()
                    raise EngineError(f"the engine was busy for {timeout_s:.0f} s; add a machine or ask less")
        assert waiting.slot is not None
        return waiting.slot

    def _give(self, slot: Slot) -> None:
        with self._changed:
            slot.busy = False
            for other in self._slots[slot.child]:
                if other.busy and other.used < slot.used and other.adapter != slot.adapter:
                    other.overtaken += 1
            emptied = not self._is_busy(slot.child)
            self._let_in()  # where it takes turns, and wants one again, it asks before its own is given
            if self._turns is not None and emptied:
                self._turns.give()
            self._changed.notify_all()

    def _let_in(self) -> None:
        """Give every slot that can be given now."""
        while (found := self._next()) is not None:
            waiting, child, group, able = found
            for older in self._waiting[: self._waiting.index(waiting)]:
                older.passed += self._home(older, able) == child
            self._waiting.remove(waiting)
            self._let_in_since[child] = self._let_in_since[child] + 1 if self._is_busy(child) else 1
            slot = _best(self._slots[child], waiting.adapter)
            self._clock += 1
            slot.adapter, slot.busy, slot.used, slot.overtaken = waiting.adapter, True, self._clock, 0
            slot.group = group or self._clock
            self._homes[waiting.adapter] = child
            waiting.slot = slot
            waiting.let_in.set()

    def _next(self) -> tuple[_Waiting, int, int, list[int]] | None:
        """Who is let in next, where, into which group (0: a new one), and which children are able, the idlest first."""
        able = [child for child in range(len(self._slots)) if self._ready(child)] or list(range(len(self._slots)))
        able.sort(key=lambda child: sum(slot.busy for slot in self._slots[child]))
        for child in able:
            waiting = [each for each in self._waiting if each.child in (None, child)]
            if waiting and self._has_room(child):
                joined = self._joins(child, waiting, able)
                chosen = joined or self._opens(child, waiting, able)
                if chosen is not None and self._has_turn(child):
                    return chosen, child, self._latest(child).group if joined else 0, able
        return None

    def _has_room(self, child: int) -> bool:
        slots = self._slots[child]
        if sum(slot.busy for slot in slots) >= AT_ONCE:
            return False
        return any(not slot.busy for slot in slots) and all(slot.overtaken < OVERTAKEN for slot in slots if slot.busy)

    def _has_turn(self, child: int) -> bool:
        if self._turns is None:
            return True
        if not self._is_busy(child):
            return self._turns.take(self)
        return self._let_in_since[child] < FULL or not self._turns.asked_by_others(self)

    def _joins(self, child: int, waiting: list[_Waiting], able: list[int]) -> _Waiting | None:
        """The oldest that may join the latest group, unless another has been passed over often enough."""
        busy = [slot for slot in self._slots[child] if slot.busy]
        if not busy:
            return None
        latest = self._latest(child)
        full = self._full(child)
        if sum(slot.group == latest.group for slot in busy) >= full and len(busy) >= full:
            return None
        due = self._due(child, waiting, able)
        if due is not None and due.adapter != latest.adapter:
            return None
        return next((each for each in waiting if each.adapter == latest.adapter), None)

    def _opens(self, child: int, waiting: list[_Waiting], able: list[int]) -> _Waiting | None:
        """Who opens a group: the oldest of those at home here, of another adapter than is at work where there is one.

        Others come here where this child has nothing to do and their home has, where their home has all its groups, or
        where they wait so much longer that their home has too many to care for.
        """
        groups = self._groups(child)
        if groups == GROUPS:
            return None
        due = self._due(child, waiting, able)
        at_home = [each for each in waiting if self._home(each, able) == child]
        if due is not None or at_home:
            adapters = {slot.adapter for slot in self._slots[child] if slot.busy}
            others = (each for each in at_home if each.adapter not in adapters)
            own = due or next(others, at_home[0])
            return waiting[0] if own.since - waiting[0].since > LATER_S else own
        least = GROUPS if groups else 1
        return next((each for each in waiting if self._groups(self._home(each, able)) >= least), None)

    def _full(self, child: int) -> int:
        """Requests in a group: no more than an adapter has slots of its own, so that each finds its prompt there."""
        at_home = list(self._homes.values()).count(child)
        return min(FULL, max(LEAST, len(self._slots[child]) // max(1, at_home)))

    def _due(self, child: int, waiting: list[_Waiting], able: list[int]) -> _Waiting | None:
        """The oldest at home here, where it has been passed over often enough."""
        oldest = next((each for each in waiting if self._home(each, able) == child), None)
        return oldest if oldest is not None and oldest.passed >= PASSED else None

    def _latest(self, child: int) -> Slot:
        return max((slot for slot in self._slots[child] if slot.busy), key=lambda slot: slot.group)

    def _groups(self, child: int) -> int:
        return len({slot.group for slot in self._slots[child] if slot.busy})

    def _is_busy(self, child: int) -> bool:
        return any(slot.busy for slot in self._slots[child])

    def _home(self, waiting: _Waiting, able: list[int]) -> int:
        """The child that knows this adapter; for a newcomer the one that is home to the fewest."""
        if waiting.child is not None:
            return waiting.child
        home = self._homes.get(waiting.adapter)
        if home is not None and home in able:
            return home
        known = list(self._homes.values())
        return min(able, key=known.count)


def _best(child: list[Slot], adapter: str | None) -> Slot:
    """The free slot that knows this adapter best: its own, latest first; else a fresh one; else the longest unused."""
    free = [slot for slot in child if not slot.busy]
    own = [slot for slot in free if _knows(slot, adapter)]
    return max(own, key=lambda slot: slot.used) if own else min(free, key=lambda slot: slot.used)


def _knows(slot: Slot, adapter: str | None) -> bool:
    return slot.used > 0 and slot.adapter == adapter
