"""Files and batches of the gateway's batch API: whose they are, and how far each has come.

What a client wrote (a file's name, a batch's metadata) stands in `details`, sealed by the caller of this room.
"""

import json
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table, delete, insert, select, update

from freehold.records import Record
from freehold.store.database import Store
from freehold.store.schema import batches, files
from freehold.store.sealed import Vault

_DAY_S = 86_400
OPEN = ("validating", "in_progress", "finalizing", "cancelling")


class File(Record, frozen=True, kw_only=True):
    """A file of a caller. `size` is in bytes, `details` sealed; times are UTC in microseconds."""

    id: str
    owner: str
    purpose: str
    size: int
    details: str
    created_at: int
    expires_at: int


class Batch(Record, frozen=True, kw_only=True):
    """A batch of a caller. `times` says when each status was reached; `details` are sealed."""

    id: str
    owner: str
    endpoint: str
    input_file: str
    details: str
    created_at: int
    expires_at: int
    status: str = "validating"
    output_file: str | None = None
    error_file: str | None = None
    times: str = "{}"
    total: int = 0
    completed: int = 0
    failed: int = 0

    def reached(self, status: str) -> int | None:
        """When a status was reached (microseconds)."""
        found: int | None = json.loads(self.times).get(status)
        return found


def answers_id(batch: str, kind: str) -> str:
    """The id of the file that a batch writes; always the same, so that one that goes on finds what it wrote."""
    return f"file-{batch.removeprefix('batch_')}-{kind}"


def add_file(store: Store, file: File) -> None:
    with store.begin() as connection:
        connection.execute(insert(files).values(_row(file)))


def add_batch(store: Store, batch: Batch) -> None:
    with store.begin() as connection:
        connection.execute(insert(batches).values(_row(batch)))


def find_file(store: Store, owner: str, id: str) -> File | None:
    """A caller's file; another caller's is none."""
    with store.connect() as connection:
        query = select(files).where(files.c.id == id, files.c.owner == owner)
        row = connection.execute(query).mappings().first()
    return File(**row) if row else None


def find_batch(store: Store, owner: str, id: str) -> Batch | None:
    """A caller's batch; another caller's is none."""
    with store.connect() as connection:
        query = select(batches).where(batches.c.id == id, batches.c.owner == owner)
        row = connection.execute(query).mappings().first()
    return Batch(**row) if row else None


def list_files(store: Store, owner: str, limit: int, after: str | None, purpose: str | None) -> list[File]:
    """A caller's files, newest first, behind the one named."""
    wanted = [files.c.purpose == purpose] if purpose else []
    return [File(**row) for row in _page(store, files, owner, limit, after, wanted)]


def list_batches(store: Store, owner: str, limit: int, after: str | None) -> list[Batch]:
    """A caller's batches, newest first, behind the one named."""
    return [Batch(**row) for row in _page(store, batches, owner, limit, after, [])]


def still_open(store: Store) -> list[Batch]:
    """Every batch that has not ended, oldest first."""
    query = select(batches).where(batches.c.status.in_(OPEN)).order_by(batches.c.created_at, batches.c.id)
    with store.connect() as connection:
        return [Batch(**row) for row in connection.execute(query).mappings()]


def remove_file(store: Store, id: str) -> None:
    with store.begin() as connection:
        connection.execute(delete(files).where(files.c.id == id))


def expired_files(store: Store, now: int, born_before: int) -> list[str]:
    """Files whose time is over, or that are older than this (microseconds), and that no open batch reads."""
    read = select(batches.c.input_file).where(batches.c.status.in_(OPEN))
    over = (files.c.expires_at <= now) | (files.c.created_at < born_before)
    query = select(files.c.id).where(over, files.c.id.not_in(read))
    with store.connect() as connection:
        return list(connection.execute(query).scalars())


def erase_strays(store: Store, vault: Vault) -> None:
    """Delete files of yesterday and before that stand in no row, and that no open batch writes."""
    written = {answers_id(batch.id, kind) for batch in still_open(store) for kind in ("output", "errors")}
    with store.connect() as connection:
        known = set(connection.execute(select(files.c.id)).scalars())
    for id, changed_at in vault.ids():
        if id not in known | written and changed_at < time.time() - _DAY_S:
            vault.erase(id)


def move(store: Store, id: str, status: str, **changes: Any) -> bool:  # noqa: ANN401 (columns)
    """Bring an open batch to another status; False where it has ended, or has been asked to end, already.

    `cancelling` can only become `cancelled` (or an end that was reached before it was seen).
    """
    while True:
        with store.begin() as connection:
            row = connection.execute(select(batches.c.status, batches.c.times).where(batches.c.id == id)).first()
            if row is None or row.status not in OPEN or (row.status == "cancelling" and status in OPEN):
                return False
            times = {**json.loads(row.times), status: time.time_ns() // 1000}
            values = {"status": status, "times": json.dumps(times), **changes}
            as_read = (batches.c.id == id) & (batches.c.status == row.status)
            if connection.execute(update(batches).where(as_read).values(values)).rowcount:
                return True  # else somebody else moved it meanwhile: look again


def progress(store: Store, id: str, completed: int, failed: int) -> str | None:
    """Write down how far a batch has come; returns its status as it stands."""
    with store.begin() as connection:
        change = update(batches).where(batches.c.id == id).values(completed=completed, failed=failed)
        connection.execute(change)
        return connection.execute(select(batches.c.status).where(batches.c.id == id)).scalar()


def _page(store: Store, table: Table, owner: str, limit: int, after: str | None, wanted: Sequence[Any]) -> list[Any]:
    query = select(table).where(table.c.owner == owner, *wanted)
    with store.connect() as connection:
        if after is not None:
            last = connection.execute(select(table.c.created_at).where(table.c.id == after)).scalar()
            if last is None:
                return []
            query = query.where((table.c.created_at < last) | ((table.c.created_at == last) & (table.c.id < after)))
        query = query.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)
        return list(connection.execute(query).mappings())


def _row(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}
