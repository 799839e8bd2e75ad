"""Other people's clients, unchanged: Anthropic's, LangChain's, Simon Willison's `llm`; images and audio."""

import io
from typing import Any

import anthropic
import llm
import openai
import pytest
from gateway_house import House, RunningUpstream
from langchain_openai import ChatOpenAI
from llm.default_plugins.openai_models import Chat

from freehold.store.deployments import Deployment, RemoteTarget, deploy


def test_anthropics_client(passing: House, upstream: RunningUpstream) -> None:
    client = anthropic.Anthropic(base_url=passing.url, api_key="sk-ant-own", max_retries=0)
    ask: Any = {"model": "claude-x", "max_tokens": 20, "messages": [{"role": "user", "content": "hello"}]}
    assert client.messages.create(**ask).content[0].text
    assert upstream.app.secret == "sk-ant-own"
    with client.messages.stream(**ask) as stream:
        assert stream.get_final_text()
    assert [each.endpoint for each in passing.kept()] == ["messages", "messages"]
    assert all(attempt.output_tokens == 12 for attempt in passing.attempts())
    upstream.turn(cuts=1.0, cut_after=4)
    with pytest.raises(anthropic.APIError, match="broke off"), client.messages.stream(**ask) as stream:
        stream.get_final_text()


def test_a_refusal_speaks_anthropics_dialect(gateway: House) -> None:
    client = anthropic.Anthropic(base_url=gateway.url, api_key="k", max_retries=0)
    with pytest.raises(anthropic.NotFoundError, match="did you mean triage") as refused:
        client.messages.create(model="traige", max_tokens=20, messages=[{"role": "user", "content": "x"}])
    assert refused.value.body["type"] == "error"


def test_langchain(passing: House) -> None:
    model = ChatOpenAI(model="gpt-4o-mini", base_url=f"{passing.url}/v1", api_key="k", max_retries=0)
    assert model.invoke("hello").content
    assert "".join(piece.content for piece in model.stream("hello")) == model.invoke("hello").content
    owned = ChatOpenAI(model="triage", base_url=f"{passing.url}/v1", api_key="k", max_retries=0)
    assert owned.invoke("hello").content == "payroll"


def test_llm(passing: House) -> None:
    model = Chat("owned", model_name="triage", api_base=f"{passing.url}/v1")
    model.key = "k"
    assert llm.Model and model.prompt("hello", stream=False).text() == "payroll"
    assert model.prompt("hello", stream=True).text() == "payroll"


def test_images_and_audio_pass_through(passing: House) -> None:
    client = openai.OpenAI(base_url=f"{passing.url}/v1", api_key="k", max_retries=0)
    image = client.images.generate(model="gpt-image-1", prompt="a freezer")
    assert image.data and image.data[0].url
    speech = client.audio.speech.create(model="tts-1", voice="alloy", input="hello")
    assert speech.content.startswith(b"ID3")
    heard = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", io.BytesIO(b"x" * 5000)))
    assert heard.text.startswith("heard")
    assert [(each.endpoint, each.model, each.request) for each in reversed(passing.kept())] == [
        ("images.generations", "gpt-image-1", None),
        ("audio.speech", "tts-1", None),
        ("audio.transcriptions", "whisper-1", None),
    ]


def test_images_need_an_upstream(gateway: House) -> None:
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="k", max_retries=0)
    with pytest.raises(openai.NotFoundError, match="--upstream"):
        client.images.generate(model="m", prompt="x")


def test_metrics_and_readiness(passing: House, upstream: RunningUpstream) -> None:
    client = openai.OpenAI(base_url=f"{passing.url}/v1", api_key="k", max_retries=0)
    ask: Any = [{"role": "user", "content": "a secret sentence"}]
    client.chat.completions.create(model="gpt-4o-mini", messages=ask)
    client.chat.completions.create(model="triage", messages=ask)
    plain = client.with_options(base_url=passing.url)
    text = plain.get("/metrics", cast_to=openai._legacy_response.HttpxBinaryResponseContent).text
    assert 'freehold_requests_total{endpoint="chat.completions",model="triage",status="200"} 1' in text
    assert 'freehold_requests_total{endpoint="chat.completions",model="upstream",status="200"} 1' in text
    assert 'freehold_tokens_total{model="upstream",direction="output"} 12' in text
    assert "freehold_request_seconds_count 2" in text
    assert "secret" not in text
    ready: Any = plain.get("/readyz", cast_to=object)
    assert ready == {"status": "ready"}


def test_a_deployed_name_goes_to_its_own_upstream_in_its_own_dialect(house: House, upstream: RunningUpstream) -> None:
    deploy(house.store, Deployment(name="claude", target=RemoteTarget(base_url=upstream.url, model="claude-x")), "t")
    with house.open():
        client = anthropic.Anthropic(base_url=house.url, api_key="k", max_retries=0)
        client.messages.create(model="claude", max_tokens=9, messages=[{"role": "user", "content": "hello"}])
    assert upstream.app.last["model"] == "claude-x"
