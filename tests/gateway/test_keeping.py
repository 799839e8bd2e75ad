"""A gateway that serves keeps the retention policy, and can be backed up."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx
from gateway_house import House

from freehold.data import retention
from freehold.gateway.keeper import recover
from freehold.progress import SILENT
from freehold.store import backup, exchanges
from freehold.store.database import connect
from freehold.store.exchanges import Entry, Exchange
from freehold.store.workspace import Workspace

ASK = {"model": "triage", "messages": [{"role": "user", "content": "my pay is short"}]}


def test_what_is_too_old_goes_while_it_serves(house: House) -> None:
    old = Exchange(id="x1", at=1, endpoint="chat", model="m", answered_by="up", request="secret words")
    exchanges.record(house.store, [Entry(old, ())])
    retention.set_policy(house.workspace, 30)
    with house.open():
        until = time.monotonic() + 20
        while exchanges.found(house.store, "x1")[0].request is not None and time.monotonic() < until:
            time.sleep(0.05)
    assert exchanges.found(house.store, "x1")[0].request is None


def test_what_was_answered_before_a_backup_is_in_it(
    gateway: House, http: Callable[..., "tuple[int, dict[str, str], bytes]"], tmp_path: Path
) -> None:
    for _ in range(5):
        assert http("POST", "/v1/chat/completions", ASK)[0] == 200
    backup.backup(gateway.workspace, tmp_path / "b.tar", False, SILENT)
    assert http("POST", "/v1/chat/completions", ASK)[0] == 200
    other = Workspace(tmp_path / "restored" / ".freehold")
    backup.restore(tmp_path / "b.tar", other, SILENT)
    store = connect(other.database_url)
    recover(other.root / "journal", store)
    assert exchanges.count(store) == 5
    store.dispose()


def test_what_was_just_answered_can_be_looked_up_and_judged_at_once(passing: House) -> None:
    with httpx.Client(base_url=passing.url, timeout=20) as client:
        for _ in range(5):
            body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]}
            id = client.post("/v1/chat/completions", json=body).headers["x-freehold-exchange"]
            assert client.get(f"/freehold/v1/exchanges/{id}").status_code == 200
            id = client.post("/v1/chat/completions", json=body).headers["x-freehold-exchange"]
            assert client.post("/freehold/v1/feedback", json={"exchange": id, "verdict": "accepted"}).status_code == 200
        assert client.get(f"/freehold/v1/exchanges/{'0' * 32}").status_code == 404
        assert client.post("/freehold/v1/feedback", json={"exchange": "00", "verdict": "fine"}).status_code == 400
