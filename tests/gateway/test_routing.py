"""Deployments with several targets: fallbacks unseen, canaries sticky, shadows beside, breakers that rest."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from gateway_house import House, RunningUpstream, free_port
from msgspec.structs import replace

from freehold.gateway.breaker import FAILURES, REST_S, Breaker
from freehold.gateway.routes import chosen
from freehold.store.deployments import BaseTarget, ClassifierTarget, Deployment, RemoteTarget, Share, current, deploy

ASK: Any = [{"role": "user", "content": "my pay is short"}]
PLAIN = ClassifierTarget(digest="c" * 64, folder="models/plain")


@pytest.fixture
def second() -> Iterator[RunningUpstream]:
    with RunningUpstream().open() as running:
        yield running


def client_of(house: House) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{house.url}/v1", api_key="k", max_retries=0, timeout=20)


def remote(upstream: RunningUpstream, model: str = "gpt-4o-mini") -> RemoteTarget:
    return RemoteTarget(base_url=upstream.url, model=model)


@pytest.mark.parametrize(
    ("dials", "outcome", "attempts"),
    [
        ({"errors": 1.0}, "server", 2),
        ({"errors": 1.0, "status": 401}, "bad_key", 1),
        ({"rate_limit": 0}, "rate_limit", 2),
        ({"html": True}, "server", 2),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_failing_target_falls_back_unseen(
    house: House, upstream: RunningUpstream, dials: dict[str, float], outcome: str, attempts: int, stream: bool
) -> None:
    upstream.turn(**dials)
    deploy(house.store, Deployment(name="pair", target=remote(upstream), fallbacks=(PLAIN,)), "test")
    with house.open():
        reply = client_of(house).chat.completions.create(model="pair", messages=ASK, stream=stream)
        if stream:
            assert "".join(piece.choices[0].delta.content or "" for piece in reply) == "my"
        else:
            assert reply.choices[0].message.content == "my"
    rows = house.attempts()
    assert [row.outcome for row in rows] == [outcome] * attempts + ["ok"]
    assert len(house.kept()) == 1, "retries and fallbacks are attempts of one exchange"
    assert house.kept()[0].answered_by.startswith("pair: classifier")


def test_a_bad_request_is_not_tried_elsewhere(house: House, upstream: RunningUpstream) -> None:
    upstream.turn(errors=1.0, status=400)
    deploy(house.store, Deployment(name="pair", target=remote(upstream), fallbacks=(PLAIN,)), "test")
    with house.open(), pytest.raises(openai.BadRequestError, match="the dial says so"):
        client_of(house).chat.completions.create(model="pair", messages=ASK)
    assert [row.outcome for row in house.attempts()] == ["request"]


def test_a_failure_after_the_first_piece_does_not_fall_back(house: House, upstream: RunningUpstream) -> None:
    upstream.turn(cuts=1.0, cut_after=3)
    deploy(house.store, Deployment(name="pair", target=remote(upstream), fallbacks=(PLAIN,)), "test")
    with house.open(), pytest.raises(openai.APIError, match="broke off"):
        list(client_of(house).chat.completions.create(model="pair", messages=ASK, stream=True))


def test_a_deployments_model_has_its_own_name_upstream(house: House, upstream: RunningUpstream) -> None:
    deploy(house.store, Deployment(name="ours", target=remote(upstream, "gpt-4o")), "test")
    with house.open():
        client_of(house).chat.completions.create(model="ours", messages=ASK, extra_body={"of_tomorrow": 1})
    assert upstream.app.last["model"] == "gpt-4o"
    assert upstream.app.last["of_tomorrow"] == 1
    (row,) = house.attempts()
    assert (row.model, row.currency) == ("gpt-4o", "USD")


def test_a_missing_upstream_key_is_named(house: House, upstream: RunningUpstream) -> None:
    target = RemoteTarget(base_url=upstream.url, model="m", api_key="${NOT_SET_ANYWHERE}")
    deploy(house.store, Deployment(name="ours", target=target), "test")
    with house.open(), pytest.raises(openai.InternalServerError, match="NOT_SET_ANYWHERE"):
        client_of(house).chat.completions.create(model="ours", messages=ASK)


def test_a_breaker_leaves_a_dead_target_alone(house: House, upstream: RunningUpstream) -> None:
    dead = RemoteTarget(base_url=f"http://127.0.0.1:{free_port()}/v1", model="m")
    deploy(house.store, Deployment(name="pair", target=dead, fallbacks=(remote(upstream),)), "test")
    deploy(house.store, Deployment(name="alone", target=dead), "test")
    with house.open():
        for _ in range(4):
            client_of(house).chat.completions.create(model="pair", messages=ASK)
        with pytest.raises(openai.InternalServerError, match="left alone") as refused:
            client_of(house).chat.completions.create(model="alone", messages=ASK)
    assert int(refused.value.response.headers["retry-after"]) >= 1
    outcomes = Counter(row.outcome for row in house.attempts())
    assert outcomes == {"server": FAILURES + 1, "ok": 4}


def test_a_breaker_opens_rests_and_probes_with_one_request() -> None:
    now = 0.0
    breaker = Breaker(lambda: now)
    for _ in range(FAILURES):
        assert not breaker.is_open
        breaker.begin()
        breaker.failed()
    assert breaker.is_open
    now += REST_S
    assert not breaker.is_open
    breaker.begin()
    assert breaker.is_open, "while one request probes, no other goes"
    breaker.failed()
    assert breaker.is_open
    now += REST_S
    breaker.begin()
    breaker.left()
    assert not breaker.is_open, "a caller that went away proves nothing: the next one probes"
    breaker.begin()
    assert breaker.is_open
    breaker.succeeded()
    assert not breaker.is_open


def test_a_canary_is_sticky_and_of_its_size() -> None:
    deployment = Deployment(name="d", target=BaseTarget(base="b"), shares=(Share(target=PLAIN, share=0.1),))
    sessions = [f"session-{at}" for at in range(4000)]
    canaries = [chosen(deployment, session) is PLAIN or chosen(deployment, session) == PLAIN for session in sessions]
    assert 0.08 < sum(canaries) / len(canaries) < 0.12
    assert canaries == [chosen(deployment, session) == PLAIN for session in sessions]
    wider = replace(deployment, shares=(Share(target=PLAIN, share=0.3),))
    moved_back = [s for s, was in zip(sessions, canaries, strict=True) if was and chosen(wider, s) != PLAIN]
    assert not moved_back, "a growing canary keeps the sessions it has"


def test_shares_change_while_the_gateway_runs(house: House) -> None:
    with house.open():
        client = client_of(house)
        assert client.chat.completions.create(model="triage", messages=ASK).choices[0].message.content == "payroll"
        changed = replace(current(house.store, "triage"), shares=(Share(target=PLAIN, share=1.0),))
        deploy(house.store, changed, "all of it")
        end = time.monotonic() + 5
        while time.monotonic() < end:
            reply = client.chat.completions.create(model="triage", messages=ASK)
            if reply.choices[0].message.content == "my":
                break
            time.sleep(0.05)
        assert reply.choices[0].message.content == "my"


def test_a_shadow_is_stored_as_a_pair_and_delays_nobody(
    house: House, upstream: RunningUpstream, second: RunningUpstream
) -> None:
    second.turn(latency_ms=600)
    shadow = Share(target=remote(second, "gpt-4o"), share=1.0)
    deploy(house.store, Deployment(name="pair", target=remote(upstream), shadow=shadow), "test")
    with house.open():
        client = client_of(house)
        begun = time.monotonic()
        list(client.chat.completions.create(model="pair", messages=ASK, stream=True))
        waited = time.monotonic() - begun
        assert len(house.kept()) == 1
        end = time.monotonic() + 5
        while len(house.kept()) < 2 and time.monotonic() < end:
            time.sleep(0.05)
    beside, asked = house.kept()
    assert waited < 0.6, "the answer came before the shadow could have"
    assert (beside.shadow_of, asked.shadow_of) == (asked.id, None)
    assert second.app.last["messages"] == ASK
    assert "stream" not in second.app.last


def test_a_shadow_that_fails_troubles_nobody(house: House, upstream: RunningUpstream) -> None:
    dead = Share(target=RemoteTarget(base_url=f"http://127.0.0.1:{free_port()}/v1", model="m"), share=1.0)
    deploy(house.store, Deployment(name="pair", target=remote(upstream), shadow=dead), "test")
    with house.open():
        assert client_of(house).chat.completions.create(model="pair", messages=ASK).choices[0].message.content
        end = time.monotonic() + 5
        while len(house.kept()) < 2 and time.monotonic() < end:
            time.sleep(0.05)
    assert {exchange.status for exchange in house.kept()} == {200, 502}
