"""Work that was started from a page as a child process: what, by whom, and how it ended."""

import secrets
import time

from sqlalchemy import insert, select, update

from freehold.errors import NotFoundError
from freehold.records import Record
from freehold.store.database import Store
from freehold.store.schema import jobs


class Job(Record, frozen=True, kw_only=True):
    """One piece of work. `outcome` is None while it runs, else `done`, `failed`, `stopped` or `killed`.

    `kind` says what is done, `path` is the task file; times are UTC in microseconds, `pid_started` in seconds.
    """

    id: str
    kind: str
    task: str
    path: str
    by: str
    started_at: int
    pid: int | None = None
    pid_started: float | None = None
    ended_at: int | None = None
    outcome: str | None = None
    message: str = ""


def begin(store: Store, kind: str, task: str, path: str, by: str) -> Job:
    """Write down that a piece of work begins; its process is named by `running`."""
    job = Job(id=secrets.token_hex(8), kind=kind, task=task, path=path, by=by, started_at=time.time_ns() // 1000)
    fields = ("id", "kind", "task", "path", "by", "started_at", "message")
    with store.begin() as connection:
        connection.execute(insert(jobs).values({name: getattr(job, name) for name in fields}))
    return job


def running(store: Store, id: str, pid: int, pid_started: float) -> None:
    """Which process does it."""
    with store.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.id == id).values(pid=pid, pid_started=pid_started))


def end(store: Store, id: str, outcome: str, message: str) -> None:
    """How it ended; what was written first holds."""
    change = {"outcome": outcome, "message": message, "ended_at": time.time_ns() // 1000}
    with store.begin() as connection:
        connection.execute(update(jobs).where(jobs.c.id == id, jobs.c.outcome.is_(None)).values(change))


def newest(store: Store, limit: int, task: str | None = None, kind: str | None = None) -> list[Job]:
    """Jobs, newest first."""
    query = select(jobs).order_by(jobs.c.started_at.desc(), jobs.c.id).limit(limit)
    if task is not None:
        query = query.where(jobs.c.task == task)
    if kind is not None:
        query = query.where(jobs.c.kind == kind)
    with store.connect() as connection:
        return [Job(**row) for row in connection.execute(query).mappings()]


def find(store: Store, id: str) -> Job:
    """One job; raises `NotFoundError`."""
    with store.connect() as connection:
        row = connection.execute(select(jobs).where(jobs.c.id == id)).mappings().first()
    if row is None:
        raise NotFoundError(f"there is no run {id}; the page of all runs lists them")
    return Job(**row)
