"""Owned models, and remote ones that speak only Chat Completions, asked in every other dialect by its own client."""

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from gateway_house import House, RunningUpstream

from freehold.records import AnswerType
from freehold.store.deployments import BaseTarget, Deployment, RemoteTarget, deploy

TOOL: Any = {"name": "weather", "description": "The weather.", "parameters": {"type": "object"}}
ARGUMENTS = '{"city":"Zürich"}'


@pytest.fixture
def client(gateway: House) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="k", max_retries=0, timeout=20)


@pytest.fixture
def claude(gateway: House) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=gateway.url, api_key="k", max_retries=0, timeout=20)


@pytest.fixture
def remote(house: House, upstream: RunningUpstream) -> Iterator[House]:
    """A gateway with a remote model that speaks only Chat Completions."""
    target = RemoteTarget(base_url=upstream.url, model="theirs", speaks="chat")
    deploy(house.store, Deployment(name="far", target=target), "test")
    with house.open():
        yield house


def _words(house: House) -> str:
    return str(openai.OpenAI(base_url=f"{house.url}/v1", api_key="k").chat.completions.create(
        model="far", messages=[{"role": "user", "content": "hello"}]
    ).choices[0].message.content)  # fmt: skip


# -- completions -----------------------------------------------------------------------------------------------------


def test_completions_of_an_owned_model(gateway: House, client: openai.OpenAI) -> None:
    reply = client.completions.create(model="triage", prompt="my pay is short")
    assert (reply.object, reply.choices[0].text, reply.choices[0].finish_reason) == (
        "text_completion",
        "payroll",
        "stop",
    )
    assert reply.usage and reply.usage.completion_tokens == 2
    chat = client.chat.completions.create(model="triage", messages=[{"role": "user", "content": "my pay is short"}])
    asked = gateway.engines[0].requests
    assert asked[0].prompt == asked[1].prompt, "the same ids as in a chat (invariant 2)"
    assert chat.choices[0].message.content == "payroll"
    assert [each.endpoint for each in gateway.kept()] == ["chat.completions", "completions"]


def test_streamed_completions(client: openai.OpenAI) -> None:
    pieces = list(client.completions.create(model="triage", prompt="my pay", stream=True))
    assert [piece.choices[0].text for piece in pieces] == ["pay", "roll", ""]
    assert pieces[-1].choices[0].finish_reason == "stop"
    assert all(piece.usage is None for piece in pieces)
    options: Any = {"include_usage": True}
    *_, last = client.completions.create(model="triage", prompt="my pay", stream=True, stream_options=options)
    assert last.choices == [] and last.usage and last.usage.completion_tokens == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"prompt": ["a", "b"]}, "prompt holds 2 texts"),
        ({"prompt": [1, 2]}, "prompt holds token ids"),
        ({"echo": True, "logprobs": 1}, "cannot score a text"),
        ({"suffix": "x"}, "suffix is given"),
        ({"best_of": 2}, "best_of is 2"),
    ],
)
def test_what_a_chat_cannot_say_is_refused_and_named(client: openai.OpenAI, more: dict[str, Any], words: str) -> None:
    ask: Any = {"model": "triage", "prompt": "x"} | more
    with pytest.raises(openai.BadRequestError, match=words):
        client.completions.create(**ask)


# -- responses -------------------------------------------------------------------------------------------------------


def test_responses_of_an_owned_model(gateway: House, client: openai.OpenAI) -> None:
    reply = client.responses.create(model="triage", input="my pay is short", instructions="Sort.", max_output_tokens=9)
    assert (reply.output_text, reply.status, reply.instructions) == ("payroll", "completed", "Sort.")
    assert reply.usage and (reply.usage.output_tokens, reply.usage.input_tokens_details.cached_tokens) == (2, 0)
    assert gateway.engines[0].requests[0].sampling.max_tokens == 9
    exchange = gateway.kept()[0]
    assert (exchange.endpoint, reply.id) == ("responses", f"resp_{exchange.id}")
    assert gateway.attempts()[0].output_tokens == 2


