"""The keeper in a process of its own: all arrives, one that is killed is replaced, and it ends with its gateway."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from freehold.gateway import keeper
from freehold.gateway.journal import Journal, segments
from freehold.gateway.keeper_process import KeeperProcess
from freehold.store.database import Store, connect
from freehold.store.exchanges import Attempt, Entry, Exchange, count
from freehold.store.search import waiting
from freehold.store.workspace import Workspace

FOLLOWER = "freehold.console.follower:Follower"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return connect(Workspace(tmp_path).database_url)


def entry(number: int) -> bytes:
    id = f"{number:032x}"
    text = '{"messages": [{"role": "user", "content": "the freezer alarm"}]}'
    exchange = Exchange(id=id, at=number, endpoint="chat.completions", model="m", answered_by="u", request=text)
    return keeper.encode(Entry(exchange, (Attempt(exchange=id, attempt=1, at=number, model="m", target="u"),)))


async def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


def test_what_is_written_arrives_and_is_found_and_a_killed_keeper_is_replaced(tmp_path: Path, store: Store) -> None:
    async def run() -> None:
        journal, kept = Journal(tmp_path / keeper.JOURNAL), KeeperProcess(tmp_path)
        kept.start(FOLLOWER)
        await journal.append(entry(1))
        await until(lambda: count(store) == 1)
        (process,) = psutil.Process().children()
        assert process.nice() > psutil.Process().nice()
        process.kill()
        await until(lambda: kept.failing)
        await asyncio.gather(*(journal.append(entry(number)) for number in range(2, 300)))
        await until(lambda: not kept.failing)
        await until(lambda: count(store) == 299 and waiting(store) == 0)
        await journal.append(entry(300))
        journal.close()
        await kept.stop()

    asyncio.run(run())
    assert count(store) == 300, "what came last is carried before it ends"
    assert not segments(tmp_path / keeper.JOURNAL) and not psutil.Process().children()
