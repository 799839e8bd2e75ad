"""Carrying exchanges from the journal into the store: while the gateway runs, and after it was killed.

Reading a segment again is harmless, because the store leaves alone what it has. A segment is deleted only when all of
it is in the store and nobody writes it.
"""

import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from freehold.errors import ResourceError, UserError
from freehold.gateway import journal
from freehold.store.database import Store
from freehold.store.exchanges import Entry, record
from freehold.store.workspace import write_atomically

log = logging.getLogger(__name__)

JOURNAL = "journal"  # the folder in a workspace
_EVERY_S = 0.2
_BATCH = 500
_RETRY_S = 1.0
_ENTRY = msgspec.msgpack.Decoder(Entry)


class Keeper:
    """A thread that follows the journal. `failing` tells whether the store takes nothing at present.

    `changed` is told whenever that begins or ends.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        open_segment: Callable[[], Path | None],
        changed: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._store = store
        self._open_segment = open_segment
        self._offsets: dict[Path, int] = {}
        self._changed = changed
        self._stop = threading.Event()
        self.failing = False
        self._thread = threading.Thread(target=self._follow, name="keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Carry over what is there, and end."""
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stop.wait(_RETRY_S if self.failing else _EVERY_S):
            self._carry()
        self._carry()

    def _carry(self) -> None:
        try:
            current = self._open_segment()
            for path in journal.segments(self._folder):
                with contextlib.suppress(FileNotFoundError):  # a command's `recover` was quicker
                    self._carry_segment(path, path != current)
            self._fail(None)
        except Exception as error:  # whatever the store's driver raises: the journal holds everything until it is back
            self._fail(error)

    def _carry_segment(self, path: Path, may_have_ended: bool) -> None:
        ended = may_have_ended and not journal.is_written(path)  # asked first: it may be written while it is read
        self._offsets[path] = carry(path, self._store, self._offsets.get(path, 0))
        if ended:
            del self._offsets[path]
            path.unlink()

    def _fail(self, error: Exception | None) -> None:
        failing = error is not None
        if failing == self.failing:
            return
        if failing:
            log.error("the store takes nothing (%s); exchanges are safe in the journal until it does", error)
        self.failing = failing
        self._changed(failing)


def carry(path: Path, store: Store, offset: int = 0) -> int:
    """Put a segment's entries from an offset on into the store; returns the offset behind the last one."""
    batch: list[Entry] = []
    reached = offset
    for content, behind in journal.frames(path, offset):
        batch.append(_ENTRY.decode(content))
        if len(batch) >= _BATCH:
            _record(path, store, batch)
            batch, reached = [], behind
        last = behind
    if batch:
        _record(path, store, batch)
        reached = last
    return reached


def _record(path: Path, store: Store, batch: list[Entry]) -> None:
    """Keep these; one that no store can keep is set aside, and holds up none of the others."""
    try:
        record(store, batch)
    except ResourceError:
        raise
    except UserError as error:
        if len(batch) > 1:
            for each in batch:
                _record(path, store, [each])
            return
        aside = path.parent / "set-aside" / f"{batch[0].exchange.id}.entry"
        write_atomically(aside, encode(batch[0]))
        log.error("exchange %s cannot be stored (%s); it is set aside in %s", batch[0].exchange.id, error, aside)


def recover(folder: Path, store: Store) -> None:
    """Bring the store up to date with the journal; segments of processes that are gone are then deleted."""
    for path in journal.segments(folder):
        try:
            ended = not journal.is_written(path)
            carry(path, store)
            if ended:
                path.unlink()
        except FileNotFoundError:
            continue  # the running gateway's keeper was quicker


def encode(entry: Entry) -> bytes:
    """An entry as the journal holds it."""
    return msgspec.msgpack.encode(entry)
