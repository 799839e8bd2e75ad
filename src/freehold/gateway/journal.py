"""The append-only journal that an exchange is in before its client has the last byte (invariant 4).

Requests that finish together share one fdatasync (group commit). A keeper carries what is written into the store; while
the store is down the journal only grows, and nothing is lost. A segment is a file of frames, each its length, its
CRC-32 and its content; a frame that a crash tore off was never acknowledged, and reading ends before it.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import queue
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from freehold.errors import ResourceError

log = logging.getLogger(__name__)

SEGMENT_BYTES = 32 * 1024 * 1024
_HEAD = struct.Struct("<II")
_Waiting = tuple[bytes, "asyncio.Future[None]"]


class Journal:
    """Appends frames durably. One thread writes; any number of coroutines wait."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[list[_Waiting] | None] = queue.SimpleQueue()
        self._together: list[_Waiting] = []
        self._segment = _Segment(folder)
        self._thread = threading.Thread(target=self._write, name="journal", daemon=True)
        self._thread.start()

    @property
    def open_segment(self) -> Path:
        """The file that is written now: it grows, and is not to be deleted."""
        return self._segment.path

    async def append(self, content: bytes) -> None:
        """Return once the content is on disk; raises `ResourceError` where it cannot be (a full disk)."""
        done = self._loop.create_future()
        if not self._together:  # what else this turn of the loop appends goes with it: one waking of the thread
            self._loop.call_soon(self._hand_over)
        self._together.append((content, done))
        await done

    def _hand_over(self) -> None:
        together, self._together = self._together, []
        if together:
            self._queue.put(together)

    def close(self) -> None:
        """Write what waits, and end."""
        self._hand_over()
        self._queue.put(None)
        self._thread.join()

    def _write(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, last = first, False
            with contextlib.suppress(queue.Empty):
                while True:
                    more = self._queue.get_nowait()
                    if more is None:
                        last = True
                        break
                    batch += more
            error = self._commit(batch)
            self._loop.call_soon_threadsafe(_settle, batch, error)
            if last:
                break
        self._segment.close()

    def _commit(self, batch: list[_Waiting]) -> OSError | None:
        try:
            if self._segment.size > SEGMENT_BYTES:
                full, self._segment = self._segment, _Segment(self._folder)
                full.close()
            self._segment.append(b"".join(_frame(content) for content, _ in batch))
        except OSError as error:
            log.error("the journal cannot be written: %s", error)
            return error
        return None


class _Segment:
    """One file, locked while it is written, so that no other process takes it for a dead one's."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{time.time_ns():020d}-{os.getpid()}.journal"
        made = self.path.with_suffix(".new")  # it has its name once it is locked: unlocked, it would be a dead one's
        self._file = os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        made.rename(self.path)
        self.size = 0
        directory = os.open(folder, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def append(self, data: bytes) -> None:
        """Write and flush; on failure the file is as it was, so that a later append does not follow a torn frame."""
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file, data[written:])
            os.fdatasync(self._file)
            self.size += len(data)
        except OSError:
            os.ftruncate(self._file, self.size)
            raise

    def close(self) -> None:
        os.close(self._file)


def frames(path: Path, offset: int = 0) -> Iterator[tuple[bytes, int]]:
    """The whole frames of a segment from an offset (bytes) on, each with the offset behind it."""
    with path.open("rb") as file:
        file.seek(offset)
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            content = file.read(length)
            if len(content) < length or zlib.crc32(content) != checksum:
                return
            offset += _HEAD.size + length
            yield content, offset


def segments(folder: Path) -> list[Path]:
    """Every segment, oldest first."""
    return sorted(folder.glob("*.journal")) if folder.is_dir() else []


def is_written(path: Path) -> bool:
    """Whether a living process still writes this segment."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _frame(content: bytes) -> bytes:
    return _HEAD.pack(len(content), zlib.crc32(content)) + content


def _settle(batch: list[_Waiting], error: OSError | None) -> None:
    for _, done in batch:
        if done.done():  # its client hung up
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(_refusal(error))


def _refusal(error: Any) -> ResourceError:  # noqa: ANN401 (an OSError; its errno may be None)
    return ResourceError(f"the exchange cannot be kept ({error.strerror}), so it is not answered; free some disk space")
