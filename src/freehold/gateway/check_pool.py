"""The child processes that guardrails' checks run in. None is started while no deployment has a guardrail.

A check that takes longer than its guardrail allows is ended with its child; what waited behind it is asked again of a
new one.
"""

import asyncio
import contextlib
import itertools
import logging
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from freehold.errors import FreeholdError
from freehold.gateway.check_child import HEAD, Done, Task
from freehold.gateway.checks import Finding
from freehold.store.guardrails import MODEL, Guardrail

log = logging.getLogger(__name__)

CHILDREN = 2
MAKING_S = 60.0
_DONE = msgspec.msgpack.Decoder(Done)


class CheckFailedError(FreeholdError):
    """A check came to nothing: it broke, or took too long."""


class CheckPool:
    """Makes checks and asks them. `warm` first: making one (a classifier, say) may take longer than asking it may."""

    def __init__(self, root: Path, children: int = CHILDREN) -> None:
        self._children = [_Child(root) for _ in range(children)]
        self._ids = itertools.count(1)

    async def warm(self, guardrails: Iterable[Guardrail]) -> dict[str, str]:
        """Make these checks in every child; returns why some cannot be made, by guardrail name."""
        failed: dict[str, str] = {}
        made = [each for each in guardrails if each.check != MODEL]
        for child in self._children:
            child.makes = [Task(next(self._ids), each.check, each.settings) for each in made]
            for each, task in zip(made, child.makes, strict=True):
                try:
                    await child.do(task, MAKING_S)
                except CheckFailedError as error:
                    failed[each.name] = str(error)
        return failed

    async def look(self, guardrail: Guardrail, text: str) -> Finding | None:
        """What the check finds; raises `CheckFailedError`."""
        child = min(self._children, key=lambda each: each.waiting)
        task = Task(next(self._ids), guardrail.check, guardrail.settings, text)
        return await child.do(task, guardrail.timeout_ms / 1000)

    async def stop(self) -> None:
        """End every child."""
        for child in self._children:
            await child.stop()


class _Child:
    """One process, started when it is first asked. One that follows another makes its checks before all else."""

    def __init__(self, root: Path) -> None:
        self.makes: list[Task] = []
        self._root = root
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, tuple[Task, asyncio.Future[Done]]] = {}
        self._starting = asyncio.Lock()
        self._closed = False

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def do(self, task: Task, longest_s: float) -> Finding | None:
        future: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._waiting[task.id] = (task, future)
        try:
            async with asyncio.timeout(longest_s):
                await self._send(task)
                done = await future
        except TimeoutError:
            if next(iter(self._waiting), None) == task.id:  # this one hangs, and not one before it
                self._kill()
            raise CheckFailedError(f"longer than {longest_s * 1000:,.0f} ms") from None
        finally:
            self._waiting.pop(task.id, None)
        if done.failed is not None:
            raise CheckFailedError(done.failed)
        return done.finding

    async def stop(self) -> None:
        self._closed = True
        self._waiting.clear()
        process, reader = self._process, self._reader
        self._kill()
        if process is not None and reader is not None:
            await process.wait()
            reader.cancel()

    async def _send(self, task: Task) -> None:
        process = await self._running()
        assert process.stdin is not None
        content = msgspec.msgpack.encode(task)
        with contextlib.suppress(ConnectionError):  # it died: the reader starts another, which is asked again
            process.stdin.write(HEAD.pack(len(content)) + content)
            await process.stdin.drain()

    async def _running(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._process is None:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "freehold.gateway.check_child",
                    str(self._root),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                )
                self._reader = asyncio.create_task(self._read(self._process))
            return self._process

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (size,) = HEAD.unpack(await process.stdout.readexactly(HEAD.size))
                done = _DONE.decode(await process.stdout.readexactly(size))
                _, future = self._waiting.get(done.id, (None, None))
                if future is not None and not future.done():
                    future.set_result(done)
        await process.wait()
        await self._again(process)

    async def _again(self, ended: asyncio.subprocess.Process) -> None:
        """The process is gone. What it had begun is not asked again (it may be why); what waited behind it is."""
        if self._process is ended:
            self._process = None
            if self._waiting:
                _, future = next(iter(self._waiting.values()))
                if not future.done():
                    future.set_result(Done(0, failed="the check's process ended"))
        if self._closed:
            return
        waiting = [task for task, future in self._waiting.values() if not future.done()]
        again = {task.id: (task, self._forgotten(task.id)) for task in self.makes}
        self._waiting = {**again, **self._waiting}
        for task in (*self.makes, *waiting):
            await self._send(task)

    def _forgotten(self, task: int) -> "asyncio.Future[Done]":
        """A future that nobody waits for; its task is under way until it is done."""
        future: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda _: self._waiting.pop(task, None))
        return future

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
