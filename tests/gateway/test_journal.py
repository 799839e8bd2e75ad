"""The journal: durable before it answers, whole after a crash, read back exactly once into the store."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import ResourceError
from freehold.gateway import journal, keeper
from freehold.gateway.events import Splitter, data_of
from freehold.gateway.journal import Journal
from freehold.store.database import Store, connect
from freehold.store.exchanges import Attempt, Entry, Exchange, count, found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return connect(f"sqlite:///{tmp_path / 'freehold.db'}")


def entry(at: int) -> Entry:
    exchange = Exchange(id=f"{at:032x}", at=at, endpoint="chat.completions", model="m", answered_by="u")
    return Entry(exchange, (Attempt(exchange=exchange.id, attempt=1, at=at, model="m", target="u"),))


def write(folder: Path, entries: list[Entry]) -> Path:
    """Append them from many coroutines at once; returns the segment."""

    async def run() -> Path:
        kept = Journal(folder)
        await asyncio.gather(*(kept.append(keeper.encode(each)) for each in entries))
        path = kept.open_segment
        kept.close()
        return path

    return asyncio.run(run())


def test_what_was_acknowledged_is_in_the_store_once(tmp_path: Path, store: Store) -> None:
    write(tmp_path / "journal", [entry(at) for at in range(1200)])
    for _ in range(2):
        keeper.recover(tmp_path / "journal", store)
        assert count(store) == 1200
    assert journal.segments(tmp_path / "journal") == []
    assert [each.attempt for each in found(store, f"{7:032x}")[1]] == [1]


def test_requests_that_finish_together_share_a_flush(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushes = 0
    real = os.fdatasync

    def counted(file: int) -> None:
        nonlocal flushes
        flushes += 1
        real(file)

    monkeypatch.setattr(os, "fdatasync", counted)
    write(tmp_path / "journal", [entry(at) for at in range(200)])
    assert 0 < flushes < 100


@pytest.mark.parametrize("cut", [1, 7, 8, 20])
def test_a_frame_torn_by_a_crash_is_left_out(tmp_path: Path, store: Store, cut: int) -> None:
    path = write(tmp_path / "journal", [entry(at) for at in range(3)])
    os.truncate(path, path.stat().st_size - cut)
    keeper.recover(tmp_path / "journal", store)
    assert count(store) == 2


def test_a_segment_that_is_being_written_is_read_but_not_deleted(tmp_path: Path, store: Store) -> None:
    async def run() -> None:
        kept = Journal(tmp_path / "journal")
        await kept.append(keeper.encode(entry(1)))
        keeper.recover(tmp_path / "journal", store)
        assert count(store) == 1
        assert journal.segments(tmp_path / "journal") == [kept.open_segment]
        kept.close()

    asyncio.run(run())


def test_a_full_disk_refuses_and_leaves_no_torn_frame(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, full = os.write, False

    def write_some(file: int, data: bytes) -> int:
        if full:
            real(file, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        return real(file, data)

    async def run() -> None:
        nonlocal full
        kept = Journal(tmp_path / "journal")
        await kept.append(keeper.encode(entry(1)))
        full = True
        with pytest.raises(ResourceError, match="No space left"):
            await kept.append(keeper.encode(entry(2)))
        full = False
        await kept.append(keeper.encode(entry(3)))
        kept.close()

    monkeypatch.setattr(os, "write", write_some)
    asyncio.run(run())
    keeper.recover(tmp_path / "journal", store)
    assert count(store) == 2


def test_the_keeper_outlives_a_store_that_is_down(tmp_path: Path, store: Store) -> None:
    async def run() -> None:
        kept = Journal(tmp_path / "journal")
        with store.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE exchanges RENAME TO away")
        following = keeper.Keeper(tmp_path / "journal", store, lambda: kept.open_segment)
        await kept.append(keeper.encode(entry(1)))
        while not following.failing:
            await asyncio.sleep(0.02)
        with store.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO exchanges")
        while following.failing:
            await asyncio.sleep(0.02)
        following.close()
        kept.close()

    asyncio.run(run())
    assert count(store) == 1


@given(st.lists(st.text().filter(lambda t: not set(t) & set("\r\n")), max_size=8), st.data())
def test_events_come_out_whole_however_the_bytes_arrive(texts: list[str], data: st.DataObject) -> None:
    events = [f"data: {text}\n\n".encode() for text in texts]
    stream = b"".join(events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    splitter, out = Splitter(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        out += list(splitter.feed(stream[start:end]))
    assert out == events
    assert splitter.rest == b""
    assert [data_of(event).decode() for event in out] == texts


def test_an_event_that_never_ends_is_refused() -> None:
    splitter = Splitter(longest=100)
    with pytest.raises(ValueError, match="longer than 100 bytes"):
        list(splitter.feed(b"data: " + b"x" * 200))
