"""Owned models through the real `openai` client, unchanged: sync, async, streamed."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from gateway_house import TEMPLATE, FirstWord, House, TalkingEngine, make_adapter

from freehold.engines.engine import Labels
from freehold.errors import ModelFileError
from freehold.gateway.roster import needs_of
from freehold.render import Prompt, Renderer
from freehold.store.deployments import AdapterTarget, BaseTarget, ClassifierTarget, Deployment, deploy

ASK: Any = [{"role": "user", "content": "my pay is short"}]


@pytest.fixture
def client_settings() -> dict[str, Any]:
    return {"api_key": "any", "max_retries": 0, "timeout": 20}


@pytest.fixture
def client(gateway: House) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0, timeout=20)


def test_a_label_task_answers(gateway: House, client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="triage", messages=ASK)
    assert reply.choices[0].message.content == "payroll"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage and reply.usage.completion_tokens == 2
    assert reply.system_fingerprint and reply.system_fingerprint.startswith("fh-")


def test_an_answer_says_which_owned_model_gave_it(client: openai.OpenAI) -> None:
    reply = client.chat.completions.with_raw_response.create(model="triage", messages=ASK)
    assert reply.headers["x-freehold-answered-by"] == "triage: base tiny"


def test_the_child_sees_what_the_renderer_makes(gateway: House, client: openai.OpenAI) -> None:
    client.chat.completions.create(model="triage", messages=ASK)
    sent = gateway.engines[0].requests[0]
    renderer = Renderer(gateway.workspace.models / "tiny")
    text = "<|system|>Sort it.<|end|><|user|>my pay is short<|end|><|assistant|>"
    assert sent.prompt == renderer.encode(text)
    assert sent.sampling.constraint == Labels(labels=("payroll", "safety"))
    assert sent.sampling.max_tokens == 16


def test_streaming(client: openai.OpenAI) -> None:
    pieces = list(client.chat.completions.create(model="triage", messages=ASK, stream=True))
    assert "".join(p.choices[0].delta.content or "" for p in pieces) == "payroll"
    assert [p.choices[0].finish_reason for p in pieces][-1] == "stop"
    assert all(p.usage is None for p in pieces)


def test_streamed_usage_comes_when_asked_for(client: openai.OpenAI) -> None:
    options: Any = {"include_usage": True}
    *_, last = client.chat.completions.create(model="triage", messages=ASK, stream=True, stream_options=options)
    assert last.choices == []
    assert last.usage and last.usage.completion_tokens == 2


def test_async_client(gateway: House) -> None:
    async def ask() -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client:
            calls = [client.chat.completions.create(model="triage", messages=ASK) for _ in range(8)]
            return [reply.choices[0].message.content for reply in await asyncio.gather(*calls)]

    assert asyncio.run(ask()) == ["payroll"] * 8


def test_a_classifier_answers_too(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="plain", messages=ASK)
    assert reply.choices[0].message.content == FirstWord().answer("my pay is short")[0]
    streamed = client.chat.completions.create(model="plain", messages=ASK, stream=True)
    assert "".join(p.choices[0].delta.content or "" for p in streamed) == "my"


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["plain", "triage"]
    assert client.models.retrieve("triage").id == "triage"
    with pytest.raises(openai.NotFoundError, match="did you mean triage"):
        client.models.retrieve("traige")


def test_a_broken_stream_never_looks_finished(gateway: House, client: openai.OpenAI) -> None:
    gateway.engines[0].break_after = 1
    seen = []
    with pytest.raises(openai.APIError, match="broke off"):
        for piece in client.chat.completions.create(model="triage", messages=ASK, stream=True):
            seen.append(piece)
    assert not any(piece.choices[0].finish_reason for piece in seen)


def test_a_new_deployment_is_followed_without_a_restart(gateway: House, client: openai.OpenAI) -> None:
    deploy(gateway.store, Deployment(name="later", target=BaseTarget(base="tiny")), "a new day")
    assert _eventually(lambda: client.chat.completions.create(model="later", messages=ASK)) == "payroll"
    assert len(gateway.engines) == 1, "a base that runs already is not started twice"


def test_a_deployment_that_cannot_be_served_says_why(gateway: House, client: openai.OpenAI) -> None:
    deploy(gateway.store, Deployment(name="lost", target=BaseTarget(base="absent")), "mistake")
    time.sleep(1.5)
    with pytest.raises(openai.NotFoundError, match="freehold pull absent"):
        client.chat.completions.create(model="lost", messages=ASK)
    assert client.chat.completions.create(model="triage", messages=ASK).choices[0].message.content == "payroll"


@pytest.mark.parametrize(
    ("digest", "base", "template", "words"),
    [
        ("a" * 64, "other", TEMPLATE.digest, "tuned on another tiny"),
        ("c" * 64, "tiny", "0" * 64, "another chat template"),
    ],
)
def test_an_adapter_of_another_base_or_template_is_refused(
    house: House, digest: str, base: str, template: str, words: str
) -> None:
    make_adapter(house.workspace, digest, base, template)
    target = AdapterTarget(base="tiny", adapter=digest, prompt=Prompt(system="Sort it."))
    deploy(house.store, Deployment(name="tuned", target=target), "test")
    with house.open(), pytest.raises(openai.BadRequestError, match=words):
        openai.OpenAI(base_url=f"{house.url}/v1", api_key="any").chat.completions.create(model="tuned", messages=ASK)


def test_an_adapter_answers_under_its_own_name(house: House) -> None:
    make_adapter(house.workspace, "a" * 64)
    target = AdapterTarget(base="tiny", adapter="a" * 64, prompt=Prompt(system="Sort it."))
    deploy(house.store, Deployment(name="tuned", target=target), "test")
    with house.open():
        reply = openai.OpenAI(base_url=f"{house.url}/v1", api_key="any").chat.completions.create(
            model="tuned", messages=ASK
        )
    assert house.engines[0].adapters == ("a" * 64,)
    assert house.engines[0].requests[0].adapter == "a" * 64
    assert reply.system_fingerprint == f"fh-{'a' * 12}"


def test_an_engine_that_cannot_start_leaves_the_others_serving(
    house: House, client_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: TalkingEngine) -> None:
        raise ModelFileError("the weights are truncated; pull again")

    monkeypatch.setattr(TalkingEngine, "start", refuse)
    with house.open():
        client = openai.OpenAI(base_url=f"{house.url}/v1", **client_settings)
        assert client.chat.completions.create(model="plain", messages=ASK).choices[0].message.content == "my"
        with pytest.raises(openai.BadRequestError, match="truncated"):
            client.chat.completions.create(model="triage", messages=ASK)


def test_children_hold_every_adapter_of_their_base() -> None:
    prompt = Prompt(system="s")
    targets = [
        AdapterTarget(base="one", adapter="b", prompt=prompt),
        AdapterTarget(base="one", adapter="a", prompt=prompt),
        BaseTarget(base="two"),
        ClassifierTarget(digest="c", folder="f"),
    ]
    assert needs_of(targets) == {"one": ("a", "b"), "two": ()}


def _eventually(ask: Callable[[], Any], seconds: float = 10) -> str | None:
    end = time.monotonic() + seconds
    while True:
        try:
            return ask().choices[0].message.content
        except openai.APIStatusError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
