"""Many requests from a file, answered into a file, through the gateway: resumable, a few at a time.

The lines are those of OpenAI's Batch API: `custom_id`, `method`, `url` and `body` in, `custom_id` and `response` out.
What is answered is never asked again; what failed stands in a file beside the answers, and the next run asks it again.
Memory stays flat: of each line its id's hash is held, eight bytes.
"""

import asyncio
import os
import random
from array import array
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp
import msgspec

from freehold.errors import DataError
from freehold.gateway.batch_line import Ids, Line, hashed, numbered, read, repeated
from freehold.progress import Progress

TRIES = 5
LONGEST_PAUSE_S = 30.0
_PASSING = frozenset((408, 409, 429, 500, 502, 503, 504))


class _Answered(msgspec.Struct):
    custom_id: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: lines answered now, answered before, and failed."""

    answered: int
    before: int
    failed: int


@dataclass(frozen=True, slots=True)
class Door:
    """Where the requests go: an address without /v1, the caller's key, and how many are under way at once."""

    address: str
    key: str | None
    at_once: int


_ANSWERED = msgspec.json.Decoder(_Answered)


def check(source: Path) -> int:
    """How many requests a file holds; raises `DataError` naming the line that is not one."""
    ids, places = array("Q"), array("L")
    for number, line in _lines(source):
        ids.append(hashed(line.custom_id))
        places.append(number)
    for at in repeated(ids):
        raise DataError(f"{source}:{places[at]}: this custom_id stands twice; each may stand once")
    return len(ids)


def _lines(source: Path) -> Iterator[tuple[int, Line]]:
    with source.open("rb") as file:
        for number, text in numbered(file):
            try:
                line = read(text)
            except ValueError as error:
                raise DataError(f"{source}:{number}: {error}") from None
            if line.method != "POST" or not line.url.startswith("/v1/"):
                raise DataError(f"{source}:{number}: asks {line.method} {line.url}; a batch posts to /v1/…")
            yield number, line


def answered(target: Path) -> Ids:
    """The ids that a file of answers holds. A line that a crash tore off is cut away."""
    if not target.exists():
        return Ids(())
    whole = 0

    def found() -> Iterator[str]:
        nonlocal whole
        with target.open("rb") as file:
            for text in file:
                if not text.endswith(b"\n"):
                    break
                with suppress(msgspec.MsgspecError):
                    yield _ANSWERED.decode(text).custom_id
                whole += len(text)

    ids = Ids(found())
    os.truncate(target, whole)
    return ids


async def run(source: Path, target: Path, door: Door, progress: Progress) -> Outcome:
    """Ask every line that is not answered yet. Raises `DataError` before anything is asked."""
    total = check(source)
    done = answered(target)
    failed_path = target.with_name(target.name + ".failed")
    failed_path.unlink(missing_ok=True)
    counts = {True: 0, False: 0}
    with target.open("ab") as good, progress.step("batch", total) as step:
        step.advance(len(done))
        waiting = (line for _, line in _lines(source) if line.custom_id not in done)
        async for line, record, fine in _asked(waiting, door):
            counts[fine] += 1
            await _write(good, failed_path, record, fine)
            step.advance(1, "" if fine else f"{line.custom_id} failed")
    return Outcome(answered=counts[True], before=len(done), failed=counts[False])


async def _asked(waiting: Iterator[Line], door: Door) -> AsyncIterator[tuple[Line, bytes, bool]]:
    """Each line's record as it comes, with whether it is an answer; `at_once` are under way."""
    under_way: set[asyncio.Task[tuple[Line, bytes, bool]]] = set()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=10)) as http:
        try:
            for line in waiting:
                under_way.add(asyncio.create_task(_ask(http, door, line)))
                if len(under_way) >= door.at_once:
                    ready, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                    for task in ready:
                        yield task.result()
            for finished in asyncio.as_completed(under_way):
                yield await finished
        finally:
            for task in under_way:
                task.cancel()


async def _ask(http: aiohttp.ClientSession, door: Door, line: Line) -> tuple[Line, bytes, bool]:
    headers = {"content-type": "application/json"}
    if door.key:
        headers["authorization"] = f"Bearer {door.key}"
    status, id, content = 0, "", b"null"
    for number in range(TRIES):
        if number:
            await asyncio.sleep(min(LONGEST_PAUSE_S, 2.0**number) * random.uniform(0.5, 1.0))
        try:
            async with http.post(door.address + line.url, data=bytes(line.body), headers=headers) as response:
                status, content = response.status, await response.read()
                id = response.headers.get("x-freehold-exchange", "")
        except (aiohttp.ClientError, OSError) as error:
            status, content = 0, msgspec.json.encode({"error": {"message": f"{type(error).__name__}"}})
            continue
        if status not in _PASSING:
            break
    return line, _record(line.custom_id, status, id, content), status == 200


def _record(custom_id: str, status: int, id: str, content: bytes) -> bytes:
    """A line as OpenAI's Batch API writes it."""
    response: dict[str, Any] = {"status_code": status, "request_id": id, "body": msgspec.Raw(content)}
    record = {"id": f"batch_req_{id}", "custom_id": custom_id, "response": response, "error": None}
    return msgspec.json.encode(record) + b"\n"


async def _write(good: BinaryIO, failed: Path, record: bytes, fine: bool) -> None:
    """An answer is on disk before it counts as one."""
    if not fine:
        with failed.open("ab") as file:
            file.write(record)
        return
    good.write(record)
    good.flush()
    await asyncio.to_thread(os.fdatasync, good.fileno())
