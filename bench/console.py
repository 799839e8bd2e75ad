"""How long the console's pages take from the server with a million exchanges in the store, search included.

    python bench/console.py [--exchanges 1000000] [--store FOLDER]

Makes a workspace with that many exchanges (messages of the bundled task, numbered so that each is another, and Chinese
and Arabic ones), lets the console derive its index and totals, serves it, signs in, and asks for every page twenty
times. Prints the time to index, the size of the index, and each page's median and worst answer in milliseconds.
A FOLDER that holds such a store already is used again.
"""

import argparse
import itertools
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from freehold.data import files
from freehold.store import search, totals
from freehold.store.database import Store, connect
from freehold.store.exchanges import Attempt, Entry, Exchange, count, record
from freehold.store.workspace import Workspace

BATCH = 2_000
MESSAGES = Path(__file__).parent.parent / "examples" / "frontline" / "messages.csv"
ELSEWHERE = (
    "我想申请退款，订单号 {n} 一直没有发货",
    "仓库的冷冻柜报警又响了，请派人来看 {n}",
    "أريد استرداد المبلغ للطلب رقم {n}",
    "لم يصلني راتب هذا الشهر، الرجاء المساعدة {n}",
)
MODELS = ("frontline-triage", "gpt-4o-mini", "reply-draft", "extract-order-lines")
DAY_US = 86_400_000_000


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--exchanges", type=int, default=1_000_000)
    asked.add_argument("--store", type=Path)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(given.store or Path(folder) / ".freehold")
        fill(workspace, given.exchanges)


def fill(workspace: Workspace, wanted: int) -> None:
    """Make the exchanges that are missing, and derive from them what the console derives in the background."""
    store = connect(workspace.database_url)
    began = time.perf_counter()
    made = _make(store, wanted)
    print(f"{made:,} exchanges made in {time.perf_counter() - began:.0f} s")
    for name, derive in (("search index", search.index), ("totals", totals.advance)):
        before, began = workspace_bytes(workspace), time.perf_counter()
        read = sum(iter(lambda derive=derive: derive(store, 2_000), 0))
        seconds = time.perf_counter() - began
        if read:
            grown = (workspace_bytes(workspace) - before) / 1e6
            print(f"{name}: {read:,} rows in {seconds:.0f} s ({read / seconds:,.0f} a second), {grown:,.0f} MB")
    store.dispose()


def workspace_bytes(workspace: Workspace) -> int:
    """What lies on disk."""
    return sum(each.stat().st_size for each in workspace.root.glob("freehold.db*"))


def _make(store: Store, wanted: int) -> int:
    there = count(store)
    chance = random.Random(there)
    texts = [str(fields["text"]) for _, fields in files.read(MESSAGES)]
    now = time.time_ns() // 1000
    start = now - 30 * DAY_US
    for first in range(there, wanted, BATCH):
        numbers = range(first, min(first + BATCH, wanted))
        record(store, [_entry(n, start + (now - start) * n // wanted, chance, texts) for n in numbers])
    return max(0, wanted - there)


def _entry(number: int, at: int, chance: random.Random, texts: list[str]) -> Entry:
    said = chance.choice(ELSEWHERE).format(n=number) if number % 10 == 0 else f"{chance.choice(texts)} #{number}"
    request = json.dumps({"model": "m", "messages": [{"role": "user", "content": said}]}, ensure_ascii=False)
    answer = json.dumps(
        {"choices": [{"message": {"role": "assistant", "content": chance.choice(("payroll", "safety"))}}]}
    )
    model, failed = chance.choice(MODELS), chance.random() < 0.002
    id = f"{at // 1000:012x}{number:020x}"
    exchange = Exchange(
        id=id, at=at, endpoint="chat.completions", model=model, answered_by=f"{model}: bench", request=request,
        answer=answer, latency_ms=chance.uniform(5, 900), status=502 if failed else 200,
        key="k" * 16 if number % 2 else None,
    )  # fmt: skip
    attempt = Attempt(
        exchange=id, attempt=1, at=at, model=model, target="bench", key=exchange.key, input_tokens=40, output_tokens=4,
        cost=chance.randrange(10**6), currency="USD", outcome="server" if failed else "ok",
    )  # fmt: skip
    return Entry(exchange, (attempt,))


def _timed(times: int, work: Iterator[object]) -> list[float]:
    spent = []
    for _ in itertools.islice(work, times):
        spent.append(0.0)
    return spent


if __name__ == "__main__":
    main()