def test_a_responses_stream_tells_of_every_step_in_order(client: openai.OpenAI) -> None:
    events = list(client.responses.create(model="triage", input=[{"role": "user", "content": "my pay"}], stream=True))
    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(10))
    with client.responses.stream(model="triage", input="my pay") as stream:
        final = stream.get_final_response()
    assert (final.output_text, final.status) == ("payroll", "completed")
    assert final.usage and final.usage.output_tokens == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id is given"),
        ({"tools": [{"type": "web_search"}]}, r"tools\[0\].type is 'web_search'"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, r"input\[0\].type is 'item_reference'"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, r"content\[0\].type is 'input_file'"),
        ({"input": [{"role": "user", "content": 5}]}, r"input\[0\].content: must be a text"),
        ({"input": 5}, "input: "),
    ],
)
def test_a_response_that_a_chat_cannot_give_is_refused(client: openai.OpenAI, more: dict[str, Any], words: str) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        client.responses.create(**({"model": "triage", "input": "x"} | more))


def test_json_answers_in_responses(house: House) -> None:
    deploy(house.store, Deployment(name="orders", target=BaseTarget(base="tiny"), answer_type=AnswerType.TEXT), "test")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    with house.open():
        client = openai.OpenAI(base_url=f"{house.url}/v1", api_key="k", max_retries=0)
        text: Any = {"format": {"type": "json_schema", "name": "order", "schema": schema}}
        client.responses.create(model="orders", input="three", text=text)
    constraint: Any = house.engines[0].requests[0].sampling.constraint
    assert constraint.json_schema == schema


# -- messages --------------------------------------------------------------------------------------------------------


def test_messages_of_an_owned_model(gateway: House, claude: anthropic.Anthropic) -> None:
    ask: Any = {"model": "triage", "max_tokens": 9, "messages": [{"role": "user", "content": "my pay is short"}]}
    reply = claude.messages.create(**ask, system="Sort.", stop_sequences=["!"])
    block: Any = reply.content[0]
    assert (block.text, reply.stop_reason, reply.usage.output_tokens) == ("payroll", "end_turn", 2)
    sampling = gateway.engines[0].requests[0].sampling
    assert (sampling.max_tokens, sampling.stop) == (9, ("!",))
    with claude.messages.stream(**ask) as stream:
        assert stream.get_final_text() == "payroll"
        final = stream.get_final_message()
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 2)
    assert final.usage.input_tokens == reply.usage.input_tokens - len("<|system|>Sort.<|end|>") + len(
        "<|system|>Sort it.<|end|>"
    )
    assert [(each.endpoint, each.finished) for each in gateway.kept()] == [("messages", True)] * 2
    assert [attempt.output_tokens for attempt in gateway.attempts()] == [2, 2]


