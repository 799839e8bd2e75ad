"""Invariant 4: an exchange that its client has to the end is on disk before, and survives `kill -9`."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import openai
import psutil
import pytest
from gateway_house import House, RunningUpstream, free_port
from msgspec.structs import replace

from freehold.gateway.keeper import recover
from freehold.store.database import connect
from freehold.store.exchanges import count, found
from freehold.store.usage import lines
from freehold.store.workspace import Workspace

ASK: Any = [{"role": "user", "content": "my pay is short"}]


@pytest.mark.parametrize("stream", [False, True])
def test_the_last_byte_waits_for_the_disk(
    passing: House, upstream: RunningUpstream, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    client = openai.OpenAI(base_url=f"{passing.url}/v1", api_key="k", max_retries=0, timeout=20)
    real, asked, released = os.fdatasync, threading.Event(), threading.Event()
    order: list[str] = []

    def held(file: int) -> None:
        asked.set()
        released.wait(10)
        real(file)
        order.append("on disk")

    def read() -> None:
        reply = client.chat.completions.create(model="gpt-4o-mini", messages=ASK, stream=stream)
        if stream:
            for piece in reply:
                if piece.choices and piece.choices[0].finish_reason is None:
                    order.append("piece")
        order.append("finished")

    monkeypatch.setattr(os, "fdatasync", held)
    reading = threading.Thread(target=read)
    reading.start()
    assert asked.wait(10)
    time.sleep(0.3)
    assert "finished" not in order, "the client had the last byte before the disk did"
    assert ("piece" in order) is stream, "the pieces before the last do not wait"
    released.set()
    reading.join()
    assert order.index("on disk") < order.index("finished")


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_disk_refuses_to_answer_without_a_record(
    passing: House, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setattr(os, "fdatasync", _full)
    client = openai.OpenAI(base_url=f"{passing.url}/v1", api_key="k", max_retries=0, timeout=20)
    with pytest.raises(openai.APIError, match="cannot be kept"):
        reply = client.chat.completions.create(model="gpt-4o-mini", messages=ASK, stream=stream)
        for piece in reply:
            assert not stream or "DONE" not in str(piece)
    monkeypatch.undo()
    assert client.chat.completions.create(model="gpt-4o-mini", messages=ASK).choices


def test_where_the_policy_says_so_a_full_disk_is_served_uncaptured_and_loudly(
    house: House, upstream: RunningUpstream, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    house.settings = replace(house.settings, upstream=upstream.url, on_full="serve-uncaptured")
    with house.open():
        monkeypatch.setattr(os, "fdatasync", _full)
        client = openai.OpenAI(base_url=f"{house.url}/v1", api_key="k", max_retries=0, timeout=20)
        assert client.chat.completions.create(model="gpt-4o-mini", messages=ASK).choices[0].message.content
        monkeypatch.undo()
        with urllib.request.urlopen(f"{house.url}/metrics") as page:
            assert b"freehold_uncaptured 1" in page.read()
    assert "NOT recorded" in caplog.text
    assert house.kept() == []


def test_while_the_store_is_down_the_journal_holds_everything(passing: House) -> None:
    client = openai.OpenAI(base_url=f"{passing.url}/v1", api_key="k", max_retries=0, timeout=20)
    with passing.store.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE exchanges RENAME TO away")
    for _ in range(5):
        assert client.chat.completions.create(model="gpt-4o-mini", messages=ASK).choices
    assert _ready(passing) == 503
    with passing.store.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO exchanges")
    end = time.monotonic() + 10
    while _ready(passing) != 200 and time.monotonic() < end:
        time.sleep(0.1)
    assert count(passing.store) == 5


def _full(_: int) -> None:
    raise OSError(28, "No space left on device")


def _ready(house: House) -> int:
    """The status of /readyz, once it has had the time to change."""
    time.sleep(0.6)
    try:
        with urllib.request.urlopen(f"{house.url}/readyz") as page:
            return int(page.status)
    except urllib.error.HTTPError as error:
        return int(error.code)


class Restarted:
    """`freehold serve` in a process of its own, killed and started again."""

    def __init__(self, root: Path, upstream: str) -> None:
        self.port = free_port()
        self._command = [sys.executable, "-c", "from freehold.cli.main import main; main()", "serve"]
        self._command += ["--port", str(self.port), "--upstream", upstream]
        self._environment = {**os.environ, "FREEHOLD_HOME": str(root)}
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(self._command, env=self._environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = self.start()


async def one(http: aiohttp.ClientSession, url: str, number: int) -> str | None:
    """Ask once; the exchange's id where the answer came to its end."""
    stream = number % 3 == 0
    body = {"model": "gpt-4o-mini", "stream": stream, "messages": [{"role": "user", "content": f"question {number}"}]}
    try:
        async with http.post(f"{url}/chat/completions", data=msgspec.json.encode(body)) as response:
            content = await response.read()
            whole = content.endswith(b"data: [DONE]\n\n") if stream else content.endswith(b"}")
            return response.headers["x-freehold-exchange"] if response.status == 200 and whole else None
    except (aiohttp.ClientError, OSError):
        await asyncio.sleep(0.05)
        return None


