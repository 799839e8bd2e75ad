"""Freehold's own keys: kept hashed, exchanged for the upstream's, held to their models, rates and budgets."""

import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import openai
import pytest
from gateway_house import House, RunningUpstream
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from freehold.gateway.faults import GatewayError
from freehold.gateway.limits import Allowed, Bucket
from freehold.gateway.prices import PICO, Price, read
from freehold.gateway.tokens import Tokens
from freehold.store.keys import Allowance, Key, create, every, revoke, spent

ASK: Any = [{"role": "user", "content": "my pay is short"}]


def client_of(house: House, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{house.url}/v1", api_key=key, max_retries=0, timeout=20)


def ask(house: House, key: str, model: str = "gpt-4o-mini", **more: int) -> str | None:
    client = client_of(house, key)
    reply = client.chat.completions.create(model=model, messages=ASK, **more)  # type: ignore[call-overload]
    text: str | None = reply.choices[0].message.content
    return text


@pytest.fixture
def opened(house: House, upstream: RunningUpstream, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("UPSTREAM_KEY", "sk-the-companys")
    house.settings = replace(house.settings, upstream=upstream.url, upstream_key="${UPSTREAM_KEY}")
    return house


def test_our_key_is_exchanged_for_the_upstreams_and_never_stored(opened: House, upstream: RunningUpstream) -> None:
    key, secret = create(opened.store, "app", Allowance())
    with opened.open():
        assert ask(opened, secret)
    assert upstream.app.secret == "Bearer sk-the-companys"
    assert opened.kept()[0].key == key.id
    for path in opened.workspace.root.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes()
        assert not path.is_file() or b"sk-the-companys" not in path.read_bytes()


def test_an_unknown_a_revoked_and_an_expired_key_are_refused(opened: House) -> None:
    _, revoked = create(opened.store, "gone", Allowance())
    revoke(opened.store, "gone")
    _, expired = create(opened.store, "old", Allowance(expires_at=1))
    with opened.open():
        for key, words in ((revoked, "revoked"), (expired, "expired"), ("fh_nothing", "not known")):
            with pytest.raises(openai.AuthenticationError, match=words):
                ask(opened, key)


def test_a_key_revoked_while_the_gateway_runs_ends_within_seconds(opened: House) -> None:
    _, secret = create(opened.store, "app", Allowance())
    with opened.open():
        assert ask(opened, secret)
        revoke(opened.store, "app")
        end = time.monotonic() + 5
        with pytest.raises(openai.AuthenticationError, match="revoked"):
            while time.monotonic() < end:
                ask(opened, secret)
                time.sleep(0.1)


def test_where_keys_are_a_must_another_houses_key_is_refused(opened: House) -> None:
    _, secret = create(opened.store, "app", Allowance())
    opened.settings = replace(opened.settings, require_keys=True)
    with opened.open():
        for path in ("chat", "models"):
            with pytest.raises(openai.AuthenticationError, match="freehold keys create"):
                client = client_of(opened, "sk-other")
                client.models.list() if path == "models" else ask(opened, "sk-other")
        assert ask(opened, secret)


def test_a_key_is_held_to_its_models(opened: House) -> None:
    _, secret = create(opened.store, "app", Allowance(models=("triage",)))
    with opened.open():
        assert ask(opened, secret, "triage") == "payroll"
        with pytest.raises(openai.PermissionDeniedError, match="this key may use triage"):
            ask(opened, secret)


def test_requests_a_minute(opened: House) -> None:
    _, secret = create(opened.store, "app", Allowance(requests_per_minute=2))
    with opened.open():
        ask(opened, secret)
        ask(opened, secret)
        with pytest.raises(openai.RateLimitError, match="requests a minute") as refused:
            ask(opened, secret)
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 31


def test_tokens_a_minute(opened: House) -> None:
    _, secret = create(opened.store, "app", Allowance(tokens_per_minute=120))
    with opened.open():
        ask(opened, secret, max_tokens=40)
        with pytest.raises(openai.RateLimitError, match="tokens a minute"):
            for _ in range(6):
                ask(opened, secret, max_tokens=40)


def test_a_budget_is_never_overrun_by_requests_at_the_same_time(opened: House, upstream: RunningUpstream) -> None:
    upstream.turn(latency_ms=50)
    price = read(opened.workspace.root).of("gpt-4o-mini", time.time_ns() // 1000)
    assert price is not None
    most = price.cost(Tokens(input=60, output=16))
    key, secret = create(opened.store, "app", Allowance(budget=most * 4, period="ever"))
    refused = []

    def one() -> None:
        try:
            ask(opened, secret, max_tokens=16)
        except openai.APIStatusError as error:
            refused.append(error.status_code)

    with opened.open():
        threads = [threading.Thread(target=one) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    opened.kept()
    assert refused and set(refused) == {402}
    assert 0 < spent(opened.store, key.id, "USD", 0) <= most * 4


def test_a_budget_holds_across_a_restart(opened: House) -> None:
    _, secret = create(opened.store, "app", Allowance(budget=60_000_000, period="day"))
    for _ in range(2):
        with opened.open(), pytest.raises(openai.APIStatusError) as refused:
            for _ in range(10):
                ask(opened, secret, max_tokens=16)
        assert refused.value.status_code == 402
        assert int(refused.value.response.headers["retry-after"]) <= 86400
    opened.kept()
    assert spent(opened.store, every(opened.store)[0].id, "USD", 0) <= 60_000_000


def test_a_model_without_a_price_cannot_be_used_on_a_budget(opened: House) -> None:
    _, secret = create(opened.store, "app", Allowance(budget=PICO))
    with opened.open(), pytest.raises(openai.APIStatusError, match="no price is known") as refused:
        ask(opened, secret, "model-of-tomorrow")
    assert refused.value.status_code == 402


def test_a_key_sees_no_other_keys_exchanges(opened: House) -> None:
    _, mine = create(opened.store, "mine", Allowance())
    _, other = create(opened.store, "other", Allowance())
    with opened.open():
        client = client_of(opened, mine)
        reply = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=ASK)
        opened.kept()
        path = f"/exchanges/{reply.headers['x-freehold-exchange']}"
        shown: Any = client.with_options(base_url=f"{opened.url}/freehold/v1").get(path, cast_to=object)
        assert shown["exchange"]["model"] == "gpt-4o-mini"
        with pytest.raises(openai.NotFoundError):
            client_of(opened, other).with_options(base_url=f"{opened.url}/freehold/v1").get(path, cast_to=object)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_fills_evenly() -> None:
    clock = Clock()
    bucket = Bucket(60, clock)
    for _ in range(60):
        assert bucket.wait_s(1) == 0
        bucket.take(1)
    assert bucket.wait_s(1) == pytest.approx(1.0)
    clock.now += 1
    assert bucket.wait_s(1) == pytest.approx(0.0)


@given(st.lists(st.tuples(st.integers(1, 400), st.floats(0, 1)), max_size=40))
def test_reserved_and_spent_together_never_pass_the_budget(costs: list[tuple[int, float]]) -> None:
    key = Key(id="k", name="k", sha256="", allowance=Allowance(budget=1000, period="ever"), created_at=0)
    allowed = Allowed(key, lambda _: 0)
    total, under_way = 0, []
    for most, share in costs:
        try:
            under_way.append((allowed.reserve(1, most, 1), int(most * share)))
        except GatewayError as error:
            assert error.status == 402
        if len(under_way) > 3:
            held, real = under_way.pop(0)
            allowed.settle(held, 1, real)
            total += real
        assert total + sum(held.cost for held, _ in under_way) <= 1000


def test_a_month_ends_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    key = Key(id="k", name="k", sha256="", allowance=Allowance(budget=100, period="month"), created_at=0)
    asked: list[int] = []

    def since(at: int) -> int:
        asked.append(at)
        return 100 if len(asked) == 1 else 0

    allowed = Allowed(key, since)
    december, january = 1_798_000_000_000_000, 1_798_848_000_000_000
    with pytest.raises(GatewayError, match="used up") as refused:
        allowed.reserve(1, 1, december)
    assert refused.value.retry_after_s and refused.value.retry_after_s < 31 * 86400
    allowed.reserve(1, 1, january)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("tokens", "cost"),
    [
        (Tokens(input=1_000_000), 150_000_000_000),
        (Tokens(input=1, output=1), 750_000),
        (Tokens(input=10, cached=10), 750_000),
        (Tokens(output=3, reasoning=3), 1_800_000),
    ],
)
def test_prices_are_exact_integers(house: House, tokens: Tokens, cost: int) -> None:
    price = read(house.workspace.root).of("gpt-4o-mini-2024-07-18", time.time_ns() // 1000)
    assert price is not None
    assert price.cost(tokens) == cost


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.decimals("0", "100", places=6))
def test_a_cost_is_the_price_to_the_last_pico(given_tokens: int, made: int, per_million: Decimal) -> None:
    price = Price(model="m", since="2020-01-01", input=per_million, output=per_million, currency="USD")
    assert price.cost(Tokens(input=given_tokens, output=made)) == (given_tokens + made) * int(per_million * 10**6)


def test_prices_have_dates_and_the_workspaces_own_win(house: House) -> None:
    house.workspace.root.mkdir(exist_ok=True)
    (house.workspace.root / "prices.json").write_text(
        '[{"model":"gpt-4o-mini","since":"2025-01-01","input":"1","output":"2","currency":"EUR"},'
        '{"model":"gpt-4o-mini","since":"2026-01-01","input":"3","output":"4","currency":"EUR"}]'
    )
    prices = read(house.workspace.root)
    day: Callable[[int], int] = lambda year: int((year - 1970) * 365.25 * 86400 * 1e6) + 40 * 86_400_000_000  # noqa: E731
    first, second = prices.of("gpt-4o-mini", day(2025)), prices.of("gpt-4o-mini", day(2026))
    assert first and first.input == 1
    assert second and second.input == 3
    assert prices.of("gpt-4o-mini", day(2024)) is None
    assert prices.of("gpt-4o", day(2026)) is not None
