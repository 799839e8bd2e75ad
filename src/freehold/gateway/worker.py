"""One worker process of a gateway (`workers.py`): its only argument is the socket on which its house speaks to it."""

import asyncio
import contextlib
import importlib
import signal
import socket
import sys
from pathlib import Path

import msgspec
import uvloop

from freehold.gateway import backends
from freehold.gateway.logs import logging_to_stderr
from freehold.gateway.serve import Opening, serving, settle
from freehold.gateway.wire import Asking, Wire
from freehold.gateway.workers import Hired
from freehold.store.workspace import Workspace

PUSH_EVERY_S = 1.0


def main() -> None:
    """Serve until SIGTERM, or until the house is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the house's
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(socket.socket(fileno=int(sys.argv[1]))))


async def _work(spoken: socket.socket) -> None:
    wire = Wire(*await asyncio.open_unix_connection(sock=spoken, limit=2**26))
    hired = msgspec.msgpack.decode((await anext(wire.messages())).content, type=Hired)
    house = Asking(wire)
    listening = asyncio.create_task(house.listen())
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: None)
    workspace = Workspace(Path(hired.root))
    with logging_to_stderr("json" if hired.settings.log_json else "text"):
        opening = _opening(hired.opening) if hired.opening is not None else None
        given = serving(
            workspace, hired.settings, backends.of(workspace, hired.settings.speculate), opening, house, hired.number
        )
        async with given as roster:
            settle()
            house.tell("ready", roster.names)
            ends = [asyncio.create_task(each.wait()) for each in (stop, house.gone)]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for each in ends:
                each.cancel()
    listening.cancel()
    with contextlib.suppress(ConnectionError):
        wire.close()


def _opening(named: str) -> Opening:
    module, _, name = named.partition(":")
    opening: Opening = getattr(importlib.import_module(module), name)
    return opening


if __name__ == "__main__":
    main()
