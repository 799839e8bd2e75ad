"""How long work tells where it is, without knowing who listens.

The library calls a `Progress`; the terminal draws bars (`cli/progress.py`), tests and the gateway stay silent.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Step(Protocol):
    """One piece of work under way."""

    def advance(self, count: int = 1, note: str = "") -> None: ...

    def total(self, count: int) -> None: ...


class Progress(Protocol):
    """Whoever wants to hear of it."""

    def step(self, name: str, total: int | None = None) -> AbstractContextManager[Step]: ...

    def say(self, name: str, message: str) -> None: ...


class _SilentStep:
    def advance(self, count: int = 1, note: str = "") -> None:
        pass

    def total(self, count: int) -> None:
        pass


class Silent:
    """Nobody listens."""

    @contextmanager
    def _step(self) -> Iterator[Step]:
        yield _SilentStep()

    def step(self, name: str, total: int | None = None) -> AbstractContextManager[Step]:
        return self._step()

    def say(self, name: str, message: str) -> None:
        pass


SILENT = Silent()
