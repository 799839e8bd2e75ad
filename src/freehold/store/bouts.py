"""Blind comparisons: dealt once, voted on once. Only this table knows whose answers they were."""

import secrets
import time

from sqlalchemy import Engine, insert, select, update

from freehold.errors import NotFoundError, UserError
from freehold.records import Record
from freehold.store.schema import bouts

WINNERS = ("left", "right", "tie", "both-bad")
LONGEST_NAME = 64


class Bout(Record, frozen=True, kw_only=True):
    """Two models' answers to one example, and the vote on them (None while nobody has voted).

    Times are UTC in microseconds since 1970.
    """

    id: str
    task: str
    example: str
    left_model: str
    right_model: str
    dealt_at: int
    winner: str | None = None
    voter: str | None = None
    cast_at: int | None = None


class Bouts:
    """What was dealt and what was chosen; a vote is never changed."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def deal(self, task: str, example: str, left: str, right: str) -> str:
        """Remember what is about to be shown; gives the id to vote under, which says nothing about the models."""
        id, now = secrets.token_hex(16), time.time_ns() // 1000
        row = {"id": id, "task": task, "example": example, "left_model": left, "right_model": right, "dealt_at": now}
        with self._engine.begin() as connection:
            connection.execute(insert(bouts), [row])
        return id

    def find(self, id: str) -> Bout:
        """One comparison; raises `NotFoundError`."""
        with self._engine.connect() as connection:
            row = connection.execute(select(bouts).where(bouts.c.id == id)).first()
        if row is None:
            raise NotFoundError(f"{id}: no such comparison was dealt")
        return Bout(**row._mapping)

    def cast(self, id: str, winner: str, voter: str) -> None:
        """Keep a vote; raises `NotFoundError` for an id never dealt, `UserError` for a second vote or a wrong word."""
        if winner not in WINNERS:
            raise UserError(f"winner is {winner!r}; it is {', '.join(WINNERS)}")
        if not voter or len(voter) > LONGEST_NAME:
            raise UserError(f"voter has {len(voter)} characters; a name for the voter has 1 to {LONGEST_NAME}")
        vote = {"winner": winner, "voter": voter, "cast_at": time.time_ns() // 1000}
        with self._engine.begin() as connection:
            if connection.execute(select(bouts.c.id).where(bouts.c.id == id)).first() is None:
                raise NotFoundError(f"{id}: no such comparison was dealt")
            kept = connection.execute(update(bouts).where(bouts.c.id == id, bouts.c.winner.is_(None)).values(vote))
            if kept.rowcount == 0:
                raise UserError(f"{id}: was voted on already; a vote is not changed")

    def votes(self, task: str) -> list[Bout]:
        """Every vote on a task, in the order in which they were cast."""
        query = select(bouts).where(bouts.c.task == task, bouts.c.winner.is_not(None))
        with self._engine.connect() as connection:
            return [Bout(**row._mapping) for row in connection.execute(query.order_by(bouts.c.cast_at, bouts.c.id))]
