"""What a pool of adapters is made of: engines, how each kind of them is made, and which adapters each answers for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from freehold.engines.adapters import AdapterFiles
from freehold.engines.probes import Probed
from freehold.errors import EngineError

Make = Callable[[AdapterFiles], Probed]
"""Makes the engine that holds these adapters; nothing is started yet."""

Check = Callable[[AdapterFiles], None]
"""Raises `ResourceError` where the memory at hand does not suffice for one more engine with these adapters."""


def _nothing(files: AdapterFiles) -> None:
    """No memory is counted."""


@dataclass(frozen=True)
class Maker:
    """How an engine is made, and what is checked before."""

    make: Make
    check: Check = _nothing


@dataclass(frozen=True)
class Makers:
    """What serves: `alone` the small engine of a newcomer, `together` the one of many adapters, the base among them.

    `copy` makes the engine of one adapter for good, where adapters do not stay together.
    """

    together: Maker
    alone: Maker
    copy: Maker | None = None


class Generation:
    """One engine, the adapters that it was started with (by name, with their digests), those of them that it answers
    for, and how many answers it has under way. `alone`: it answers for one adapter and not for the base.
    """

    def __init__(self, engine: Probed, held: Mapping[str, str], alone: bool = False, settled: bool = True) -> None:
        self.engine, self.held, self.alone, self.settled = engine, dict(held), alone, settled
        self.names = set(held)
        self.in_flight = 0
        self.suspect = ""  # why it is quarantined

    def refuse(self) -> None:
        """Raise `EngineError` where it is quarantined."""
        if self.suspect:
            raise EngineError(f"{self.suspect}; it is quarantined and is being replaced")
