"""Noticing a client that hangs up: the work for it is cancelled there and then, the upstream call included."""

import asyncio
from types import TracebackType

from starlette.requests import ClientDisconnect
from starlette.types import Receive

_PATIENCE_S = 0.05  # most answers are out by then, and need nobody to watch for them


class Hangup:
    """`async with Hangup(receive):` ends its block with `ClientDisconnect` when the client goes."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._happened = False
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE_S, self._begin)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        if self._happened and kind is asyncio.CancelledError:
            self._task.uncancel()
            raise ClientDisconnect from None

    def _begin(self) -> None:
        self._watch = asyncio.create_task(self._wait())

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._happened = True
        self._task.cancel()
