"""Which reports and decisions there are, by digest, oldest to newest. The documents themselves lie on disk."""

import time

from sqlalchemy import Engine, insert, select

from freehold.records import Record
from freehold.store.schema import documents


class Document(Record, frozen=True, kw_only=True):
    """One entry. `created_at` is UTC in microseconds since 1970."""

    digest: str
    kind: str
    task: str
    created_at: int


class Documents:
    """The store's list of documents; entries are only ever added."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, kind: str, digest: str, task: str) -> None:
        """List a document; one that is listed already keeps its place."""
        row = {"digest": digest, "kind": kind, "task": task, "created_at": time.time_ns() // 1000}
        with self._engine.begin() as connection:
            if connection.execute(select(documents.c.digest).where(documents.c.digest == digest)).first() is None:
                connection.execute(insert(documents), [row])

    def all(self, kind: str, task: str | None = None) -> list[Document]:
        """Every document of a kind (`report`, `decision`), of one task or of all, oldest first."""
        query = select(documents).where(documents.c.kind == kind).order_by(documents.c.created_at, documents.c.digest)
        if task is not None:
            query = query.where(documents.c.task == task)
        with self._engine.connect() as connection:
            return [Document(**row._mapping) for row in connection.execute(query)]

    def newest(self, kind: str, task: str | None = None) -> Document | None:
        """The last one listed, or None."""
        every = self.all(kind, task)
        return every[-1] if every else None
