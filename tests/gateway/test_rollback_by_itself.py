"""A running gateway sends a failing canary back without anybody's help, and no client sees a failure."""

import json
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from gateway_house import House, RunningUpstream

from freehold.gateway import rollback
from freehold.store.deployments import ClassifierTarget, Deployment, RemoteTarget, Share, current, deploy

ASK: Any = [{"role": "user", "content": "my pay is short"}]
PLAIN = ClassifierTarget(digest="c" * 64, folder="models/plain")


def test_a_failing_canary_goes_back_by_itself(
    house: House,
    upstream: RunningUpstream,
    monkeypatch: pytest.MonkeyPatch,
    freehold: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(rollback, "WATCH_EVERY_S", 0.1)
    upstream.turn(errors=1.0)
    canary = Share(target=RemoteTarget(base_url=upstream.url, model="gpt-4o-mini"), share=1.0)
    deploy(house.store, Deployment(name="pair", target=PLAIN, shares=(canary,)), "canary")
    with house.open():
        client = openai.OpenAI(base_url=f"{house.url}/v1", api_key="k", max_retries=0, timeout=20)
        end = time.monotonic() + 30
        while current(house.store, "pair").shares and time.monotonic() < end:
            reply = client.chat.completions.create(model="pair", messages=ASK)
            assert reply.choices[0].message.content == "my"
            time.sleep(0.1)
    assert current(house.store, "pair").shares == ()
    assert len(list((house.workspace.root / "review").glob("pair-*.json"))) == 1
    monkeypatch.setenv("FREEHOLD_HOME", str(house.workspace.root))
    capsys.readouterr()
    assert freehold("deploy", "review", "pair", "--json") == 0
    queue = json.loads(capsys.readouterr().out)
    assert queue["exchanges"]
    assert freehold("deploy", "review", "other") == 2
