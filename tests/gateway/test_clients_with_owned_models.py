"""Other people's clients against an owned model that knows tools, and an owned embedder: whole, streamed, async."""

import asyncio
import os
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import msgspec
import openai
import pytest
from gateway_house import TOOL_TEMPLATE, House, RunningUpstream, make_base
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from freehold.engines.fake_embedder import FakeEmbedder
from freehold.gateway.backends import Backends
from freehold.render import Renderer
from freehold.store.deployments import BaseTarget, Deployment, EmbedderTarget, RemoteTarget, deploy

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network for prices when it is imported

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Graz"}}\n</tool_call>'
SCHEMA: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ASK: Any = [{"role": "user", "content": "What is the weather in Graz?"}]


@tool
def weather(city: str) -> str:
    """Looks outside."""
    return f"sun in {city}"


@pytest.fixture
def owned(house: House, upstream: RunningUpstream) -> Iterator[House]:
    """Beside the label task: `agent`, whose template knows tools; `near`, an embedder; `far`, a remote chat model."""
    make_base(house.workspace, "tooled", TOOL_TEMPLATE)
    targets = {
        "agent": BaseTarget(base="tooled"),
        "near": EmbedderTarget(base="words"),
        "far": RemoteTarget(base_url=upstream.url, model="theirs", speaks="chat"),
    }
    for name, target in targets.items():
        deploy(house.store, Deployment(name=name, target=target), "test")
    house.backends = Backends(house.backends.engine_for, house.backends.load_classifier, lambda _: FakeEmbedder())
    with house.open():
        next(engine for engine in house.engines if engine.base == "tooled").words = ("Let me look.\n", CALL)
        yield house


def seen(house: House) -> str:
    """What the model that knows tools was last shown."""
    engine = next(engine for engine in house.engines if engine.base == "tooled")
    return Renderer(house.workspace.models / "tooled").decode(engine.requests[-1].prompt)


def test_anthropics_tools(owned: House) -> None:
    client = anthropic.Anthropic(base_url=owned.url, api_key="k", max_retries=0)
    tools: Any = [{"name": "weather", "description": "Looks outside.", "input_schema": SCHEMA}]
    ask: Any = {"model": "agent", "max_tokens": 50, "messages": ASK, "tools": tools}
    whole = client.messages.create(**ask)
    with client.messages.stream(**ask) as stream:
        streamed = stream.get_final_message()
    for message in (whole, streamed):
        text, call = message.content
        assert message.stop_reason == "tool_use"
        assert text.type == "text" and text.text == "Let me look."
        assert call.type == "tool_use" and (call.name, call.input) == ("weather", {"city": "Graz"})
    result = {"type": "tool_result", "tool_use_id": whole.content[1].id, "content": [{"type": "text", "text": "sun"}]}  # type: ignore[union-attr]
    ask["messages"] = [*ASK, {"role": "assistant", "content": whole.content}, {"role": "user", "content": [result]}]
    client.messages.create(**ask)
    assert "Looks outside." in seen(owned) and "sun" in seen(owned)

    async def later() -> str:
        async with anthropic.AsyncAnthropic(base_url=owned.url, api_key="k", max_retries=0) as asking:
            reply = await asking.messages.create(model="triage", max_tokens=5, messages=ASK)
            return str(reply.content[0].text)  # type: ignore[union-attr]

    assert asyncio.run(later()) == "payroll"


def test_openais_responses_with_tools(owned: House) -> None:
    client = openai.OpenAI(base_url=f"{owned.url}/v1", api_key="k", max_retries=0)
    tools: Any = [{"type": "function", "name": "weather", "description": "Looks outside.", "parameters": SCHEMA}]
    items: list[Any] = [*ASK]
    whole = client.responses.create(model="agent", input=items, tools=tools)
    with client.responses.stream(model="agent", input=items, tools=tools) as stream:
        streamed = stream.get_final_response()
    for response in (whole, streamed):
        message, call = response.output
        assert message.type == "message" and response.output_text == "Let me look."
        assert call.type == "function_call" and (call.name, call.arguments) == ("weather", '{"city":"Graz"}')
    items += [each.model_dump() for each in whole.output]
    items.append({"type": "function_call_output", "call_id": whole.output[1].call_id, "output": "sun"})  # type: ignore[union-attr]
    client.responses.create(model="agent", input=items, tools=tools)
    assert '{"name": "weather", "arguments": {"city": "Graz"}}' in seen(owned) and "sun" in seen(owned)

    async def later() -> str:
        async with openai.AsyncOpenAI(base_url=f"{owned.url}/v1", api_key="k", max_retries=0) as asking:
            events = await asking.responses.create(model="triage", input="my pay", stream=True)
            return "".join([event.delta async for event in events if event.type == "response.output_text.delta"])

    assert asyncio.run(later()) == "payroll"