async def storm(gateway: Restarted, requests: int, kills: int) -> list[str]:
    """Every request until it is answered to its end, from many clients at once, while the gateway is killed."""
    url, finished = f"http://127.0.0.1:{gateway.port}/v1", []
    todo = list(range(requests))

    async def client(http: aiohttp.ClientSession) -> None:
        while todo:
            number = todo.pop()
            while (id := await one(http, url, number)) is None:
                pass
            finished.append(id)

    async def killer() -> None:
        for turn in range(kills):
            while len(finished) < requests * (turn + random.random()) / (kills + 1):
                await asyncio.sleep(0.01)
            await asyncio.to_thread(gateway.kill)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        await asyncio.gather(killer(), *(client(http) for _ in range(24)))
    return finished


@pytest.mark.parametrize(("requests", "kills"), [(600, 2), pytest.param(20_000, 12, marks=pytest.mark.slow)])
def test_kill_9_at_any_moment_loses_nothing_that_was_seen_finished(
    tmp_path: Path, upstream: RunningUpstream, requests: int, kills: int
) -> None:
    gateway = Restarted(tmp_path, upstream.url)
    try:
        finished = asyncio.run(storm(gateway, requests, kills))
    finally:
        gateway.process.kill()
        gateway.process.wait()
    workspace = Workspace(tmp_path)
    store = connect(workspace.database_url)
    recover(workspace.root / "journal", store)
    assert len(set(finished)) == requests
    rows = [found(store, id)[1] for id in finished]  # raises where one is lost
    assert all(len(each) == 1 for each in rows)
    bill = lines(store, ["model"])
    every = store.connect().exec_driver_sql("SELECT cost FROM usage").scalars().all()
    assert sum(line.cost for line in bill) == sum(cost or 0 for cost in every)
    assert sum(line.attempts for line in bill) == len(every) == count(store)


@pytest.mark.slow
def test_memory_stays_flat_over_200_000_requests(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    upstream = subprocess.Popen(
        [sys.executable, "-c", "from freehold.cli.main import main; main()", "fake-upstream", "--port", "18461"],
        stdout=subprocess.PIPE,
    )
    assert upstream.stdout is not None
    upstream.stdout.readline()
    gateway = Restarted(tmp_path, "http://127.0.0.1:18461/v1")
    try:
        process = psutil.Process(gateway.process.pid)
        asyncio.run(storm(gateway, 20_000, 0))
        before = process.memory_info().rss
        for _ in range(9):
            asyncio.run(storm(gateway, 20_000, 0))
        grown = process.memory_info().rss - before
    finally:
        for each in (gateway.process, upstream):
            each.kill()
            each.wait()
    record_property("grown_bytes", grown)
    assert grown < 30e6, f"from {before / 1e6:.1f} MB by {grown / 1e6:.1f} MB"
