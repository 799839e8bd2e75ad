"""Several answers to one request (`n`): asked for at the same time, told as they come."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence

from freehold.gateway.chat import Piece, Reply


async def gathered(answers: Sequence[Awaitable[Reply]]) -> list[Reply]:
    """All answers of one request; where one fails, the others are given up."""
    tasks = [asyncio.ensure_future(answer) for answer in answers]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def merged(streams: Sequence[AsyncIterator[Piece]]) -> AsyncIterator[tuple[int, Piece]]:
    """The pieces of several answers as they come, each with its answer's place; all end with the first that fails."""
    if len(streams) == 1:
        async for only in streams[0]:
            yield 0, only
        return
    pieces: asyncio.Queue[tuple[int, Piece | Exception | None]] = asyncio.Queue()

    async def hear(at: int, stream: AsyncIterator[Piece]) -> None:
        try:
            async for piece in stream:
                pieces.put_nowait((at, piece))
            pieces.put_nowait((at, None))
        except Exception as error:  # handed to whoever waits for the pieces
            pieces.put_nowait((at, error))

    tasks = [asyncio.create_task(hear(at, stream)) for at, stream in enumerate(streams)]
    unfinished = len(tasks)
    try:
        while unfinished:
            at, piece = await pieces.get()
            if isinstance(piece, Exception):
                raise piece
            if piece is None:
                unfinished -= 1
            else:
                yield at, piece
    finally:
        for task in tasks:
            task.cancel()
