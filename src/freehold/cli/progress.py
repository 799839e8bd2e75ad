"""Progress as a person sees it: one line a finished piece of work, a bar with the time left while it runs.

Everything goes to standard error, so that --json stays one document. Without a terminal there are no bars: a line every
ten seconds instead.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from freehold.progress import Step

_QUIET_SECONDS = 10.0


class Terminal:
    """Draws on standard error."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def headline(self, text: str) -> None:
        self._console.print(text, markup=False)

    def say(self, name: str, message: str) -> None:
        self._console.print(f"  {name:<10} {message}", markup=False)

    def step(self, name: str, total: int | None = None) -> AbstractContextManager[Step]:
        return self._bar(name, total) if self._console.is_terminal else self._lines(name, total)

    @contextmanager
    def _bar(self, name: str, total: int | None) -> Iterator[Step]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("  {task.description:<10}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("left"),
        )
        with Progress(*columns, console=self._console, transient=True) as bars:
            yield _BarStep(bars, bars.add_task(name, total=total, note=""))

    @contextmanager
    def _lines(self, name: str, total: int | None) -> Iterator[Step]:
        yield _LineStep(name, total)


class _BarStep:
    def __init__(self, bars: Any, task: Any) -> None:  # noqa: ANN401 (rich is imported late)
        self._bars, self._task = bars, task

    def advance(self, count: int = 1, note: str = "") -> None:
        if note:
            self._bars.update(self._task, note=note)
        self._bars.advance(self._task, count)

    def total(self, count: int) -> None:
        self._bars.update(self._task, total=count)


class _LineStep:
    def __init__(self, name: str, total: int | None) -> None:
        self._name, self._total, self._done = name, total, 0
        self._started = self._said = time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        self._done += count
        now = time.monotonic()
        if now - self._said >= _QUIET_SECONDS:
            self._said = now
            sys.stderr.write(f"  {self._name:<10} {self._done:,}{self._of(now)}  {note}\n")
            sys.stderr.flush()

    def total(self, count: int) -> None:
        self._total = count

    def _of(self, now: float) -> str:
        if not self._total or not self._done:
            return ""
        left = (now - self._started) / self._done * max(self._total - self._done, 0)
        return f"/{self._total:,}  {int(left // 60)}:{int(left % 60):02} left"
