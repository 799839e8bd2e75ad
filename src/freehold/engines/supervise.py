"""A child process's life: start, ready, watch, restart with backoff, drain, stop.

A child is `python -m MODULE`: it reads one line of setup from standard input, reports one line on standard output when
it is ready, and ends when its standard input does (see `llamacpp_child`). What it writes to standard error is kept: the
last lines as its last words, all of it in a log file where one is named.
"""

import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar

from freehold.errors import EngineError, FreeholdError

T = TypeVar("T")

_LAST_WORDS = 30  # lines
_GRACE_S = 10.0
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 0.25, 30.0
_SEEN_S = 1.0
_STEADY_S = 60.0  # a child that lived this long starts again with the shortest backoff
_ATTEMPTS = 6


class State(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"


class Child:
    """One process and the two pipes to it."""

    def __init__(
        self, module: str, setup: bytes, log: Path | None = None, environment: dict[str, str] | None = None
    ) -> None:
        self._words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )
        self._reader = threading.Thread(target=self._listen, args=(log,), daemon=True)
        self._reader.start()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(setup + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it died at once; `report` says so

    @property
    def pid(self) -> int:
        return self._process.pid

    def report(self) -> bytes | None:
        """The line it writes when ready; None where it ended without one."""
        assert self._process.stdout is not None
        return self._process.stdout.readline() or None

    def wait(self) -> int:
        """Until it has ended; its exit code, negative for a signal."""
        return self._process.wait()

    def last_words(self) -> str:
        """The last lines it wrote to standard error."""
        return "\n".join(self._words)

    def end(self) -> None:
        """Close its standard input, give it time, then kill it."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died before it read its setup
            self._process.stdin.close()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(_GRACE_S)

    def kill(self) -> None:
        """End it now."""
        self._process.kill()

    def _listen(self, log: Path | None) -> None:
        assert self._process.stderr is not None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
        with open(log or os.devnull, "ab") as kept:
            for line in self._process.stderr:
                self._words.append(line.decode(errors="replace").rstrip())
                kept.write(line)
                kept.flush()


class Supervisor(Generic[T]):
    """Keeps one child running. `launch` starts it and returns it with what callers need to reach it."""

    def __init__(self, name: str, launch: Callable[[], tuple[Child, T]]) -> None:
        self._name, self._launch = name, launch
        self._condition = threading.Condition()
        self._state = State.STOPPED
        self._child: Child | None = None
        self._reach: T | None = None
        self._reason = ""
        self._life = 0  # counts starts and stops, so that a watcher of an earlier life does nothing
        self.restarts = 0

    @property
    def state(self) -> State:
        return self._state

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return self._child.pid if self._child else None

    def start(self) -> None:
        """Start and wait until ready; raises what `launch` raises."""
        with self._condition:
            if self._state in (State.READY, State.STARTING):
                return
            self._state = State.STARTING
            self._life += 1
            life = self._life
        try:
            self._begin(life)
        except BaseException:
            self._become(State.STOPPED)
            raise

    def reach(self, timeout_s: float) -> T:
        """What callers need to reach the child, waiting while it restarts; raises `EngineError` where it cannot be."""
        with self._condition:
            self._condition.wait_for(lambda: self._state is not State.STARTING, timeout_s)
            if self._state is State.READY and self._reach is not None:
                return self._reach
            raise EngineError(f"engine {self._name} is {self._state}{': ' + self._reason if self._reason else ''}")

    def lost(self, reach: T) -> None:
        """Told that `reach` no longer answers: wait a moment for the watcher to see its end."""
        with self._condition:
            self._condition.wait_for(lambda: self._state is not State.READY or self._reach is not reach, _SEEN_S)

    def kill(self) -> None:
        """End the child now; the watcher starts another. For a child that hangs."""
        if self._child is not None:
            self._child.kill()

    def stop(self) -> None:
        """End the child; safe to call twice."""
        with self._condition:
            self._life += 1
            child, self._child = self._child, None
            self._become(State.STOPPED)
        if child is not None:
            child.end()

    def _begin(self, life: int) -> None:
        child, reach = self._launch()
        with self._condition:
            if life != self._life:  # stopped while starting
                child.end()
                return
            self._child, self._reach, self._reason = child, reach, ""
            self._become(State.READY)
        threading.Thread(target=self._watch, args=(child, life), daemon=True).start()

    def _become(self, state: State) -> None:
        with self._condition:
            self._state = state
            self._condition.notify_all()

    def _watch(self, child: Child, life: int) -> None:
        begun = time.monotonic()
        code = child.wait()
        with self._condition:
            if life != self._life:
                return
            self._child = None
            self._reason = f"it ended {_how(code)}; {child.last_words()[-300:]}"
            self._become(State.STARTING)
        steady = time.monotonic() - begun >= _STEADY_S
        self._restart(life, first_attempt=0 if steady else min(self.restarts, _ATTEMPTS - 1))

    def _restart(self, life: int, first_attempt: int) -> None:
        for attempt in range(first_attempt, _ATTEMPTS):
            time.sleep(backoff_s(attempt))
            if life != self._life:
                return
            self.restarts += 1
            try:
                self._begin(life)
                return
            except FreeholdError as error:
                self._reason = str(error)
        self._become(State.FAILED)


def backoff_s(attempt: int) -> float:
    """How long to wait before try number `attempt` (from 0): doubling, at most 30 s, half of it by chance."""
    longest = min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0**attempt)
    return longest * random.uniform(0.5, 1.0)


def _how(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"
