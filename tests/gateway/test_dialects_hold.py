"""Properties of every dialect: what is read never surprises, and a stream says what the whole answer says."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.gateway.dialects.dialect import Asked, Dialect
from freehold.gateway.endpoints import COMPLETIONS, MESSAGES, RESPONSES, Endpoint
from freehold.gateway.faults import GatewayError
from freehold.gateway.translate import DIALECTS

ENDPOINTS = (COMPLETIONS, RESPONSES, MESSAGES)
NAMES = (
    *("prompt", "input", "messages", "system", "instructions", "tools", "tool_choice", "text", "role", "content"),
    *(
        "type",
        "id",
        "call_id",
        "name",
        "arguments",
        "output",
        "max_tokens",
        "source",
        "logprobs",
        "reasoning",
        "format",
    ),
)
TYPES = (
    "text",
    "message",
    "function",
    "function_call",
    "tool_use",
    "tool_result",
    "image",
    "input_text",
    "json_schema",
)
WORDS = st.one_of(st.text(max_size=5), st.sampled_from((*TYPES, "user", "assistant", "auto", "tool")))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=6)),
    max_leaves=25,
)
BODIES = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=8)


@pytest.mark.parametrize("name", DIALECTS)
@given(body=BODIES)
@settings(max_examples=400, deadline=None)
def test_any_request_becomes_a_chat_or_is_refused(name: str, body: dict[str, Any]) -> None:
    minimal = {"completions": {"prompt": "x"}, "responses": {"input": "x"}, "messages": {"messages": []}}[name]
    content = msgspec.json.encode({"model": "m", "max_tokens": 5, **minimal, **body})
    try:
        chat = DIALECTS[name].chat(content)
    except GatewayError as fault:
        assert fault.status == 400
        return
    assert all(message["role"] for message in chat["messages"])
    assert msgspec.json.decode(msgspec.json.encode(chat))["model"] == "m"


@pytest.mark.parametrize("name", DIALECTS)
@given(field=st.text(st.characters(codec="ascii", categories=["Ll"]), min_size=12, max_size=20), value=JSON)
@settings(max_examples=50, deadline=None)
def test_a_field_that_nobody_knows_passes(name: str, field: str, value: Any) -> None:  # noqa: ANN401 (any JSON value)
    asked = {"completions": {"prompt": "x"}, "responses": {"input": "x"}, "messages": {"messages": []}}[name]
    content = msgspec.json.encode({"model": "m", "max_tokens": 5, **asked, f"x-{field}": value})
    assert DIALECTS[name].chat(content)[f"x-{field}"] == value


PIECES = st.lists(st.text(min_size=1, max_size=8), max_size=8)
CALLS = st.lists(st.lists(st.sampled_from(('{"a":', "1", "}", '"é 日"')), min_size=1, max_size=4), max_size=3)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.name)
@given(pieces=PIECES, calls=CALLS, reason=st.sampled_from(("stop", "length")))
@settings(max_examples=150, deadline=None)
def test_a_stream_says_what_the_whole_answer_says(
    endpoint: Endpoint, pieces: list[str], calls: list[list[str]], reason: str
) -> None:
    if endpoint is COMPLETIONS:
        calls = []  # the legacy dialect has no tools
    dialect: Dialect = DIALECTS[endpoint.name]
    asked = Asked({"model": "m"}, {}, "1", 7)
    whole = dialect.answer(asked, _completion(pieces, calls, reason))
    stream = dialect.stream(asked)
    events = [event for chunk in _chunks(pieces, calls, reason) for event in stream.feed(chunk)] + [*stream.finish()]
    assert endpoint.is_last(events[-1])
    assert not any(endpoint.is_last(event) for event in events[:-1])
    merged = endpoint.whole(events)
    assert merged is not None
    if endpoint is COMPLETIONS:
        del whole["choices"][0]["logprobs"]  # a stream without any says nothing of them
    for block in merged["content"] if endpoint is MESSAGES else ():
        if "partial_json" in block:
            block["input"] = _input(block.pop("partial_json"))
    assert {name: merged.get(name) for name in whole if name != "id"} == {n: v for n, v in whole.items() if n != "id"}


def _call(at: int, arguments: str) -> dict[str, Any]:
    return {"id": f"c{at}", "type": "function", "function": {"name": f"f{at}", "arguments": arguments}}


def _input(written: str) -> Any:  # noqa: ANN401 (any JSON value)
    try:
        found = msgspec.json.decode(written)
    except msgspec.DecodeError:
        return {"arguments": written}
    return found if isinstance(found, dict) else {"arguments": written}


USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}


def _completion(pieces: list[str], calls: list[list[str]], reason: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(pieces) or (None if calls else "")}
    if calls:
        message["tool_calls"] = [_call(at, "".join(arguments)) for at, arguments in enumerate(calls)]
    choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
    return {"id": "x", "created": 7, "model": "m", "object": "chat.completion", "choices": [choice], "usage": USAGE}


def _chunks(pieces: list[str], calls: list[list[str]], reason: str) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in pieces)]
    for at, arguments in enumerate(calls):
        deltas.append({"tool_calls": [{**_call(at, ""), "index": at}]})
        deltas += [{"tool_calls": [{"index": at, "function": {"arguments": piece}}]} for piece in arguments]
    head = {"id": "x", "created": 7, "model": "m", "object": "chat.completion.chunk"}
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": reason})
    return [*({**head, "choices": [choice]} for choice in choices), {**head, "choices": [], "usage": USAGE}]
