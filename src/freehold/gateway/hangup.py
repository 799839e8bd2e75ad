"""Noticing a client that hangs up: the work for it is cancelled there and then, the upstream call included."""

import asyncio
from types import TracebackType

from starlette.requests import ClientDisconnect
from starlette.types import Receive


class Hangup:
    """`async with Hangup(receive):` ends its block with `ClientDisconnect` when the client goes."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._happened = False

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._watch = asyncio.create_task(self._wait())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.cancel()
        if self._happened and kind is asyncio.CancelledError:
            self._task.uncancel()
            raise ClientDisconnect from None

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._happened = True
        self._task.cancel()
