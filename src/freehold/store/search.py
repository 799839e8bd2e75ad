"""Full-text search over exchanges: SQLite's FTS5 over trigrams that are made here (`grams.py`).

The index is derived, and never in the way of what is captured: `index` reads what has been added since, in small
portions, whenever somebody has time. It keeps no text. What is erased is taken out of it, and out of its file.
On PostgreSQL there is no such index, and a search reads the rows.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, func, select, text

from freehold.store import cursors
from freehold.store.database import Store
from freehold.store.grams import grams, spoken
from freehold.store.schema import exchanges, searchable

CURSOR = "search"
INDEX = "exchange_grams"
# Made when the first exchange is indexed: a derived table, which a schema of plain tables cannot name.
_MAKE = (
    f"CREATE VIRTUAL TABLE IF NOT EXISTS {INDEX} "
    "USING fts5(grams, content='', detail=none, columnsize=0, prefix='1 2', tokenize='ascii')"
)


def index(store: Store, most: int = 200) -> int:
    """Index up to so many exchanges that are not in it yet; returns how many were read."""
    if not cursors.counts_rows(store):
        return 0
    columns = (exchanges.c.id, exchanges.c.request, exchanges.c.answer)
    with store.connect() as connection:
        at = cursors.position(connection, CURSOR, exchanges, "id")
        rows = cursors.rows_after(connection, exchanges, at, columns, most)
    if not rows:
        return 0
    found = {row.id: " ".join(sorted(grams(spoken(row.request, row.answer)))) for row in rows}
    with store.connect() as connection:
        connection.execute(text("BEGIN IMMEDIATE"))
        if cursors.position(connection, CURSOR, exchanges, "id") != at:
            return 0  # another process was faster
        _add(connection, found)
        cursors.move(connection, CURSOR, rows[-1].number, rows[-1].id)
        connection.commit()
    return len(rows)


def last(store: Store) -> int:
    """The newest exchange's row number: it grows with every exchange."""
    if not cursors.counts_rows(store):
        return 0
    with store.connect() as connection:
        return int(connection.execute(select(func.max(cursors.ROW)).select_from(exchanges)).scalar() or 0)


def waiting(store: Store) -> int:
    """About how many exchanges are not in the index yet."""
    if not cursors.counts_rows(store):
        return 0
    with store.connect() as connection:
        return max(0, last(store) - cursors.position(connection, CURSOR, exchanges, "id"))


def ready(store: Store) -> bool:
    """Whether there is an index to search in."""
    if not cursors.counts_rows(store):
        return False
    with store.connect() as connection:
        return _made(connection)


def remove(connection: Connection, ids: Sequence[str]) -> None:
    """Take exchanges out, in the transaction that erases their texts and before it does; their pieces leave the file.

    An index without texts forgets an entry only when it is told again what the entry held.
    """
    if connection.dialect.name != "sqlite" or not _made(connection):
        return
    query = (
        select(searchable.c.number, exchanges.c.request, exchanges.c.answer)
        .join(exchanges, exchanges.c.id == searchable.c.exchange)
        .where(searchable.c.exchange.in_(list(ids)))
    )
    rows = [
        {"number": row.number, "grams": " ".join(sorted(grams(spoken(row.request, row.answer))))}
        for row in connection.execute(query)
    ]
    if not rows:
        return
    forget = f"INSERT INTO {INDEX}({INDEX}, rowid, grams) VALUES ('delete', :number, :grams)"
    connection.execute(text(forget), rows)
    connection.execute(searchable.delete().where(searchable.c.number.in_([row["number"] for row in rows])))
    connection.execute(text(f"INSERT INTO {INDEX}({INDEX}) VALUES ('optimize')"))  # writes it anew without them


def _add(connection: Connection, found: dict[str, str]) -> None:
    connection.execute(text(_MAKE))
    known = select(searchable.c.exchange).where(searchable.c.exchange.in_(list(found)))
    for id in connection.execute(known).scalars():
        del found[id]
    if not found:
        return
    last = connection.execute(select(func.coalesce(func.max(searchable.c.number), 0))).scalar_one()
    rows = [{"number": last + at, "exchange": id, "grams": each} for at, (id, each) in enumerate(found.items(), 1)]
    numbered = searchable.insert().values(number=bindparam("number"), exchange=bindparam("exchange"))
    connection.execute(numbered, [{"number": row["number"], "exchange": row["exchange"]} for row in rows])
    connection.execute(text(f"INSERT INTO {INDEX}(rowid, grams) VALUES (:number, :grams)"), rows)


def _made(connection: Connection) -> bool:
    known = text("SELECT 1 FROM sqlite_master WHERE name = :name")
    return connection.execute(known, {"name": INDEX}).first() is not None