def test_openais_embeddings(owned: House) -> None:
    client = openai.OpenAI(base_url=f"{owned.url}/v1", api_key="k", max_retries=0)
    one, two, again = (each.embedding for each in client.embeddings.create(model="near", input=["a", "b", "a"]).data)
    assert one == again != two


def test_langchain(owned: House) -> None:
    settings: Any = {"base_url": f"{owned.url}/v1", "api_key": "k", "max_retries": 0}
    for more in ({}, {"use_responses_api": True}):
        agent = ChatOpenAI(model="agent", **settings, **more).bind_tools([weather])
        [call] = agent.invoke("go").tool_calls
        assert (call["name"], call["args"]) == ("weather", {"city": "Graz"})
        whole: Any = None
        for piece in agent.stream("go"):
            whole = piece if whole is None else whole + piece
        assert whole.tool_calls[0]["args"] == {"city": "Graz"}
        plain = ChatOpenAI(model="triage", **settings, **more)
        assert "".join(piece.text for piece in plain.stream("my pay")) == "payroll"
    assert asyncio.run(ChatOpenAI(model="triage", **settings).ainvoke("my pay")).text == "payroll"
    vectors = OpenAIEmbeddings(model="near", check_embedding_ctx_length=False, **settings)
    assert vectors.embed_query("a") == vectors.embed_documents(["b", "a"])[1]


def test_litellm(owned: House) -> None:
    import litellm

    settings: Any = {"api_base": f"{owned.url}/v1", "api_key": "k", "num_retries": 0}
    reply = litellm.completion(model="openai/triage", messages=ASK, **settings)
    assert reply.choices[0].message.content == "payroll" and reply.usage.completion_tokens == 2
    pieces = litellm.completion(model="openai/triage", messages=ASK, stream=True, **settings)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == "payroll"
    functions = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
    called = litellm.completion(model="openai/agent", messages=ASK, tools=functions, **settings)
    assert called.choices[0].message.tool_calls[0].function.arguments == '{"city":"Graz"}'
    assert asyncio.run(litellm.acompletion(model="openai/far", messages=ASK, **settings)).choices[0].message.content
    claude: Any = {"model": "anthropic/triage", "api_base": owned.url, "api_key": "k", "max_tokens": 9}
    assert litellm.completion(messages=ASK, **claude).choices[0].message.content == "payroll"
    assert len(litellm.embedding(model="openai/near", input=["a", "b"], **settings).data) == 2
    with pytest.raises(litellm.NotFoundError, match="did you mean triage"):
        litellm.completion(model="openai/traige", messages=ASK, **settings)


def test_litellm_sends_batches(owned: House) -> None:
    import litellm

    settings: Any = {"api_base": f"{owned.url}/v1", "api_key": "k", "custom_llm_provider": "openai"}
    body = {"model": "triage", "messages": ASK}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    file = litellm.create_file(file=("in.jsonl", msgspec.json.encode(line)), purpose="batch", **settings)
    asked: Any = {"completion_window": "24h", "endpoint": "/v1/chat/completions", "input_file_id": file.id}
    batch = litellm.create_batch(**asked, **settings)
    end = time.monotonic() + 20
    while batch.status != "completed" and time.monotonic() < end:
        time.sleep(0.05)
        batch = litellm.retrieve_batch(batch_id=batch.id, **settings)
    assert b'"content":"payroll"' in litellm.file_content(file_id=batch.output_file_id, **settings).content
