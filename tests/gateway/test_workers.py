"""Two real worker processes on one port and one store: what is shared stays right; `kill -9` of one loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil
import pytest
from gateway_house import House, RunningUpstream, in_thread
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from freehold.gateway import workers
from freehold.gateway.prices import PICO
from freehold.store import batches
from freehold.store.keys import Allowance, create, spent


class Pair:
    """The gateway with two workers, and what is behind it."""

    def __init__(self, house: House, upstream: RunningUpstream) -> None:
        self.house, self.upstream = house, upstream
        self.workers: workers.Workers

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        settings, backends = self.house.settings, self.house.backends
        async with workers.serving(self.house.workspace, settings, backends) as self.workers:
            yield

    def ask(self, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:  # noqa: ANN401
        body = {"model": "gpt-4o-mini", "max_tokens": 20, "messages": [{"role": "user", "content": "hello"}], **more}
        return httpx.post(f"{self.house.url}/v1/chat/completions", json=body, headers=headers, timeout=30)

    def journals(self) -> list[Path]:
        return list((self.house.workspace.root / "journal").glob("*.journal"))

    def key(self, allowance: Allowance) -> tuple[str, dict[str, str]]:
        """A new key's id, and the header that carries it, once the workers know it."""
        key, secret = create(self.house.store, f"key-{time.monotonic_ns()}", allowance)
        time.sleep(2.0)
        return key.id, {"authorization": f"Bearer {secret}"}

    def at_once(self, number: int, headers: dict[str, str]) -> Counter[int]:
        """So many requests from 16 clients; how many got which status."""
        with ThreadPoolExecutor(16) as clients:
            return Counter(each.status_code for each in clients.map(lambda _: self.ask(headers), range(number)))


@pytest.fixture
def pair(house: House, upstream: RunningUpstream) -> Iterator[Pair]:
    house.settings = replace(house.settings, upstream=upstream.url, workers=2)
    made = Pair(house, upstream)
    with in_thread(made.serving):
        yield made


def test_limits_hold_for_the_workers_together(pair: Pair) -> None:
    budget = PICO // 2000  # 0.0005 USD
    key, headers = pair.key(Allowance(budget=budget))
    codes = pair.at_once(150, headers)
    assert set(codes) == {200, 402} and codes[200] > 1
    rows = [each for each in (pair.house.kept() and pair.house.attempts()) if each.key == key]
    paid = sum(each.cost or 0 for each in rows)
    assert len(rows) == codes[200] and paid <= budget
    assert spent(pair.house.store, key, "USD", 0) == paid

    _, minute = pair.key(Allowance(requests_per_minute=20))
    passed = pair.at_once(60, minute)[200]
    assert 20 <= passed <= 22  # the bucket fills again while the requests go out
    journals = {path.stem.split("-")[1]: path.stat().st_size for path in pair.journals()}
    assert all(journals[str(pid)] > 0 for pid in pair.workers.pids)  # both answered

    time.sleep(2.2)
    text = httpx.get(f"{pair.house.url}/metrics").text
    found = {family.name: family for family in text_string_to_metric_families(text)}
    counted = sum(each.value for each in found["freehold_requests"].samples if each.labels["status"] == "200")
    assert counted == codes[200] + passed


def test_the_engines_run_once_and_answer_every_worker(pair: Pair) -> None:
    chat = {"model": "triage"}
    answers = [pair.ask(**chat) for _ in range(8)]
    assert {each.json()["choices"][0]["message"]["content"] for each in answers} == {"payroll"}
    assert pair.ask(stream=True, model="triage").text.endswith("data: [DONE]\n\n")
    assert len(pair.house.engines) == 1 and pair.house.engines[0].stopped == 0
    pair.house.engines[0].break_after = 0
    assert pair.ask(**chat).status_code == 502
    assert httpx.get(f"{pair.house.url}/readyz").status_code == 200