def test_anthropics_events_come_in_order(claude: anthropic.Anthropic) -> None:
    ask: Any = {"model": "triage", "max_tokens": 9, "messages": [{"role": "user", "content": "my pay"}]}
    assert [event.type for event in claude.messages.create(**ask, stream=True)] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_a_broken_answer_ends_as_an_error_in_every_dialect(
    gateway: House, client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    gateway.engines[0].break_after = 1
    ask: Any = {"model": "triage", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    with pytest.raises(openai.APIError, match="broke off"):
        list(client.completions.create(model="triage", prompt="x", stream=True))
    with pytest.raises(openai.APIError, match="broke off"):
        list(client.responses.create(model="triage", input="x", stream=True))
    with pytest.raises(anthropic.APIError, match="broke off"), claude.messages.stream(**ask) as stream:
        stream.get_final_text()
    assert not any(each.finished for each in gateway.kept())


def test_anthropics_errors_have_anthropics_names(claude: anthropic.Anthropic) -> None:
    ask: Any = {"max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    with pytest.raises(anthropic.NotFoundError) as refused:
        claude.messages.create(model="traige", **ask)
    body: Any = refused.value.body
    assert (body["type"], body["error"]["type"]) == ("error", "not_found_error")
    image: Any = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1/x.png"}}
    with pytest.raises(anthropic.BadRequestError, match="owned model reads text"):
        claude.messages.create(model="triage", max_tokens=9, messages=[{"role": "user", "content": [image]}])
    with pytest.raises(anthropic.BadRequestError, match="max_tokens is missing"):
        claude.post("/v1/messages", cast_to=object, body={"model": "triage", "messages": []})


# -- a remote model that speaks only Chat Completions ----------------------------------------------------------------


def test_a_remote_chat_model_is_asked_in_chats(remote: House, upstream: RunningUpstream) -> None:
    client = openai.OpenAI(base_url=f"{remote.url}/v1", api_key="k", max_retries=0)
    claude = anthropic.Anthropic(base_url=remote.url, api_key="k", max_retries=0)
    ask: Any = {"model": "far", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    words = _words(remote)
    assert client.completions.create(model="far", prompt="hello").choices[0].text == words
    assert client.responses.create(model="far", input="hello", extra_body={"of_tomorrow": 1}).output_text == words
    assert upstream.app.last == {
        "model": "theirs", "of_tomorrow": 1, "messages": [{"role": "user", "content": "hello"}],
    }  # fmt: skip
    block: Any = claude.messages.create(**ask).content[0]
    assert block.text == words
    with claude.messages.stream(**ask) as stream:
        assert stream.get_final_text() == words
    assert all(attempt.output_tokens == 12 for attempt in remote.attempts())
    with pytest.raises(openai.BadRequestError, match="cannot be said"):
        client.embeddings.create(model="far", input="x")


@pytest.mark.parametrize("split", [None, 1, 7])
def test_tools_in_every_dialect(remote: House, upstream: RunningUpstream, split: int | None) -> None:
    upstream.turn(split=split)
    client = openai.OpenAI(base_url=f"{remote.url}/v1", api_key="k", max_retries=0)
    claude = anthropic.Anthropic(base_url=remote.url, api_key="k", max_retries=0)
    flat: Any = [{"type": "function", **TOOL}]
    whole = client.responses.create(model="far", input="x", tools=flat).output[0]
    with client.responses.stream(model="far", input="x", tools=flat) as events:
        streamed = events.get_final_response().output[0]
    for item in (whole, streamed):
        assert item.type == "function_call"
        assert (item.name, item.arguments, item.call_id) == ("weather", ARGUMENTS, "call_1")
    ask: Any = {"model": "far", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
    ask["tools"] = [{"name": "weather", "input_schema": {"type": "object"}}]
    reply = claude.messages.create(**ask)
    with claude.messages.stream(**ask) as stream:
        final = stream.get_final_message()
    for message in (reply, final):
        block = message.content[0]
        assert block.type == "tool_use"
        assert (block.name, block.input, message.stop_reason) == ("weather", {"city": "Zürich"}, "tool_use")


def test_what_tools_gave_goes_back(remote: House, upstream: RunningUpstream) -> None:
    claude = anthropic.Anthropic(base_url=remote.url, api_key="k", max_retries=0)
    client = openai.OpenAI(base_url=f"{remote.url}/v1", api_key="k", max_retries=0)
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"x"}'}}
    expected = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]
    turns: Any = [
        {"role": "user", "content": "x"},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "x"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "rain"}]},
    ]
    claude.messages.create(model="far", max_tokens=9, messages=turns)
    assert upstream.app.last["messages"] == expected
    items: Any = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]},
        {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"x"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
    ]
    client.responses.create(model="far", input=items)
    assert upstream.app.last["messages"] == expected


def test_an_upstreams_refusal_is_put_in_the_callers_words(remote: House, upstream: RunningUpstream) -> None:
    upstream.turn(errors=1.0, status=400)
    claude = anthropic.Anthropic(base_url=remote.url, api_key="k", max_retries=0)
    with pytest.raises(anthropic.BadRequestError) as refused:
        claude.messages.create(model="far", max_tokens=9, messages=[{"role": "user", "content": "x"}])
    body: Any = refused.value.body
    assert body["error"]["message"] == "the dial says so"
    assert body["error"]["type"] == "invalid_request_error"


def test_a_deployment_that_speaks_everything_is_asked_as_it_came(house: House, upstream: RunningUpstream) -> None:
    target = RemoteTarget(base_url=upstream.url, model="theirs")
    deploy(house.store, Deployment(name="near", target=target), "test")
    with house.open():
        openai.OpenAI(base_url=f"{house.url}/v1", api_key="k").responses.create(model="near", input="hello")
    assert upstream.app.last["input"] == "hello"
