"""The search index and the totals are derived: complete, never ahead, and emptied where a person is forgotten."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from freehold.store import browse, exchanges, search, totals, usage
from freehold.store.browse import Wanted
from freehold.store.database import Store, connect
from freehold.store.exchanges import Attempt, Entry, Exchange, record
from freehold.store.grams import grams, holds, query

SCRIPTS = ("the walk-in freezer", "我想申请退款", "أريد استرداد المبلغ", "लॉकर की चाबी", "Crème brûlée", "ﬁling")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return connect(f"sqlite:///{tmp_path / 'freehold.db'}")


def fill(store: Store, texts: list[str], first: int = 0, cost: int | None = 3) -> None:
    now = time.time_ns() // 1000
    entries = []
    for number, each in enumerate(texts, first):
        exchange = Exchange(
            id=f"{number:032}", at=now + number, endpoint="chat", model="m", answered_by="m", request=f'"{each}"',
            answer='"ok"',
        )  # fmt: skip
        currency = "USD" if cost is not None else None
        tries = [
            Attempt(
                exchange=exchange.id, attempt=at, at=now + number, model="m", target="t", cost=cost, currency=currency
            )
            for at in (1, 2)
        ]
        entries.append(Entry(exchange, tuple(tries)))
    record(store, entries)


def found(store: Store, words: str) -> list[str]:
    return [each.exchange.request or "" for each in browse.page(store, Wanted(words=words)).rows]


@pytest.mark.parametrize(
    ("words", "place"),
    [("FREEZER", 0), ("walk reez", 0), ("退款", 1), ("款", 1), ("申请退", 1), ("استرداد", 2), ("سترد", 2),
     ("لبلغ", None), ("चाबी", 3), ("creme brulee", 4), ("filing", 5)],
)  # fmt: skip
def test_every_script_is_found_inside_words(store: Store, words: str, place: int | None) -> None:
    fill(store, list(SCRIPTS))
    assert search.index(store) == len(SCRIPTS)
    assert found(store, words) == ([f'"{SCRIPTS[place]}"'] if place is not None else [])


@given(st.text(min_size=1, max_size=40), st.integers(0, 39), st.integers(1, 40))
def test_a_part_of_a_text_has_only_pieces_of_the_text(whole: str, start: int, size: int) -> None:
    part = whole[start : start + size]
    if holds(whole, part) and query(part):
        full = [each.strip('"') for each in query(part).split(" AND ") if each.endswith('"')]
        assert set(full) <= grams(whole)


def test_the_index_takes_portions_and_goes_on(store: Store) -> None:
    fill(store, [f"message {at}" for at in range(7)])
    assert [search.index(store, 3) for _ in range(4)] == [3, 3, 1, 0]
    assert search.waiting(store) == 0
    fill(store, ["another"], first=7)
    assert search.waiting(store) == 1 and not found(store, "another")
    search.index(store)
    assert len(found(store, "another")) == 1 and len(found(store, "message")) == 7


def test_a_file_that_was_packed_anew_is_read_again_without_doubles(store: Store) -> None:
    fill(store, [f"message {at}" for at in range(5)])
    search.index(store)
    with store.begin() as connection:
        connection.execute(text("UPDATE cursors SET id = 'gone' WHERE name = 'search'"))
    assert search.index(store) == 5
    assert len(found(store, "message")) == 5


def test_who_is_forgotten_leaves_the_index_and_its_file(store: Store, tmp_path: Path) -> None:
    fill(store, ["xylophonist", "somebody else"])
    search.index(store)
    exchanges.erase(store, [f"{0:032}"])
    assert not found(store, "xylophonist") and len(found(store, "somebody")) == 1
    store.dispose()
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"xyl" not in left and b"oph" not in left


def test_totals_are_the_bill_wherever_the_cursor_is(store: Store) -> None:
    fill(store, [f"message {at}" for at in range(20)])
    fill(store, ["unpriced"], first=20, cost=None)
    bill = {line.currency: line for line in usage.lines(store, ["model"])}
    for portion in (0, 7, 100):
        if portion:
            totals.advance(store, portion)
        for each in totals.days(store):
            line = bill[each.currency or None]
            assert (each.attempts, each.cost, each.unpriced) == (line.attempts, line.cost, line.unpriced)
            assert each.requests == line.requests
    assert totals.advance(store) == 0


def test_filters_and_pages(store: Store) -> None:
    fill(store, [f"message {at}" for at in range(browse.PAGE + 5)])
    first, second = (browse.page(store, Wanted(), number) for number in (1, 2))
    assert (len(first.rows), first.more, len(second.rows), second.more) == (browse.PAGE, True, 5, False)
    assert not browse.page(store, Wanted(), 3).rows
    assert not browse.page(store, Wanted(model="other")).rows and browse.models(store) == ["m"]
    assert not browse.page(store, Wanted(state="failed")).rows
    assert first.rows[0].cost == 6 and first.rows[0].currency == "USD"
