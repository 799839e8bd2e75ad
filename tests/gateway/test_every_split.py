"""An answer may be cut anywhere on its way from the upstream, inside a letter, a JSON text or an event's framing: its
client gets the same bytes, and the same exchange is kept. `freehold fake-upstream --split-at` is the dial."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import aiohttp
import msgspec
import pytest
from gateway_house import House, RunningUpstream
from msgspec.structs import replace

from freehold.gateway.endpoints import CHAT, COMPLETIONS, EMBEDDINGS, ENDPOINTS, MESSAGES, RERANK, RESPONSES, Endpoint
from freehold.store.deployments import Deployment, RemoteTarget, deploy

AT_ONCE = 16
CHATS: list[dict[str, str]] = [{"role": "user", "content": "où est la gare"}]
ASKED: dict[Endpoint, dict[str, Any]] = {
    CHAT: {"messages": CHATS, "stream_options": {"include_usage": True}},
    COMPLETIONS: {"prompt": "où est la gare", "stream_options": {"include_usage": True}},
    RESPONSES: {"input": "où est la gare"},
    MESSAGES: {"messages": CHATS, "max_tokens": 50},
    EMBEDDINGS: {"input": ["où est la gare"]},
    RERANK: {"query": "où", "documents": ["ici", "là"]},
}
STREAMED = [(each, True) for each in (CHAT, COMPLETIONS, RESPONSES, MESSAGES)]
WHOLE = [(each, False) for each in ENDPOINTS]


@pytest.fixture
def accented(house: House, upstream: RunningUpstream) -> Iterator[House]:
    upstream.turn(accents=True, tokens=10)
    house.settings = replace(house.settings, upstream=upstream.url)
    target = RemoteTarget(base_url=upstream.url, model="gpt-4o-mini", speaks="chat")
    deploy(house.store, Deployment(name="translated", target=target), "test")
    with house.open():
        yield house


@pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("endpoint", "stream"), STREAMED + WHOLE, ids=lambda each: getattr(each, "name", str(each)))
def test_cut_at_every_byte_it_is_the_same_answer_and_the_same_exchange(
    accented: House, upstream: RunningUpstream, endpoint: Endpoint, stream: bool, step: int
) -> None:
    body = {"model": "gpt-4o-mini", **ASKED[endpoint], "stream": stream}
    whole, first = asyncio.run(_asked(accented, endpoint, body, [None]))[0]
    places = _places(whole, step)
    found = asyncio.run(_asked(accented, endpoint, body, places))
    for at, (content, _) in zip(places, found, strict=True):
        assert content == whole, f"cut behind {at} bytes"
    kept = {each.id: each for each in accented.kept()}
    assert len(kept) == len(places) + 1
    for at, (_, id) in zip(places, found, strict=True):
        assert kept[id].answer == kept[first].answer, f"cut behind {at} bytes"
        assert (kept[id].finished, kept[id].status) == (True, 200)
    tokens = {(each.input_tokens, each.output_tokens, each.estimated) for each in accented.attempts()}
    assert len(tokens) == 1


@pytest.mark.parametrize("endpoint", [COMPLETIONS, RESPONSES, MESSAGES], ids=lambda each: each.name)
@pytest.mark.parametrize("step", [29, pytest.param(1, marks=pytest.mark.slow)])
def test_cut_at_every_byte_it_is_translated_to_the_same_words(accented: House, endpoint: Endpoint, step: int) -> None:
    body = {"model": "translated", **ASKED[endpoint], "stream": True}
    whole, first = asyncio.run(_asked(accented, endpoint, body, [None]))[0]
    found = asyncio.run(_asked(accented, endpoint, body, _places(whole, step)))
    kept = {each.id: _words(each.answer) for each in accented.kept()}
    assert len(kept[first]) > 5
    assert all(kept[id] == kept[first] for _, id in found)


def test_a_stream_of_single_bytes_is_the_same_stream(accented: House, upstream: RunningUpstream) -> None:
    body = {"model": "gpt-4o-mini", **ASKED[CHAT], "stream": True}
    whole, _ = asyncio.run(_asked(accented, CHAT, body, [None]))[0]
    upstream.turn(accents=True, tokens=10, split=1)
    assert asyncio.run(_asked(accented, CHAT, body, [None]))[0][0] == whole


def _places(whole: bytes, step: int) -> list[int | None]:
    """Every `step`th byte, and each place inside a letter of several bytes or an event's end."""
    inside = [at for at in range(1, len(whole)) if whole[at] & 0xC0 == 0x80 or whole[at - 1 : at + 1] == b"\n\n"]
    return sorted({*range(1, len(whole), step), *inside})  # type: ignore[arg-type]


async def _asked(
    house: House, endpoint: Endpoint, body: dict[str, Any], places: Sequence[int | None]
) -> list[tuple[bytes, str]]:
    """What came for each place to cut at, and the exchange's id."""
    content, gate = msgspec.json.encode(body), asyncio.Semaphore(AT_ONCE)

    async def one(at: int | None) -> tuple[bytes, str]:
        headers = {} if at is None else {"x-fake-split-at": str(at)}
        async with gate, http.post(f"{house.url}/v1{endpoint.path}", data=content, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.read(), answer.headers["x-freehold-exchange"]

    async with aiohttp.ClientSession() as http:
        return list(await asyncio.gather(*map(one, places)))


def _words(answer: str | None) -> list[str]:
    """Every text in an answer, wherever its dialect puts it, without what is drawn anew each time."""
    found: list[str] = []

    def walk(value: Any, name: str) -> None:  # noqa: ANN401 (any JSON value)
        if isinstance(value, dict):
            for key, each in value.items():
                walk(each, key)
        elif isinstance(value, list):
            for each in value:
                walk(each, name)
        elif isinstance(value, str) and name == "text":
            found.extend(value.split(" "))

    walk(msgspec.json.decode(answer or "null"), "")
    return found
