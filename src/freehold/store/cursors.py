"""How far something derived has read the rows that it is made of, in the order in which SQLite keeps them.

A cursor holds the row number of the last row that was read and, as a check, that row's id: where a row of that number
has another id (the file was packed anew), reading begins again.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, Row, Table, literal_column, select

from freehold.store.database import Store
from freehold.store.schema import cursors

ROW: ColumnElement[int] = literal_column("rowid", Integer)


def counts_rows(store: Store) -> bool:
    """Whether this store numbers its rows; on one that does not (PostgreSQL) nothing is derived."""
    return store.dialect.name == "sqlite"


def position(connection: Connection, name: str, table: Table, id_column: str) -> int:
    """The last row that was read, 0 before the first."""
    found = connection.execute(select(cursors.c.position, cursors.c.id).where(cursors.c.name == name)).first()
    if found is None:
        return 0
    there = connection.execute(select(table.c[id_column]).where(found.position == ROW)).scalar()
    return int(found.position) if there == found.id else 0


def rows_after(
    connection: Connection, table: Table, at: int, columns: Sequence[Any], limit: int | None = None
) -> Sequence[Row[Any]]:
    """Rows after a position with their numbers first, in order."""
    query = select(ROW.label("number"), *columns).select_from(table).where(at < ROW).order_by(ROW)
    return connection.execute(query if limit is None else query.limit(limit)).all()


def move(connection: Connection, name: str, at: int, id: str) -> None:
    """Remember the last row that was read, in the transaction that wrote what came of it."""
    connection.execute(cursors.delete().where(cursors.c.name == name))
    connection.execute(cursors.insert().values(name=name, position=at, id=id))
