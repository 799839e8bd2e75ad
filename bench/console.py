"""How long the console's pages take from the server with a million exchanges in the store, search included.

    python bench/console.py [--exchanges 1000000] [--store FOLDER]

Makes a workspace with that many exchanges (messages of the bundled task, numbered so that each is another, and Chinese
and Arabic ones), lets the console derive its index and totals, serves it, signs in, and asks for every page twenty
times. Prints the time to index, the size of the index, and each page's median and worst answer in milliseconds.
A FOLDER that holds such a store already is used again.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlencode

from freehold.console import passwords
from freehold.data import files
from freehold.store import exchanges, search, totals, users
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
SEARCHES = ("freezer", "freezer alarm", "退款", "报", "استرداد", "777777", "a", "payroll", "nowheretobefound")
PAGES = (
    "/",
    "/traffic",
    "/traffic?page=2000",
    "/traffic?model=reply-draft",
    "/traffic?state=failed",
    "/traffic?state=failed&model=reply-draft",
    "/traffic?q=freezer&state=failed",
    *(f"/traffic?q={quote(words)}" for words in SEARCHES),
    "/data",
    "/models",
    "/models/openness",
    "/models/smollm2-135m-instruct?asked=1&commercial=yes",
    "/tuning",
    "/evaluation",
    "/arena",
    "/decision",
    "/deployments",
    "/keys",
    "/keys/statement.csv",
    "/playground",
    "/people",
)
PAINTED = ("/", "/traffic", "/traffic?q=freezer", "/models/openness", "/keys")


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--exchanges", type=int, default=1_000_000)
    asked.add_argument("--store", type=Path)
    asked.add_argument("--times", type=int, default=20)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(given.store or Path(folder) / ".freehold")
        fill(workspace, given.exchanges)
        measure(workspace, given.times)


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


def measure(workspace: Workspace, times: int) -> None:
    """Serve the workspace, sign in, and ask for every page so many times, one after another."""
    port, secret = _free_port(), "a long enough password"
    store = connect(workspace.database_url)
    name = f"bench {time.time_ns()}"
    users.join(store, users.invite(store, users.Role.ADMIN, "bench"), name, passwords.hashed(secret))
    id = exchanges.listed(store, 1)[0].id
    command = [sys.executable, "-m", "freehold", "serve", "--port", str(port)]
    server = subprocess.Popen(
        command, env=os.environ | {"FREEHOLD_HOME": str(workspace.root)}, stdout=subprocess.DEVNULL
    )
    try:
        _wait(port)
        cookie = _sign_in(port, name, secret)
        worst = 0.0
        print(f"{'page':<56} {'first':>8} {'median':>8} {'worst':>8}  ms; median and worst of {times} after the first")
        for path in (*PAGES, f"/traffic/{id}"):
            first = _milliseconds(port, path, cookie)
            spent = sorted(_milliseconds(port, path, cookie) for _ in range(times))
            worst = max(worst, spent[-1])
            print(f"{path:<56} {first:8.1f} {spent[len(spent) // 2]:8.1f} {spent[-1]:8.1f}")
        print(f"worst of all {worst:.1f} ms (promised: 150)")
        _first_paint(port, cookie)
    finally:
        server.terminate()
        server.wait()


def _milliseconds(port: int, path: str, cookie: str) -> float:
    """From the request's first byte to the answer's last; an answer that is not 200 stops the bench."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    began = time.perf_counter()
    connection.request("GET", path, headers={"cookie": cookie})
    answer = connection.getresponse()
    answer.read()
    spent = (time.perf_counter() - began) * 1000
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"{path} answered {answer.status}")
    return spent


def _sign_in(port: int, name: str, secret: str) -> str:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/sign-in", urlencode({"name": name, "password": secret}))
    cookie = connection.getresponse().getheader("set-cookie") or ""
    return cookie.split(";")[0]


def _first_paint(port: int, cookie: str) -> None:
    """When Chromium paints the slowest kinds of pages for the first time, with nothing in its cache."""
    found = shutil.which("chromium")
    if found is None:
        return print("first paint: not measured, no Chromium is installed")
    from playwright.sync_api import sync_playwright

    name, value = cookie.split("=", 1)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for path in PAINTED:
            context = browser.new_context()
            context.add_cookies([{"name": name, "value": value, "url": f"http://127.0.0.1:{port}"}])
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{port}{path}")
            page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
            paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            print(f"first paint of {path:<30} {paint:8.0f} ms (promised: 1000)")
            context.close()
        browser.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise SystemExit("the server did not answer within a minute")


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


if __name__ == "__main__":
    main()
