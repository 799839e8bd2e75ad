"""Exchanges as a person looks through them: filtered, searched, a page at a time, newest first."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Literal

from sqlalchemy import Select, func, or_, select, text

from freehold.errors import UserError
from freehold.records import Record
from freehold.store.database import Store
from freehold.store.exchanges import Exchange
from freehold.store.grams import holds, may_hold, plain, query, spoken, words
from freehold.store.schema import FAILED, exchanges, feedback, searchable, usage
from freehold.store.search import INDEX, ready

PAGE = 50
MOST_READ = 20_000
State = Literal["all", "answered", "failed"]
_SAID = 20_000


class Wanted(Record, frozen=True, kw_only=True):
    """Which exchanges are looked for; all of `words` must occur. Times are UTC in microseconds since 1970."""

    words: str = ""
    model: str | None = None
    key: str | None = None
    state: State = "all"
    verdict: str | None = None
    since: int | None = None
    until: int | None = None


class Seen(Record, frozen=True, kw_only=True):
    """One exchange in a list: with what its attempts cost together (None: no price) and the last word said of it."""

    exchange: Exchange
    cost: int | None
    currency: str | None
    verdict: str | None


class Page(Record, frozen=True, kw_only=True):
    """One page of exchanges. `cut` says that a search stopped after the newest matches it could look through."""

    rows: tuple[Seen, ...]
    number: int
    more: bool
    cut: bool = False


def page(store: Store, wanted: Wanted, number: int = 1) -> Page:
    """The page of that number, from 1; one past the end has no rows."""
    if number < 1:
        raise UserError(f"page {number}: pages are counted from 1")
    skip = (number - 1) * PAGE
    cut = False
    if wanted.words.strip():
        found, cut = _searched(store, wanted, skip + PAGE + 1)
        found = found[skip:]
    else:
        with store.connect() as connection:
            rows = connection.execute(_newest(wanted).limit(PAGE + 1).offset(skip)).mappings()
            found = [Exchange(**row) for row in rows]
    return Page(rows=tuple(_seen(store, found[:PAGE])), number=number, more=len(found) > PAGE, cut=cut)


def count(store: Store, wanted: Wanted) -> int:
    """How many exchanges pass the filters (without the search)."""
    with store.connect() as connection:
        return int(connection.execute(_filtered(select(func.count()).select_from(exchanges), wanted)).scalar_one())


def models(store: Store) -> list[str]:
    """Every model name that was asked for, found by skipping through the index: one step a name, not a row."""
    names: list[str] = []
    with store.connect() as connection:
        while True:
            least = select(func.min(exchanges.c.model))
            if names:
                least = least.where(exchanges.c.model > names[-1])
            name = connection.execute(least).scalar()
            if name is None or len(names) >= 200:
                return names
            names.append(name)


def _newest(wanted: Wanted) -> Select[Any]:
    return _filtered(select(exchanges).order_by(exchanges.c.at.desc()), wanted)


def _filtered(asked: Select[Any], wanted: Wanted) -> Select[Any]:
    if wanted.state == "failed":
        asked = asked.where(text(f"({FAILED})"))
    elif wanted.state == "answered":
        asked = asked.where(exchanges.c.status < 400, exchanges.c.finished)
    if wanted.model is not None:
        # where failures are asked for, there are few: their index is read, and not the model's
        model = exchanges.c.model.concat("") if wanted.state == "failed" else exchanges.c.model
        asked = asked.where(model == wanted.model)
    if wanted.key is not None:
        asked = asked.where(exchanges.c.key == wanted.key, exchanges.c.key.is_not(None))
    if wanted.verdict is not None:
        said = select(feedback.c.exchange).where(feedback.c.verdict == wanted.verdict)
        asked = asked.where(exchanges.c.id.in_(said.order_by(feedback.c.at.desc()).limit(_SAID)))
    if wanted.since is not None:
        asked = asked.where(exchanges.c.at >= wanted.since)
    if wanted.until is not None:
        asked = asked.where(exchanges.c.at < wanted.until)
    return asked


def _searched(store: Store, wanted: Wanted, enough: int) -> tuple[list[Exchange], bool]:
    """The newest exchanges that hold the words, and whether older ones were left unread."""
    looked_for = words(wanted.words)
    if not looked_for:
        raise UserError(f"{wanted.words!r} holds no letter or digit to search for")
    read = 0
    ids: list[str] = []
    for id, request, answer in islice(_candidates(store, wanted), MOST_READ):
        read += 1
        content = f"{request or ''}\n{answer or ''}"
        if may_hold(content, looked_for) and holds(spoken(request, answer), wanted.words):
            ids.append(id)
            if len(ids) >= enough:
                break
    return _by_id(store, ids), read >= MOST_READ


def _by_id(store: Store, ids: Sequence[str]) -> list[Exchange]:
    """Exchanges in the order of their ids here."""
    with store.connect() as connection:
        found = {
            row["id"]: row for row in connection.execute(select(exchanges).where(exchanges.c.id.in_(ids))).mappings()
        }
    return [Exchange(**found[id]) for id in ids if id in found]


def _candidates(store: Store, wanted: Wanted) -> Iterator[tuple[str, str | None, str | None]]:
    """What may hold the words, newest first: id, request and answer."""
    columns = (exchanges.c.id, exchanges.c.request, exchanges.c.answer)
    if ready(store):
        asked = (
            select(*columns)
            .select_from(text(INDEX))
            .join(searchable, text(f"searchable.number = {INDEX}.rowid"))
            .join(exchanges, exchanges.c.id == searchable.c.exchange)
            .where(text(f"{INDEX} MATCH :grams").bindparams(grams=query(wanted.words)))
            .order_by(text(f"{INDEX}.rowid DESC"))
        )
        asked = _filtered(asked, wanted)
    else:
        likes = [f"%{plain(word)}%" for word in words(wanted.words)]
        asked = (
            _newest(wanted)
            .with_only_columns(*columns)
            .where(
                *(
                    or_(func.lower(exchanges.c.request).like(like), func.lower(exchanges.c.answer).like(like))
                    for like in likes
                )
            )
        )
    with store.connect().execution_options(yield_per=100) as connection:
        for row in connection.execute(asked):
            yield row.id, row.request, row.answer


def _seen(store: Store, found: Sequence[Exchange]) -> Iterator[Seen]:
    ids = [each.id for each in found]
    spent = (
        select(
            usage.c.exchange,
            func.sum(usage.c.cost),
            func.count(),
            func.count(usage.c.cost),
            func.min(usage.c.currency),
            func.max(usage.c.currency),
        )
        .where(usage.c.exchange.in_(ids))
        .group_by(usage.c.exchange)
    )
    said = select(feedback.c.exchange, feedback.c.verdict).where(feedback.c.exchange.in_(ids)).order_by(feedback.c.id)
    with store.connect() as connection:
        costs = {row[0]: row[1:] for row in connection.execute(spent)}
        verdicts: dict[str, str] = {row[0]: row[1] for row in connection.execute(said)}
    for each in found:
        cost, attempts, priced, currency, other = costs.get(each.id, (None, 0, 0, None, None))
        whole = attempts > 0 and attempts == priced and currency == other
        yield Seen(
            exchange=each,
            cost=int(cost) if whole else None,
            currency=currency if whole else None,
            verdict=verdicts.get(each.id),
        )
