"""Prices: followed while the gateway runs, and called unverified where nobody has checked them."""

import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from gateway_house import House

from freehold.gateway.prices import PRICES_FILE, read

ASK: Any = [{"role": "user", "content": "hello"}]
MINE = '[{"model": "gpt-4o-mini", "since": "2020-01-01", "input": "1", "output": "1", "currency": "EUR"}]'


def test_a_changed_file_is_followed_and_a_wrong_one_changes_nothing(passing: House) -> None:
    client = openai.OpenAI(base_url=f"{passing.url}/v1", api_key="k", max_retries=0)
    path = passing.workspace.root / PRICES_FILE

    def currency() -> str | None:
        client.chat.completions.create(model="gpt-4o-mini", messages=ASK)
        return passing.attempts()[-1].currency

    assert currency() == "USD"
    path.write_text(MINE)
    end = time.monotonic() + 20
    while currency() != "EUR" and time.monotonic() < end:
        time.sleep(0.2)
    assert currency() == "EUR"
    path.write_text("not prices")
    time.sleep(1.5)
    assert currency() == "EUR"


def test_what_ships_has_a_source_and_a_date_and_is_called_unverified(
    passing: House, freehold: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    price = read(passing.workspace.root).of("gpt-4o-mini", time.time_ns() // 1000)
    assert price is not None and price.source and price.since and not price.verified
    client = openai.OpenAI(base_url=f"{passing.url}/v1", api_key="k", max_retries=0)
    client.chat.completions.create(model="gpt-4o-mini", messages=ASK)
    passing.attempts()
    monkeypatch.setenv("FREEHOLD_HOME", str(passing.workspace.root))
    capsys.readouterr()
    assert freehold("usage") == 0
    assert "unverified: the price of gpt-4o-mini since 2024-07-18" in capsys.readouterr().out
    (passing.workspace.root / PRICES_FILE).write_text(MINE)
    assert freehold("usage") == 0
    assert "unverified" not in capsys.readouterr().out
