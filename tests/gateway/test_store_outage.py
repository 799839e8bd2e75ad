"""The store is down for a while, really: nothing is lost, nobody waits, and the rules that were known still hold."""

import time
from collections.abc import Callable, Iterator

import msgspec
import openai
import pytest
from gateway_house import House, RunningUpstream
from msgspec.structs import replace

from freehold.gateway.journal import segments
from freehold.store.deployments import Deployment, RemoteTarget, deploy
from freehold.store.exchanges import count, found
from freehold.store.keys import Allowance, create
from freehold.store.workspace import Workspace
from postgres_server import NO_SERVER, PostgresServer, programs

ASK = [{"role": "user", "content": "my pay is short"}]


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    where = programs()
    if where is None:
        pytest.skip(NO_SERVER)
    made = PostgresServer(where)
    made.start()
    yield made
    made.stop()
    made.remove()


@pytest.fixture
def house(server: PostgresServer, house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """The house of the other tests, over PostgreSQL."""
    monkeypatch.setenv("FREEHOLD_DATABASE", f"postgresql://freehold@/postgres?host={server.folder}")
    return House(Workspace(house.workspace.root))


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_a_database_that_is_stopped_costs_nobody_an_answer_and_no_exchange(
    house: House, server: PostgresServer, upstream: RunningUpstream, seconds: int
) -> None:
    allowance = Allowance(budget=10**12, currency="USD", period="day", requests_per_minute=100_000)
    _, secret = create(house.store, "app", allowance)
    house.settings = replace(house.settings, upstream=upstream.url)
    with house.open():
        client = openai.OpenAI(base_url=f"{house.url}/v1", api_key=secret, max_retries=0, timeout=20)
        ids = [_ask(client, stream=False)]
        server.stop()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            ids += [_ask(client, stream) for stream in (False, True)]
            time.sleep(0.05 if seconds < 10 else 0.5)
        assert len(ids) > 5
        assert _settled(lambda: _status(client, "/readyz") == 503)
        refused = client._client.get(f"{house.url}/freehold/v1/exchanges/{ids[-1]}")
        assert refused.status_code == 503
        assert "store cannot be reached" in refused.json()["error"]["message"]
        assert segments(house.workspace.root / "journal")
        server.start()
        assert _settled(lambda: _status(client, "/readyz") == 200)
        assert _settled(lambda: count(house.store) == len(ids)), count(house.store)
        assert all(len(found(house.store, each)[1]) == 1 for each in ids)


def test_the_first_question_of_a_key_whose_budget_cannot_be_counted_is_refused(
    house: House, server: PostgresServer, upstream: RunningUpstream
) -> None:
    _, secret = create(house.store, "app", Allowance(budget=1, currency="USD", period="day"))
    house.settings = replace(house.settings, upstream=upstream.url)
    with house.open():
        server.stop()
        client = openai.OpenAI(base_url=f"{house.url}/v1", api_key=secret, max_retries=0, timeout=20)
        for _ in range(3):  # it was let through from the second one on
            with pytest.raises(openai.APIStatusError) as caught:
                _ask(client, stream=False)
            assert caught.value.status_code == 503
        server.start()


def test_an_entry_that_no_store_can_keep_holds_up_none_of_the_others(
    house: House, upstream: RunningUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    house.settings = replace(house.settings, upstream=f"{upstream.url}/{'x' * 600}")  # longer than its column
    target = RemoteTarget(base_url=upstream.url, model="gpt-4o-mini")
    deploy(house.store, Deployment(name="ours", target=target), "test")
    with house.open():
        client = openai.OpenAI(base_url=f"{house.url}/v1", api_key="k", max_retries=0, timeout=20)
        content = msgspec.json.encode({"model": "gpt-4o-mini", "messages": ASK})
        client._client.post(f"{house.url}/v1/chat/completions", content=content)
        content = msgspec.json.encode({"model": "ours", "messages": ASK})
        assert client._client.post(f"{house.url}/v1/chat/completions", content=content).status_code == 200
        assert _settled(lambda: count(house.store) == 1)
        assert _settled(lambda: _status(client, "/readyz") == 200)
    assert "set aside" in caplog.text
    assert len(list((house.workspace.root / "journal" / "set-aside").iterdir())) == 1


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 257, "two\nlines"])
def test_a_model_s_name_is_one_that_can_be_kept(
    http: Callable[..., tuple[int, dict[str, str], bytes]], name: str
) -> None:
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/images/generations"):
        status, _, content = http("POST", path, {"model": name, "messages": ASK})
        assert status == 400
        assert b"model" in content


def _ask(client: openai.OpenAI, stream: bool) -> str:
    """One answer to its end; the exchange's id."""
    with client.chat.completions.with_streaming_response.create(
        model="gpt-4o-mini",
        messages=ASK,
        stream=stream,  # type: ignore[call-overload]
    ) as answer:
        content = b"".join(answer.iter_bytes())
        assert not stream or content.endswith(b"data: [DONE]\n\n")
        return str(answer.headers["x-freehold-exchange"])


def _status(client: openai.OpenAI, path: str) -> int:
    return int(client._client.get(str(client.base_url).removesuffix("/v1/") + path).status_code)


def _settled(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + 20
    while not true() and time.monotonic() < until:
        time.sleep(0.1)
    return true()