def test_kill_9_of_one_worker_loses_nothing(pair: Pair) -> None:
    pair.upstream.turn(latency_ms=20)
    budget = PICO  # 1 USD: far more than is asked for, and all of it must come back
    key, headers = pair.key(Allowance(budget=budget, requests_per_minute=100_000))
    seen: list[str] = []

    def client(_: int) -> None:
        for _ in range(25):
            try:
                answer = pair.ask(headers)
                if answer.status_code == 200 and answer.json()["choices"]:
                    seen.append(answer.headers["x-freehold-exchange"])
            except httpx.HTTPError:
                continue  # its worker was killed

    before = pair.workers.pids
    with ThreadPoolExecutor(8) as clients:
        running = [clients.submit(client, number) for number in range(8)]
        time.sleep(1.0)
        os.kill(before[0], signal.SIGKILL)
        for each in running:
            each.result()
    until = time.monotonic() + 60
    while len(pair.workers.pids) < 2 or before[0] in pair.workers.pids:
        assert time.monotonic() < until
        time.sleep(0.1)
    kept = Counter(each.id for each in pair.house.kept())
    assert len(seen) > 100 and all(kept[each] == 1 for each in seen) and len(set(seen)) == len(seen)
    rows = pair.house.attempts()
    assert sum(each.cost or 0 for each in rows) == spent(pair.house.store, key, "USD", 0)
    assert pair.ask(headers).status_code == 200
    house = pair.workers._house
    until = time.monotonic() + 20
    while house._settling:
        assert time.monotonic() < until
        time.sleep(0.1)
    pair.house.kept()  # the journals are in the store
    allowed = house._keyring.of(key)
    assert allowed is not None
    assert (allowed._reserved, allowed._spent) == (0, spent(pair.house.store, key, "USD", 0))


def test_a_stop_drains_every_worker(house: House, upstream: RunningUpstream) -> None:
    upstream.turn(tokens=25, pause_ms=50)
    house.settings = replace(house.settings, upstream=upstream.url, workers=2)
    pair = Pair(house, upstream)
    with ThreadPoolExecutor(6) as clients:
        with in_thread(pair.serving):
            under_way = [clients.submit(pair.ask, stream=True) for _ in range(6)]
            time.sleep(0.7)
            pids = pair.workers.pids
        assert all(each.result().text.endswith("data: [DONE]\n\n") for each in under_way)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    assert len(house.kept()) == 6 and house.engines[0].stopped == 1


def test_workers_whose_house_is_killed_stop(house: House, upstream: RunningUpstream) -> None:
    command = [sys.executable, "-m", "freehold", "serve", "--workers", "2", "--port", str(house.settings.port)]
    environment = {**os.environ, "FREEHOLD_HOME": str(house.workspace.root)}
    with subprocess.Popen(
        [*command, "--upstream", upstream.url], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None and b"gateway on" in process.stdout.readline()
        children = psutil.Process(process.pid).children(recursive=True)
        assert Pair(house, upstream).ask().status_code == 200
        process.kill()
        _, alive = psutil.wait_procs(children, timeout=30)
    assert len(children) >= 2 and not alive
    assert len(house.kept()) == 1


def test_a_batch_of_a_callers_own_key_is_worked_on_whichever_worker_it_came_to(pair: Pair) -> None:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
    line = json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body})
    made = []
    for number in range(8):  # either worker may take a connection: with eight owners, one of them gets the other
        headers = {"authorization": f"Bearer sk-own-{number}"}
        given = {"file": ("in.jsonl", line.encode())}
        file = httpx.post(f"{pair.house.url}/v1/files", files=given, data={"purpose": "batch"}, headers=headers).json()
        wanted = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        made.append(httpx.post(f"{pair.house.url}/v1/batches", json=wanted, headers=headers).json()["id"])
    until = time.monotonic() + 60
    while open_ones := [each.id for each in batches.still_open(pair.house.store)]:  # nobody asks over HTTP meanwhile
        assert time.monotonic() < until, open_ones
        time.sleep(0.2)
    assert len(set(made)) == 8
    assert sum(each.tags != "{}" and each.status == 200 for each in pair.house.kept()) == 8
