"""The response cache: exact, in memory, off by default; whose answer it is, what it costs, and when it is gone."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2 as httpx
import openai
import pytest
from gateway_house import House, RunningUpstream
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from freehold.gateway.cache import Cache, Kept
from freehold.store.deployments import Deployment, RemoteTarget, deploy
from freehold.store.guardrails import CacheRule, Guardrail
from freehold.store.keys import Allowance, create

Ask = Callable[..., httpx.Response]


@pytest.fixture
def shop(upstream: RunningUpstream) -> Deployment:
    target = RemoteTarget(base_url=upstream.url, model="gpt-4o-mini")
    return Deployment(name="shop", target=target, cache=CacheRule())


@pytest.fixture
def cached(house: House, shop: Deployment) -> Iterator[House]:
    deploy(house.store, shop, "test")
    with house.open():
        yield house


@pytest.fixture
def ask(cached: House) -> Ask:
    def call(text: str = "hello", headers: dict[str, str] | None = None, **more: object) -> httpx.Response:
        body = {"model": "shop", "temperature": 0, "messages": [{"role": "user", "content": text}], **more}
        return httpx.post(f"{cached.url}/v1/chat/completions", json=body, headers=headers, timeout=30)

    return call


def _how(answer: httpx.Response) -> str:
    return answer.headers["x-freehold-cache"]


def test_an_equal_request_is_answered_from_memory_and_costs_nothing(
    cached: House, ask: Ask, upstream: RunningUpstream
) -> None:
    first, second = ask(), ask()
    assert (_how(first), _how(second)) == ("miss", "hit") and upstream.app.seen == 1
    assert first.content == second.content and second.headers["content-type"] == "application/json"
    assert first.headers["x-freehold-exchange"] != second.headers["x-freehold-exchange"]
    hit, miss = cached.kept()
    assert (hit.answered_by, hit.answer, hit.request) == (miss.answered_by, miss.answer, miss.request)
    paid, free = cached.attempts()
    assert paid.cost and (free.cost, free.currency, free.outcome, free.target) == (0, paid.currency, "cache", "cache")
    assert ask("other").headers["x-freehold-cache"] == "miss"
    assert 'freehold_cache_requests_total{model="shop",result="hit"} 1' in httpx.get(f"{cached.url}/metrics").text


def test_the_order_of_fields_does_not_matter_and_every_value_does(cached: House, ask: Ask) -> None:
    ask(max_tokens=20, seed=1)
    url = f"{cached.url}/v1/chat/completions"
    same = (
        b'{"seed": 1, "messages": [{"role":"user","content":"hello"}],"max_tokens":20,"temperature":0,"model":"shop"}'
    )
    assert _how(httpx.post(url, content=same)) == "hit"
    assert _how(ask(max_tokens=21, seed=1)) == "miss"
    assert _how(ask(max_tokens=20, seed=1, user="jo")) == "miss"


def test_a_cached_stream_streams(cached: House, upstream: RunningUpstream) -> None:
    client = openai.OpenAI(base_url=f"{cached.url}/v1", api_key="sk-x", max_retries=0)
    chat: dict[str, Any] = {"model": "shop", "temperature": 0, "messages": [{"role": "user", "content": "hello"}]}
    streams = [
        [each.model_dump_json() for each in client.chat.completions.create(**chat, stream=True)] for _ in range(2)
    ]
    assert streams[0] == streams[1] and len(streams[0]) > 5 and upstream.app.seen == 1
    hit = cached.kept()[0]
    assert hit.stream and hit.finished and hit.answer == cached.kept()[1].answer


def test_a_stream_that_broke_off_is_never_kept(ask: Ask, upstream: RunningUpstream) -> None:
    upstream.turn(cuts=1.0)
    assert '"error"' in ask(stream=True).text
    upstream.turn()
    whole = ask(stream=True)
    assert _how(whole) == "miss" and whole.text.endswith("data: [DONE]\n\n")


def test_a_failure_is_never_kept(ask: Ask, upstream: RunningUpstream) -> None:
    upstream.turn(errors=1.0, status=400)
    assert ask().status_code == 400
    upstream.turn()
    assert (ask().status_code, _how(ask())) == (200, "hit")


def test_no_key_sees_anothers_answers_unless_shared(cached: House, ask: Ask, shop: Deployment) -> None:
    keys = [create(cached.store, name, Allowance())[1] for name in ("one", "two")]
    time.sleep(1.5)  # by then the keys are known
    callers = [{"authorization": f"Bearer {each}"} for each in (*keys, "sk-own-1", "sk-own-2")]
    assert [_how(ask(headers=each)) for each in callers] == ["miss"] * 4
    assert [_how(ask(headers=each)) for each in callers] == ["hit"] * 4
    cached.deploy(replace(shop, cache=CacheRule(shared=True)))
    assert [_how(ask(headers=each)) for each in callers] == ["miss", "hit", "hit", "hit"]


def test_what_is_drawn_by_chance_is_kept_only_where_that_is_said(cached: House, ask: Ask, shop: Deployment) -> None:
    for more in ({"temperature": 1}, {"temperature": None}):
        assert [_how(ask(**more)) for _ in range(2)] == ["miss", "miss"]
    assert [_how(ask(temperature=1, seed=7)) for _ in range(2)] == ["miss", "hit"]
    cached.deploy(replace(shop, cache=CacheRule(sampled=True)))
    assert [_how(ask(temperature=1)) for _ in range(2)] == ["miss", "hit"]


def test_a_changed_deployment_begins_anew(cached: House, ask: Ask, shop: Deployment) -> None:
    ask()
    cached.deploy(replace(shop, max_tokens=7))
    assert _how(ask()) == "miss"
    cached.deploy(Deployment(name="other", target=shop.target))
    assert _how(ask()) == "hit"  # another's change is no change of this one
    cached.deploy(replace(shop, cache=None))
    assert "x-freehold-cache" not in ask().headers


def test_who_opts_out_of_capture_is_not_remembered(ask: Ask) -> None:
    assert [_how(ask(headers={"x-freehold-capture": "off"})) for _ in range(2)] == ["miss", "miss"]


def test_personal_values_are_not_kept_in_memory(cached: House, upstream: RunningUpstream) -> None:
    tools = [{"type": "function", "function": {"name": "call +4915112345678"}}]
    body = {"model": "shop", "temperature": 0, "messages": [{"role": "user", "content": "x"}], "tools": tools}
    url = f"{cached.url}/v1/chat/completions"
    answers = [httpx.post(url, json=body) for _ in range(2)]
    assert "+4915112345678" in answers[0].text and [_how(each) for each in answers] == ["miss", "miss"]


def test_guardrails_apply_to_a_hit(cached: House, ask: Ask, shop: Deployment, upstream: RunningUpstream) -> None:
    rules = (
        Guardrail(name="deny", when="before", check="deny", settings={"words": "bomb"}),
        Guardrail(name="seen", when="after", check="length", settings={"most": "3"}, action="flag"),
    )
    cached.deploy(replace(shop, guardrails=rules))
    assert [_how(ask(stream=stream)) for stream in (False, False, True, True)] == ["miss", "hit", "miss", "hit"]
    assert all('"outcome":"flag"' in (each.guardrails or "") for each in cached.kept())
    assert ask("bomb").status_code == 400 and upstream.app.seen == 2


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 900)), max_size=60))
def test_the_cache_never_holds_more_than_it_may(puts: list[tuple[int, int]]) -> None:
    cache = Cache(CacheRule(max_bytes=3000))
    for name, size in puts:
        cache.put(bytes([name]), Kept(bytes(size), (), "it", None))
        assert cache.size <= 3000
    held = [each for name in range(10) if (each := cache.get(bytes([name])))]
    assert cache.size == sum(each.size for each in held)


def test_an_old_answer_is_gone() -> None:
    now = [0.0]
    cache = Cache(CacheRule(max_age_s=10), lambda: now[0])
    cache.put(b"k", Kept(b"x", (), "it", None))
    now[0] = 10.0
    assert cache.get(b"k")
    now[0] = 10.1
    assert cache.get(b"k") is None and cache.size == 0
